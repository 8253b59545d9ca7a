"""One simulated person with a browser that has every fault that browsers have."""

import threading
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from prefjax.study.materials import Materials
from prefjax.study.simulation.browser import Browser, Seen
from prefjax.study.simulation.people import PeopleConfig, SimulatedPeople, answer_survey

FAULTS = ("double", "both_at_once", "back", "second_tab", "reload", "hang_up")


@dataclass(frozen=True)
class SimulateConfig:
    """A simulation.

    Attributes:
        num_people: How many take part.
        num_at_once: How many at the same time.
        num_kills: How often the server is killed.
        seed: Of people, choices, faults and kills.
        think: Seconds that a person looks at a trial, on average.
        faults: Whether browsers have faults, in every third trial.
        people: How people choose.
    """

    num_people: int = 100
    num_at_once: int = 10
    num_kills: int = 20
    seed: int = 0
    think: float = 0.0
    faults: bool = True
    people: PeopleConfig = field(default_factory=PeopleConfig)


class Choice(NamedTuple):
    """What a person believes that they answered; ids of responses, −1 where it has none."""

    prompt: str
    left: int
    right: int
    choice: str


class Tally:
    """What all people have in common.

    Args:
        materials: The study.
        config: The simulation.

    Attributes:
        num_answers: Answers that were taken.
        faults: How often each fault was made.
        seconds: From an answer to the next page, each that was not interrupted.
        problems: What was not as it should be.
    """

    def __init__(self, materials: Materials, config: SimulateConfig):
        from prefjax.study.web.markdown import render

        self.config = config
        self.responses = {
            (materials.prompts[materials.prompt_index[place]].strip(), render(text)): place
            for place, text in enumerate(materials.responses)
        }
        self.expected = {check.question: check.expected for check in materials.config.attention}
        self.num_trials = config.num_people * (
            len(materials.config.practice)
            + materials.config.phases.num_adaptive
            + materials.config.arms.num_trials
            + materials.config.phases.num_repeats
            + len(materials.config.attention)
        )
        self.lock, self.is_over = threading.Lock(), threading.Event()
        self.num_answers = 0
        self.faults: dict[str, int] = dict.fromkeys(FAULTS, 0) if config.faults else {}
        self.seconds: list[float] = []
        self.problems: list[str] = []


