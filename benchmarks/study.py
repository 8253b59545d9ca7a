"""Time from an answer to the next page of a study, with thirty people at once.

    python -m benchmarks.study            # 30 people × 35 trials, pool of 2,212 pairs; minutes
    python -m benchmarks.study --small    # 5 people

A real server on loopback, SQLite with every answer synced, questions chosen from the whole pool.
People look at a trial for a second on average; ``saturated`` is the same with no pause at all. Half
of the time is the pause that makes all pages alike (``limits.response_time``, 100 ms). Agreement:
every trial answered once, the export equal to what people sent, replay identical.
"""

import argparse
import json
import tempfile
from pathlib import Path

import jax
import numpy as np

from prefjax.study.example import make_example
from prefjax.study.materials import read_materials
from prefjax.study.simulation import SimulateConfig, simulate

LIMIT = 0.3
"""Seconds that 95 % of the pages may take."""


def main() -> None:
    """Runs both and prints one JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--study", type=Path, help="a study that is there, instead of the example")
    arguments = parser.parse_args()
    num_people = 5 if arguments.small else 30
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.study or Path(name) / "study"
        if arguments.study is None:
            make_example(folder)
        mask = np.asarray(read_materials(folder).adaptive.pool.mask).sum(axis=1)
        seconds = {}
        for label, think in (("think_1s", 1.0), ("saturated", 0.0)):
            config = SimulateConfig(
                num_people=num_people,
                num_at_once=num_people,
                num_kills=0,
                think=think,
                faults=False,
            )
            result = simulate(folder, Path(name) / label, config=config)
            if result.problems:
                raise AssertionError(result.problems[0])
            seconds[label] = float(np.median(result.seconds))
            seconds[f"{label}_p95"] = float(np.quantile(result.seconds, 0.95))
            print("\n".join(result.lines()))
    result = {
        "benchmark": "study",
        "device": jax.devices()[0].device_kind,
        "sizes": {"people": num_people, "pairs": int((mask * (mask - 1) // 2).sum())},
        "seconds": seconds,
        "ratios": {"limit": LIMIT / seconds["think_1s_p95"]},
        "agrees": True,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
