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

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from prefjax.study import identity
from prefjax.study.choosing import (
    LABELS,
    Asked,
    Chosen,
    choose_question,
    choose_responses,
    know,
    label_of,
)
from prefjax.study.design import Design, Slot, make_design
from prefjax.study.materials import Materials
from prefjax.study.pages import (
    ConsentPage,
    EndPage,
    Page,
    ReasonsPage,
    SurveyPage,
    TrialPage,
)
from prefjax.study.store import FILE, Store
from prefjax.types import Gaussian

DATA = "data"
"""Folder of the database and the secret, below that of the study."""

Outcome = Literal["recorded", "repeated", "stale"]
LONGEST_TEXT = 4000
"""Characters of a free text that are kept."""
_ORIGIN_CHOSEN, _ORIGIN_LATE, _ORIGIN_PLANNED = "chosen", "random_late", "planned"


class StudyClosedError(RuntimeError):
    """Nobody new is let in."""


class AlreadyStartedError(RuntimeError):
    """This recruiting id has taken part, in another session."""


class RefusedError(ValueError):
    """What was sent cannot be meant; nothing was changed."""


class Ticket(NamedTuple):
    """What somebody needs to take part.

    Attributes:
        participant: The person's number.
        token: Secret of the link.
    """

    participant: int
    token: str


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
        config = self.materials.config
        known = {
            name: value[:200]
            for name, value in (recruiting or {}).items()
            if name in config.recruiting.parameters and value
        }
        name = known.get(config.recruiting.identity)
        with self.store.write() as db:
            person = session = None
            if name is not None:
                salt = db.execute("SELECT value FROM study WHERE name = 'salt'").fetchone()
                if salt is None:
                    raise StudyClosedError("the ids of this study were removed")
                person = identity.hash_recruiting(salt["value"], {"identity": name})
                session = identity.hash_recruiting(salt["value"], known)
                row = db.execute(
                    "SELECT * FROM participant WHERE identity_hash = ?", (person,)
                ).fetchone()
                if row is not None:
                    if row["recruiting_hash"] != session:
                        raise AlreadyStartedError("this id has taken part in another session")
                    return Ticket(row["number"], self._token(row["nonce"]))
            self._check_open(db)
            nonce = secrets.token_bytes(16)
            token = self._token(nonce)
            number = db.execute(
                "INSERT INTO participant "
                "(nonce, token_hash, identity_hash, recruiting_hash, created_at) "
                "VALUES (?, ?, ?, ?, ?)",
                (nonce, identity.hash_token(token), person, session, self._clock()),
            ).lastrowid
            assert number is not None
            if known:
                db.execute("INSERT INTO recruiting VALUES (?, ?)", (number, json.dumps(known)))
        return Ticket(number, token)

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
            withdraw(self.store, participant, self._clock())

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
            self._end(participant, "complete")
            return EndPage("complete", config.recruiting.complete_code)

    def _serve(self, person: sqlite3.Row, design: Design, index: int) -> TrialPage:
        participant = person["number"]
        row = self._trial(participant, index)
        if row is None:
            self._plan(person, design, design.slots[index])
            row = self._trial(participant, index)
            assert row is not None
        if row["served_at"] is None:
            with self.store.write() as db:
                db.execute(
                    "UPDATE trial SET served_at = ? WHERE participant = ? AND idx = ?",
                    (self._clock(), participant, index),
                )
        prompt, left, right = self._texts(row)
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

    def _texts(self, row: sqlite3.Row) -> tuple[str, str, str]:
        """Prompt, left and right text of a trial."""
        config, materials = self.materials.config, self.materials
        if row["kind"] == "practice":
            shown = config.practice[row["source"]]
            return shown.question, *shown.answers
        if row["kind"] == "attention":
            check = config.attention[row["source"]]
            return check.question, *check.answers
        pair = [materials.responses[row["first"]], materials.responses[row["second"]]]
        left, right = reversed(pair) if row["swapped"] else pair
        return materials.prompts[row["prompt"]], left, right

    def _plan(self, person: sqlite3.Row, design: Design, slot: Slot) -> None:
        """Writes down a trial, or all that are left once the person is known."""
        participant = person["number"]
        if slot.kind in ("practice", "attention"):
            self._insert(participant, [_Row(slot)])
        elif slot.kind == "adaptive":
            self._insert(participant, [self._adaptive(person, design, slot)])
        else:
            belief = know(
                self.materials, self._prior(person), self._asked(participant), design.seed
            ).belief
            shown = choose_responses(self.materials, design, belief)
            rows = []
            for later in design.slots[slot.index :]:
                pair = (-1, -1)
                if later.kind != "attention":
                    default = int(self.materials.default[later.prompt])
                    pair = (default, shown[later.arm][later.prompt])
                rows.append(_Row(later, later.prompt, *pair))
            self._insert(participant, rows, final=belief)

    def _adaptive(self, person: sqlite3.Row, design: Design, slot: Slot) -> "_Row":
        asked = self._asked(person["number"])
        arguments = self.materials, self._prior(person), asked, design.seed
        future = self._executor.submit(self._choose, *arguments)
        try:
            limit = self.materials.config.phases.time_limit
            prompt, first, second, belief = future.result(timeout=limit)
        except FutureTimeoutError:
            future.cancel()
            # The belief is not known in time; a replay computes it.
            pair = fallback_pair(design, slot, asked)
            return _Row(slot, *pair, origin=_ORIGIN_LATE)
        return _Row(slot, prompt, first, second, origin=_ORIGIN_CHOSEN, belief=belief)

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
            with self.store.write() as db:
                db.execute(
                    "UPDATE participant SET consent_at = ?, consent_version = ? WHERE number = ?",
                    (self._clock(), version, participant),
                )
        return "recorded"

    def survey(self, participant: int, answers: Mapping[str, str]) -> Outcome:
        """Records the survey; what it says of the prior is used from the first question on.

        Args:
            participant: The person's number.
            answers: Text by id of the question.

        Raises:
            RefusedError: An answer is missing or is none of the options.
        """
        config = self.materials.config
        mean = np.array(self.materials.model.basis.population.mean, np.float32)
        is_out, kept = False, []
        for question in config.survey:
            text = answers.get(question.id, "").strip()[:LONGEST_TEXT]
            if not text:
                if question.required:
                    raise RefusedError(f"Please answer: {question.text}")
                continue
            if question.options:
                option = next((one for one in question.options if one.text == text), None)
                if option is None:
                    raise RefusedError(f"That is none of the answers to: {question.text}")
                is_out |= option.screen_out
                if option.prior_shift is not None:
                    mean += np.array(option.prior_shift, np.float32)
            kept.append((participant, question.id, _clean(text)))
        with self._lock(participant):
            if not isinstance(self.next(participant), SurveyPage):
                return "stale"
            with self.store.write() as db:
                db.executemany("INSERT INTO survey VALUES (?, ?, ?)", kept)
                db.execute(
                    "UPDATE participant SET survey_at = ?, prior_mean = ? WHERE number = ?",
                    (self._clock(), mean.tobytes(), participant),
                )
                if is_out:
                    self._end_in(db, participant, "screened_out")
        return "recorded"

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
        with self._lock(participant), self.store.write() as db:
            person = db.execute(
                "SELECT end FROM participant WHERE number = ?", (participant,)
            ).fetchone()
            if person is None:
                raise KeyError(participant)
            answered = db.execute(
                "SELECT COUNT(*) FROM answer WHERE participant = ?", (participant,)
            ).fetchone()[0]
            served = db.execute(
                "SELECT served_at FROM trial WHERE participant = ? AND idx = ?",
                (participant, trial),
            ).fetchone()
            is_open = served is not None and served["served_at"] is not None
            if person["end"] is None and trial == answered and is_open:
                db.execute(
                    "INSERT INTO answer VALUES (?, ?, ?, ?, ?)",
                    (participant, trial, choice, self._clock(), client_ms),
                )
                return "recorded"
            before = db.execute(
                "SELECT choice FROM answer WHERE participant = ? AND idx = ?", (participant, trial)
            ).fetchone()
            outcome: Outcome = (
                "repeated" if before is not None and before["choice"] == choice else "stale"
            )
            if person["end"] is None:
                db.execute(
                    "INSERT INTO event (participant, at, kind, idx) VALUES (?, ?, ?, ?)",
                    (participant, self._clock(), outcome, trial if before is not None else None),
                )
            return outcome

    def reasons(self, participant: int, text: str) -> Outcome:
        """Records what the person looked for, and ends.

        Args:
            participant: The person's number.
            text: Free words, also none.
        """
        with self._lock(participant):
            if not isinstance(self.next(participant), ReasonsPage):
                return "stale"
            with self.store.write() as db:
                db.execute(
                    "UPDATE participant SET reasons_at = ?, reasons = ? WHERE number = ?",
                    (self._clock(), _clean(text.strip()[:LONGEST_TEXT]), participant),
                )
                self._end_in(db, participant, "complete")
        return "recorded"

    def warm(self) -> None:
        """Compiles what questions and responses need, before somebody waits for it."""
        materials = self.materials
        mean = np.array(materials.model.basis.population.mean, np.float32)
        chosen = choose_question(materials, mean, [], 0)
        asked = Asked(chosen.prompt, chosen.first, chosen.second, 1.0)
        belief = know(materials, mean, [asked], 0).belief
        choose_responses(materials, make_design(materials, 0), belief)

    def close(self) -> None:
        """Waits for questions that are being chosen and closes the database."""
        self._executor.shutdown()
        self.store.close()

    # Pieces

    def _token(self, nonce: bytes) -> str:
        return identity.make_token(self.secret, "participant", nonce)

    def _lock(self, participant: int) -> threading.RLock:
        return self._locks[participant % len(self._locks)]

    def _check_open(self, db: sqlite3.Connection) -> None:
        stop = self.materials.config.stop
        if self._clock() >= stop.deadline_at:
            raise StudyClosedError("the study is over")
        done = db.execute("SELECT COUNT(*) FROM participant WHERE end = 'complete'").fetchone()[0]
        if done >= stop.complete:
            raise StudyClosedError("enough people have taken part")

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

    def _prior(self, person: Mapping[str, Any] | sqlite3.Row) -> Float[np.ndarray, " factor"]:
        if person["prior_mean"] is None:
            return np.array(self.materials.model.basis.population.mean, np.float32)
        return np.frombuffer(person["prior_mean"], np.float32)

    def _asked(self, participant: int) -> list[Asked]:
        rows = self.store.all(
            "SELECT prompt, first, second, swapped, choice FROM trial NATURAL JOIN answer "
            "WHERE participant = ? AND kind = 'adaptive' ORDER BY idx",
            participant,
        )
        return [
            Asked(
                row["prompt"],
                row["first"],
                row["second"],
                label_of(row["choice"], bool(row["swapped"])),
            )
            for row in rows
        ]

    def _insert(
        self, participant: int, rows: list["_Row"], *, final: Gaussian | None = None
    ) -> None:
        with self.store.write() as db:
            db.executemany(
                "INSERT OR IGNORE INTO trial VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                [(participant, *row.values()) for row in rows],
            )
            if final is not None:
                db.execute(
                    "UPDATE participant SET final_mean = ?, final_covariance = ? WHERE number = ?",
                    (*to_bytes(final), participant),
                )

    def _end(self, participant: int, end: str) -> None:
        with self.store.write() as db:
            self._end_in(db, participant, end)

    def _end_in(self, db: sqlite3.Connection, participant: int, end: str) -> None:
        db.execute(
            "UPDATE participant SET end = ?, end_at = ? WHERE number = ? AND end IS NULL",
            (end, self._clock(), participant),
        )


