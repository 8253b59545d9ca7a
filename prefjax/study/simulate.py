"""Simulated people take part in a copy of a study by HTTP, with every fault that browsers have.

They send answers twice, at once or one after the other; go back and answer an old trial otherwise;
have two tabs, of which the second is late; reload; hang up before the response. The server is
killed at random moments (``kill -9``) and started again. In the end what the people believe that
they sent must be what the study exports.
"""

import dataclasses
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from prefjax.study._replay import replay
from prefjax.study.browser import Browser, Seen
from prefjax.study.config import StopConfig, write_config
from prefjax.study.engine import DATA
from prefjax.study.export import COMPARED, StudyExport, export, name_of, read_export
from prefjax.study.materials import (
    EMBEDDINGS,
    MODEL,
    PROMPTS,
    Materials,
    read_materials,
)
from prefjax.study.people import (
    PeopleConfig,
    SimulatedPeople,
    answer_survey,
    make_people,
)
from prefjax.study.progress import measure_progress
from prefjax.study.store import FILE as DATABASE
from prefjax.study.store import Store

EXPORT = "export"
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


class SimulateResult(NamedTuple):
    """What a simulation found.

    Attributes:
        num_people: People who reached the code.
        num_answers: Answers that they believe they gave.
        num_kills: Times the server was killed.
        faults: How often each fault was made.
        seconds: From an answer to the next page, each that was not interrupted.
        problems: What is not as it should be; empty if all is well.
    """

    num_people: int
    num_answers: int
    num_kills: int
    faults: dict[str, int]
    seconds: list[float]
    problems: list[str]

    def lines(self) -> list[str]:
        """The same in words."""
        half, most = np.quantile(self.seconds, [0.5, 0.95]) if self.seconds else (np.nan, np.nan)
        faults = ", ".join(f"{name} {count}" for name, count in self.faults.items())
        return [
            f"{self.num_people} simulated people reached the code with {self.num_answers} answers; "
            f"the server was killed {self.num_kills} times",
            f"faults: {faults or 'none'}",
            f"from an answer to the next page: median {1000 * half:.0f} ms, 95 % within "
            f"{1000 * most:.0f} ms ({len(self.seconds)} pages)",
            *(f"PROBLEM: {problem}" for problem in self.problems[:20]),
            f"{len(self.problems)} problems"
            if self.problems
            else "every trial answered once, sides balanced, the export equal to what people sent, "
            "replay identical",
        ]


class Choice(NamedTuple):
    """What a person believes that they answered; ids of responses, −1 where it has none."""

    prompt: str
    left: int
    right: int
    choice: str


def simulate(
    folder: Path, out: Path, *, config: SimulateConfig = SimulateConfig()
) -> SimulateResult:
    """Simulates a study.

    Args:
        folder: The study.
        out: A folder that is made; holds a copy that says that it is simulated, its database and
            its export.
        config: How many people, and what befalls them.

    Raises:
        FileExistsError: ``out`` is there.
        RuntimeError: The server could not be started.
    """
    materials = copy_study(folder, out, config.num_people)
    people = make_people(
        config.num_people,
        materials.responses,
        np.random.default_rng(config.seed),
        config.people,
    )
    with Server(out) as server:
        tally = _Tally(materials, config)
        reaper = threading.Thread(target=_kill_at_times, args=(server, tally), daemon=True)
        reaper.start()
        with ThreadPoolExecutor(config.num_at_once) as pool:
            futures = [
                pool.submit(_Participant(server.port, user, materials, people, tally).run)
                for user in range(config.num_people)
            ]
            records = [future.result() for future in futures]
        tally.is_over.set()
        reaper.join()
    store = Store(out / DATA / DATABASE)
    export(materials, store, out / EXPORT)
    problems = tally.problems + _compare(materials, store, read_export(out / EXPORT), records)
    store.close()
    return SimulateResult(
        num_people=len(records),
        num_answers=sum(map(len, (record for _, record in records))),
        num_kills=server.num_kills,
        faults=dict(tally.faults),
        seconds=tally.seconds,
        problems=problems,
    )


def copy_study(folder: Path, out: Path, num_people: int) -> Materials:
    """Copies a study for simulated people, and says in it that they are.

    Args:
        folder: The study.
        out: A folder that is made.
        num_people: How many shall finish.

    Raises:
        FileExistsError: ``out`` is there.
    """
    materials = read_materials(folder)
    if out.exists():
        raise FileExistsError(f"{out} exists; simulated people need a folder of their own")
    out.mkdir(parents=True)
    for name in (PROMPTS, EMBEDDINGS):
        shutil.copy(folder / name, out / name)
    shutil.copytree(folder / MODEL, out / MODEL)
    write_config(
        out,
        dataclasses.replace(
            materials.config, simulated=True, stop=StopConfig(complete=num_people + 1)
        ),
    )
    return read_materials(out)


class Server:
    """``python -m prefjax.study serve`` as a process that can be killed.

    Args:
        folder: The study.

    Attributes:
        port: Where it listens, on loopback.
        num_kills: How often it was killed.
    """

    def __init__(self, folder: Path):
        self._folder, self._process, self.num_kills = folder, None, 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def start(self) -> None:
        """Starts it and waits until it answers.

        Raises:
            RuntimeError: It ended instead.
        """
        command = [sys.executable, "-m", "prefjax.study", "serve", str(self._folder)]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)], stdout=log, stderr=log
            )
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended; see {self._folder / 'server.log'}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.1)

    def kill(self) -> None:
        """Kills it as a loss of power would, and starts it again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.num_kills += 1
        self.start()


class _Tally:
    """What all people have in common."""

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


def _kill_at_times(server: Server, tally: _Tally) -> None:
    """Kills the server when so many answers were given, spread over the simulation."""
    rng = random.Random(tally.config.seed)
    times = sorted(rng.sample(range(1, tally.num_trials), tally.config.num_kills))
    for time_to_kill in times:
        while tally.num_answers < time_to_kill:
            if tally.is_over.wait(0.005):
                return
        time.sleep(rng.random() * 0.1)
        server.kill()


class _Participant:
    """One simulated person with a browser."""

    def __init__(
        self, port: int, user: int, materials: Materials, people: SimulatedPeople, tally: _Tally
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


def _compare(
    materials: Materials,
    store: Store,
    exported: StudyExport,
    records: list[tuple[str, dict[int, Choice]]],
) -> list[str]:
    """Differences between what people believe and what the study exports."""
    from prefjax.study.identity import hash_token

    problems = []
    found = measure_progress(store, materials)
    if found.states != {"complete": len(records)}:
        problems.append(f"people by state: {found.states}")
    if found.worst > 1:
        problems.append(f"sides differ by {found.worst} within a phase of a person")
    kept: dict[str, dict[int, tuple[int, int, str]]] = {}
    for row in exported.trials:
        own = kept.setdefault(row["participant"], {})
        own[row["index"]] = row["left"], row["right"], row["choice"]
    num_compared = sum(row["kind"] in COMPARED for row in exported.trials)
    if len(exported.dataset.comparisons.user) != num_compared:
        problems.append("choices are missing from the exported data set")
    for token, believed in records:
        person = store.one("SELECT number FROM participant WHERE token_hash = ?", hash_token(token))
        name = "" if person is None else name_of(person["number"])
        if kept.pop(name, None) != {index: choice[1:] for index, choice in believed.items()}:
            problems.append(f"the export of {name or 'a person'} differs from the record")
    if kept:
        problems.append(f"the export has people whom nobody was: {sorted(kept)}")
    return problems + [f"replay: {line}" for line in replay(materials, store).differences]
