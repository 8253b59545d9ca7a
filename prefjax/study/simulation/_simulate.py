"""Simulated people take part in a copy of a study by HTTP, with every fault that browsers have.

They send answers twice, at once or one after the other; go back and answer an old trial otherwise;
have two tabs, of which the second is late; reload; hang up before the response. The server is
killed at random moments (``kill -9``) and started again. In the end what the people believe that
they sent must be what the study exports.
"""

import dataclasses
import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from prefjax.study._export import COMPARED, StudyExport, export, name_of, read_export
from prefjax.study._replay import replay
from prefjax.study.config import StopConfig
from prefjax.study.config_file import write_config
from prefjax.study.engine import DATA
from prefjax.study.identity import hash_token
from prefjax.study.materials import EMBEDDINGS, MODEL, PROMPTS, Materials, read_materials
from prefjax.study.progress import measure_progress
from prefjax.study.simulation.participant import Choice, Participant, SimulateConfig, Tally
from prefjax.study.simulation.people import make_people
from prefjax.study.simulation.server import Server
from prefjax.study.store import FILE as DATABASE
from prefjax.study.store import Store

EXPORT = "export"
DEFAULT = SimulateConfig()


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


def simulate(folder: Path, out: Path, *, config: SimulateConfig = DEFAULT) -> SimulateResult:
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
        tally = Tally(materials, config)
        reaper = threading.Thread(target=_kill_at_times, args=(server, tally), daemon=True)
        reaper.start()
        with ThreadPoolExecutor(config.num_at_once) as pool:
            futures = [
                pool.submit(Participant(server.port, user, materials, people, tally).run)
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


def _kill_at_times(server: Server, tally: Tally) -> None:
    """Kills the server when so many answers were given, spread over the simulation."""
    rng = random.Random(tally.config.seed)
    times = sorted(rng.sample(range(1, tally.num_trials), tally.config.num_kills))
    for time_to_kill in times:
        while tally.num_answers < time_to_kill:
            if tally.is_over.wait(0.005):
                return
        time.sleep(rng.random() * 0.1)
        server.kill()


def _compare(
    materials: Materials,
    store: Store,
    exported: StudyExport,
    records: list[tuple[str, dict[int, Choice]]],
) -> list[str]:
    """Differences between what people believe and what the study exports."""
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