class _Row(NamedTuple):
    """A trial to be written down."""

    slot: Slot
    prompt: int = -1
    first: int = -1
    second: int = -1
    origin: str = _ORIGIN_PLANNED
    belief: Gaussian | None = None

    def values(self) -> tuple[Any, ...]:
        slot = self.slot
        belief = (None, None) if self.belief is None else to_bytes(self.belief)
        return (
            slot.index, slot.phase, slot.kind, slot.arm, slot.source, self.prompt, self.first,
            self.second, int(slot.swapped), self.origin, *belief,
        )  # fmt: skip


def fallback_pair(design: Design, slot: Slot, asked: list[Asked]) -> tuple[int, int, int]:
    """The pair drawn in advance for a trial, or the first of another one with a new prompt."""
    used = {answer.prompt for answer in asked}
    drawn = [slot.fallback, *(one.fallback for one in design.slots if one.kind == "adaptive")]
    return next(pair for pair in drawn if pair[0] not in used)


def withdraw(store: Store, participant: int, now: float) -> None:
    """Deletes everything of a person but the fact and the link, which then says so.

    Args:
        store: The database.
        participant: The person's number.
        now: Seconds since 1970.

    Raises:
        KeyError: There is no such person.
    """
    with store.write() as db:
        for table in ("answer", "trial", "survey", "event", "recruiting"):
            db.execute(f"DELETE FROM {table} WHERE participant = ?", (participant,))
        changed = db.execute(
            "UPDATE participant SET identity_hash = NULL, recruiting_hash = NULL, "
            "consent_at = NULL, consent_version = NULL, survey_at = NULL, prior_mean = NULL, "
            "final_mean = NULL, final_covariance = NULL, reasons_at = NULL, reasons = NULL, "
            "end = 'withdrawn', end_at = ? WHERE number = ?",
            (now, participant),
        ).rowcount
        if not changed:
            raise KeyError(participant)


def anonymize(store: Store) -> int:
    """Drops raw recruiting ids, their hashes, the salt and the links; nothing can be undone.

    Args:
        store: The database.

    Returns:
        How many people had recruiting ids.
    """
    with store.write() as db:
        count = db.execute("SELECT COUNT(*) FROM recruiting").fetchone()[0]
        db.execute("DROP TABLE recruiting")
        db.execute(
            "CREATE TABLE recruiting (participant INTEGER PRIMARY KEY REFERENCES participant "
            "ON DELETE CASCADE, parameters TEXT NOT NULL)"
        )
        db.execute(
            "UPDATE participant SET identity_hash = NULL, recruiting_hash = NULL, nonce = NULL, "
            "token_hash = NULL"
        )
        db.execute("DELETE FROM study WHERE name = 'salt'")
    store.scrub()
    return count


def to_bytes(belief: Gaussian) -> tuple[bytes, bytes]:
    """Mean and covariance as float32."""
    mean, covariance = (np.asarray(part, np.float32).tobytes() for part in belief)
    return mean, covariance


def _clean(text: str) -> str:
    """A text without what Parquet and SQLite do not take."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode("utf-8")