class Participant:
    """One simulated person with a browser.

    Args:
        port: Of the server.
        user: Which of the people.
        materials: The study.
        people: Everybody.
        tally: Of the simulation.
    """

    def __init__(
        self, port: int, user: int, materials: Materials, people: SimulatedPeople, tally: Tally
    ):
        self._port, self._user, self._materials = port, user, materials
        self._people, self._tally = people, tally
        self._rng = np.random.default_rng([tally.config.seed, user])
        self._browser = Browser(port)
        self._path = ""
        self._choices: dict[int, Choice] = {}
        self._sent: dict[int, dict[str, str]] = {}

    def run(self) -> tuple[str, dict[int, Choice]]:
        """Takes part; the link and what was answered."""
        recruiting = self._materials.config.recruiting
        form = dict.fromkeys(recruiting.parameters, f"simulated-{self._user}")
        status, self._path = self._browser.insist("/begin", form)
        if status != 303:
            raise RuntimeError(f"person {self._user} was not let in ({status})")
        seen = self._browser.get(self._path)
        steps = {
            "consent": self._consent,
            "survey": self._survey,
            "trial": self._trial,
            "reasons": self._reasons,
        }
        while seen.step:
            seen = steps[seen.step](seen)
        if seen.code != recruiting.complete_code:
            self._complain(f"ended with code {seen.code!r}")
        # Coming back from the recruiting site leads to the same end.
        _, again = self._browser.insist("/begin", form)
        if again != self._path:
            self._complain("came back as somebody else")
        self._browser.close()
        return self._path.rpartition("/")[2], self._choices

    def _consent(self, seen: Seen) -> Seen:
        self._browser.insist(self._path, seen.hidden)
        return self._browser.get(self._path)

    def _survey(self, seen: Seen) -> Seen:
        answers = answer_survey(self._materials.config, self._people.weights[self._user])
        fields = {f"q-{question}": answer for question, answer in answers.items()}
        self._browser.insist(self._path, seen.hidden | fields)
        return self._browser.get(self._path)

    def _reasons(self, seen: Seen) -> Seen:
        self._browser.insist(self._path, seen.hidden | {"text": "I am simulated. <b>Really</b>"})
        return self._browser.get(self._path)

    def _trial(self, seen: Seen) -> Seen:
        index = int(seen.hidden["trial"])
        choice = self._decide(index, seen)
        fields = seen.hidden | {"choice": choice, "ms": str(int(self._rng.integers(500, 9000)))}
        self._sent[index] = fields
        if self._tally.config.think:
            time.sleep(self._rng.exponential(self._tally.config.think))
        fault = ""
        if self._tally.config.faults and self._rng.random() < 1 / 3:
            fault = str(self._rng.choice(FAULTS))
            with self._tally.lock:
                self._tally.faults[fault] += 1
        before = self._browser.interrupted
        start = time.perf_counter()
        getattr(self, f"_send_{fault}" if fault else "_send")(index, fields)
        later = self._browser.get(self._path)
        spent = time.perf_counter() - start
        with self._tally.lock:
            if not fault and self._browser.interrupted == before:
                self._tally.seconds.append(spent)
            if later.step != "trial" or int(later.hidden["trial"]) > index:
                self._tally.num_answers += 1
        if later.step == "trial":
            step = int(later.hidden["trial"]) - index
            # Only after a hang-up may the trial still be open.
            if step not in ((0, 1) if fault == "hang_up" else (1,)):
                self._complain(f"trial {index} was followed by {index + step}")
        return later

    def _decide(self, index: int, seen: Seen) -> str:
        """The button; the same if the trial comes again, which must look the same."""
        materials = self._materials
        left, right = (
            self._tally.responses.get((seen.prompt.strip(), answer), -1) for answer in seen.answers
        )
        before = self._choices.get(index)
        if before is not None:
            if before[:3] != (seen.prompt, left, right):
                self._complain(f"trial {index} changed between two looks")
            return before.choice
        if seen.prompt in self._tally.expected:
            choice = self._tally.expected[seen.prompt]
        elif left < 0:  # practice
            choice = "A"
            if all(seen.prompt != trial.question for trial in materials.config.practice):
                self._complain(f"trial {index} shows texts that are nobody's")
        else:
            choice = self._people.choose(self._rng, self._user, left, right)
        self._choices[index] = Choice(seen.prompt, left, right, choice)
        return choice

    def _send(self, index: int, fields: dict[str, str]) -> None:
        status, _ = self._browser.insist(self._path, fields)
        if status != 303:
            self._complain(f"trial {index}: an answer gave {status}")

    def _send_double(self, index: int, fields: dict[str, str]) -> None:
        self._send(index, fields)
        self._send(index, fields)

    def _send_both_at_once(self, index: int, fields: dict[str, str]) -> None:
        tab = Browser(self._port)
        other = threading.Thread(target=self._quietly, args=(tab, fields))
        other.start()
        self._send(index, fields)
        other.join()

    def _send_back(self, index: int, fields: dict[str, str]) -> None:
        if index:
            old = dict(self._sent[int(self._rng.integers(index))])
            self._browser.insist(self._path, old | {"choice": self._other(old["choice"])})
        self._send(index, fields)

    def _send_second_tab(self, index: int, fields: dict[str, str]) -> None:
        tab = Browser(self._port)
        seen = tab.get(self._path)
        if seen.hidden.get("trial") != str(index):
            self._complain(f"trial {index} looks like another one in a second tab")
        self._send(index, fields)
        self._quietly(tab, seen.hidden | {"choice": self._other(fields["choice"])})

    def _send_reload(self, index: int, fields: dict[str, str]) -> None:
        self._decide(index, self._browser.get(self._path))
        self._send(index, fields)

    def _send_hang_up(self, index: int, fields: dict[str, str]) -> None:
        self._browser.drop(self._path, fields)

    def _quietly(self, tab: Browser, fields: dict[str, str]) -> None:
        tab.insist(self._path, fields)
        tab.close()

    def _other(self, choice: str) -> str:
        return str(self._rng.choice([one for one in "ABN" if one != choice]))

    def _complain(self, what: str) -> None:
        with self._tally.lock:
            self._tally.problems.append(f"person {self._user}: {what}")
