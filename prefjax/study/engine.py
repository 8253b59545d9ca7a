"""A study without web pages: who begins, what comes next, what was answered.

    engine = StudyEngine(read_materials(folder), folder / "data")
    ticket = engine.start({"PROLIFIC_PID": "…"})    # a secret link
    page = engine.next(ticket.participant)          # consent, survey, trials, reasons, end
    engine.answer(ticket.participant, page.index, "A")

The state of a person is the rows of the database and nothing else. A trial that was served is
written down before it is shown, with the belief that chose it, and is served again with the same
sides and texts until it is answered. An answer is on the disk before `StudyEngine.answer` returns;
the first answer to a trial stays. Sides, arms and order follow from the study's seed and the
participant's number; adaptive questions from these and the answers, so that `replay` finds the
same bits.
"""

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import lru_cache
from pathlib import Path

import numpy as np

from prefjax.study import identity, records, removal, trials
from prefjax.study.choosing import (
    LABELS,
    Asked,
    Chosen,
    choose_question,
    choose_responses,
    know,
)
from prefjax.study.design import Design, Slot, make_design
from prefjax.study.entry import Ticket, let_in
from prefjax.study.errors import RefusedError
from prefjax.study.materials import Materials
from prefjax.study.pages import (
    ConsentPage,
    EndPage,
    Page,
    ReasonsPage,
    SurveyPage,
    TrialPage,
)
from prefjax.study.records import Outcome
from prefjax.study.store import FILE, Store
from prefjax.study.survey import clean, read_survey
from prefjax.study.trials import TrialRow

DATA = "data"
"""Folder of the database and the secret, below that of the study."""

_LENGTHS = (1, 17, 65)
"""Numbers of answers at which `prefjax.person` pads to another length."""


class StudyEngine:
    """One study; see the module docstring.

    Args:
        materials: What is shown.
        folder: Where database and secret lie; made if needed.
        clock: Seconds since 1970.
        choose: Chooses adaptive questions; `choose_question` by default.

    Attributes:
        materials: As given.
        store: The database.
        secret: Of the study.

    Raises:
        ValueError: The database was begun with other materials.
    """

    def __init__(
        self,
        materials: Materials,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        choose: Callable[..., Chosen] = choose_question,
    ):
        self.materials, self.folder = materials, Path(folder)
        self.secret = identity.read_secret(self.folder)
        self.store = Store(
            self.folder / FILE, digest=materials.digest, salt=secrets.token_bytes(32)
        )
        self._clock, self._choose = clock, choose
        self._locks = [threading.RLock() for _ in range(64)]
        # Two at a time: choosing takes a processor, and a late one must not stop the others.
        self._executor: Executor = ThreadPoolExecutor(2, thread_name_prefix="question")
        self.design: Callable[[int], Design] = lru_cache(4096)(
            lambda participant: make_design(materials, participant)
        )

    # Beginning and ending

    def start(self, recruiting: Mapping[str, str] | None = None) -> Ticket:
        """Lets somebody in, or back in.

        Args:
            recruiting: Parameters of the recruiting link. Whoever comes again with the same ones
                goes on where they were.

        Raises:
            StudyClosedError: The study is full or over.
            AlreadyStartedError: This person has taken part, and other parameters differ.
        """
        return let_in(
            self.store, self.materials.config, self.secret, recruiting or {}, self._clock()
        )

    def find(self, token: str) -> int | None:
        """The participant of a link, None if it is nobody's."""
        row = self.store.one(
            "SELECT number FROM participant WHERE token_hash = ?", identity.hash_token(token)
        )
        return None if row is None else row["number"]

    def withdraw(self, participant: int) -> None:
        """Deletes everything of a person but the fact that somebody withdrew.

        Args:
            participant: The person's number.

        Raises:
            KeyError: There is no such person.
        """
        with self._lock(participant):
            removal.withdraw(self.store, participant, self._clock())

    # What comes next

    def next(self, participant: int) -> Page:
        """What the person sees now; the same until something is answered.

        Args:
            participant: The person's number.

        Raises:
            KeyError: There is no such person.
        """
        with self._lock(participant):
            person = self._person(participant)
            config = self.materials.config
            if person["end"] is not None:
                return EndPage(person["end"], getattr(config.recruiting, f"{person['end']}_code"))
            if person["consent_at"] is None:
                return ConsentPage()
            if config.survey and person["survey_at"] is None:
                return SurveyPage()
            design = self.design(participant)
            index = self._num_answered(participant)
            if index < len(design.slots):
                return self._serve(person, design, index)
            if config.ask_reasons and person["reasons_at"] is None:
                return ReasonsPage()
            records.end(self.store, participant, "complete", self._clock())
            return EndPage("complete", config.recruiting.complete_code)

    def _serve(self, person: sqlite3.Row, design: Design, index: int) -> Page:
        participant = person["number"]
        row = self._trial(participant, index)
        if row is None:
            self._plan(person, design, design.slots[index])
            row = self._trial(participant, index)
            if row is None:  # withdrawn by another process a moment ago
                return self.next(participant)
        if row["served_at"] is None:
            with self.store.write() as db:
                db.execute(
                    "UPDATE trial SET served_at = ? WHERE participant = ? AND idx = ?",
                    (self._clock(), participant, index),
                )
        prompt, left, right = trials.texts_of(self.materials, row)
        num_practice = len(self.materials.config.practice)
        return TrialPage(
            index=index,
            prompt=prompt,
            left=left,
            right=right,
            is_practice=row["kind"] == "practice",
            number=index - num_practice + 1,
            total=len(design.slots) - num_practice,
        )

    def _plan(self, person: sqlite3.Row, design: Design, slot: Slot) -> None:
        """Writes down a trial, or all that are left once the person is known."""
        participant = person["number"]
        if slot.kind in ("practice", "attention"):
            trials.insert(self.store, participant, [TrialRow(slot)])
        elif slot.kind == "adaptive":
            trials.insert(self.store, participant, [self._adaptive(person, design, slot)])
        else:
            prior = trials.prior_of(self.materials, person)
            asked = trials.asked_of(self.store, participant)
            belief = know(self.materials, prior, asked, design.seed).belief
            shown = choose_responses(self.materials, design, belief)
            rows = []
            for later in design.slots[slot.index :]:
                pair = (-1, -1)
                if later.kind != "attention":
                    default = int(self.materials.default[later.prompt])
                    pair = (default, shown[later.arm][later.prompt])
                rows.append(TrialRow(later, later.prompt, *pair))
            trials.insert(self.store, participant, rows, final=belief)

    def _adaptive(self, person: sqlite3.Row, design: Design, slot: Slot) -> TrialRow:
        asked = trials.asked_of(self.store, person["number"])
        arguments = self.materials, trials.prior_of(self.materials, person), asked, design.seed
        future = self._executor.submit(self._choose, *arguments)
        try:
            limit = self.materials.config.phases.time_limit
            prompt, first, second, belief = future.result(timeout=limit)
        except FutureTimeoutError:
            future.cancel()
            # The belief is not known in time; a replay computes it.
            pair = trials.fallback_pair(design, slot, asked)
            return TrialRow(slot, *pair, origin=trials.LATE)
        return TrialRow(slot, prompt, first, second, origin=trials.CHOSEN, belief=belief)

    # What was answered

    def consent(self, participant: int, version: str) -> Outcome:
        """Records that the person agreed.

        Args:
            participant: The person's number.
            version: Of the text that was shown.

        Raises:
            RefusedError: The text has another version.
        """
        if version != self.materials.config.consent_version:
            raise RefusedError("this is not the text that is agreed to")
        with self._lock(participant):
            if not isinstance(self.next(participant), ConsentPage):
                return "stale"
            return records.consent(self.store, participant, version, self._clock())

    def survey(self, participant: int, answers: Mapping[str, str]) -> Outcome:
        """Records the survey; what it says of the prior is used from the first question on.

        Args:
            participant: The person's number.
            answers: Text by id of the question.

        Raises:
            RefusedError: An answer is missing or is none of the options.
        """
        prior = self.materials.model.basis.population.mean
        read = read_survey(self.materials.config, np.array(prior, np.float32), answers)
        with self._lock(participant):
            if not isinstance(self.next(participant), SurveyPage):
                return "stale"
            return records.survey(self.store, participant, read, self._clock())

    def answer(
        self, participant: int, trial: int, choice: str, client_ms: int | None = None
    ) -> Outcome:
        """Records a choice, which is on the disk when this returns.

        Args:
            participant: The person's number.
            trial: Index of the trial that was shown.
            choice: ``"A"`` for the left response, ``"B"`` for the right one, ``"N"`` for neither.
            client_ms: Milliseconds that the page was looked at, as the page says.

        Returns:
            ``"recorded"``; ``"repeated"`` if this answer is there already; ``"stale"`` if another
            trial is waiting or another answer stands, in which case nothing was changed.

        Raises:
            RefusedError: That is no choice.
            KeyError: There is no such person.
        """
        if choice not in LABELS:
            raise RefusedError("A choice is A, B or N.")
        if client_ms is not None and not 0 <= client_ms < 10**9:
            client_ms = None
        with self._lock(participant):
            return records.answer(self.store, participant, trial, choice, client_ms, self._clock())

    def reasons(self, participant: int, text: str) -> Outcome:
        """Records what the person looked for, and ends.

        Args:
            participant: The person's number.
            text: Free words, also none.
        """
        with self._lock(participant):
            if not isinstance(self.next(participant), ReasonsPage):
                return "stale"
            return records.reasons(self.store, participant, clean(text), self._clock())

    def warm(self) -> None:
        """Compiles what questions and responses need, before somebody waits for it."""
        materials = self.materials
        mean = np.array(materials.model.basis.population.mean, np.float32)
        design = make_design(materials, 0)
        asked = [Asked(*slot.fallback, 1.0) for slot in design.slots if slot.kind == "adaptive"]
        # Answers are padded to a few lengths, each of which is a program.
        for count in (0, *(n for n in _LENGTHS if n < len(asked)), len(asked) - 1):
            choose_question(materials, mean, asked[:count], 0)
        choose_responses(materials, design, know(materials, mean, asked, 0).belief)

    def close(self) -> None:
        """Waits for questions that are being chosen and closes the database."""
        self._executor.shutdown()
        self.store.close()

    # Pieces

    def _lock(self, participant: int) -> threading.RLock:
        return self._locks[participant % len(self._locks)]

    def _person(self, participant: int) -> sqlite3.Row:
        row = self.store.one("SELECT * FROM participant WHERE number = ?", participant)
        if row is None:
            raise KeyError(participant)
        return row

    def _num_answered(self, participant: int) -> int:
        row = self.store.one("SELECT COUNT(*) AS n FROM answer WHERE participant = ?", participant)
        return 0 if row is None else row["n"]

    def _trial(self, participant: int, index: int) -> sqlite3.Row | None:
        return self.store.one(
            "SELECT * FROM trial WHERE participant = ? AND idx = ?", participant, index
        )
