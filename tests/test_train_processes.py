"""Runs in processes of their own: killed, frozen, stuck and stopped, alone and in pairs.

``PREFJAX_KILLS`` and ``PREFJAX_PAIR_KILLS`` set how often a run is killed; `make torture` raises
them.
"""

import json
import os
import signal
import sys
import time

import numpy as np
import pytest
from train_process import START_SECONDS, TRAIN, Run, children, is_alive, launch, until
from train_world import LAYOUT, NUM_RESPONSES, make_world

from prefjax.train import write_shards
from prefjax.train.guard import EXIT_STUCK

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]

NUM_KILLS = int(os.environ.get("PREFJAX_KILLS", "5"))
NUM_PAIR_KILLS = int(os.environ.get("PREFJAX_PAIR_KILLS", "2"))
HEARTBEAT_SECONDS = 10.0
SAVE_EVERY = 16


def write_run(folder, *, num_epochs=2, **settings):
    """Shards, embeddings and settings of a run; the path of the settings."""
    folder.mkdir(parents=True, exist_ok=True)
    data, embeddings = make_world(6000)
    if not (folder / "data").exists():
        write_shards(
            [data], folder / "data", layout=LAYOUT, num_responses=NUM_RESPONSES, block_rows=64
        )
        np.save(folder / "embeddings.npy", embeddings)
    config = {
        "data": "data",
        "embeddings": "embeddings.npy",
        "folder": "run",
        "train": {
            "step": {"model": {"num_factors": 3}, "batch_size": 128},
            "num_epochs": num_epochs,
            "patience": 0,
            "steps_per_call": 4,
            "save_every": SAVE_EVERY,
            "step_timeout": 60,
            **settings,
        },
    }
    (folder / "run.json").write_text(json.dumps(config))
    return folder / "run.json"


def lines(folder):
    """What a run has logged; the last line may be half written."""
    path = folder / "run" / "metrics.jsonl"
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def steps_on_disk(folder):
    run = folder / "run"
    names = [path.name for path in run.iterdir()] if run.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal())


def result(folder):
    with np.load(folder / "run" / "result.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def assert_same_bits(folder, other):
    ours, theirs = result(folder), result(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def uninterrupted(folder, num_processes=1, **settings):
    path = write_run(folder, **settings)
    command = [*TRAIN, path]
    with Run(command if num_processes == 1 else launch(num_processes, 0, *command), folder) as run:
        assert run.wait() == 0, run.log.read_text()[-3000:]


def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path):
    settings = {"num_epochs": 6 + 2 * NUM_KILLS}
    uninterrupted(tmp_path / "whole", **settings)
    whole = len(lines(tmp_path / "whole"))
    folder = tmp_path / "killed"
    path = write_run(folder, **settings)
    rng = np.random.default_rng(NUM_KILLS)
    for kill in range(NUM_KILLS):
        seen, expected = len(lines(folder)), steps_on_disk(folder)
        with Run([*TRAIN, path, "--resume"], folder) as run:
            until(lambda: len(lines(folder)) > seen, run=run)  # noqa: B023
            resumed = lines(folder)[seen]
            assert resumed["resumed"]
            assert resumed["step"] == (expected[-1] if expected else 0)
            target = seen + int(rng.integers(1, max(2, whole // NUM_KILLS)))
            until(lambda: len(lines(folder)) > target, run=run)  # noqa: B023
            time.sleep(float(rng.uniform(0, 0.05)))
            run.process.kill()
            assert run.wait() == -signal.SIGKILL, kill
    expected = steps_on_disk(folder)
    seen = len(lines(folder))
    with Run([*TRAIN, path, "--resume"], folder) as run:
        assert run.wait() == 0, run.log.read_text()[-3000:]
    assert lines(folder)[seen]["step"] == expected[-1]
    assert not list((folder / "run").glob("quarantine/*"))
    assert_same_bits(folder, tmp_path / "whole")


def test_two_processes_give_the_numbers_of_one_and_survive_kills(tmp_path):
    settings = {"num_epochs": 4 + 2 * NUM_PAIR_KILLS}
    uninterrupted(tmp_path / "one", **settings)
    uninterrupted(tmp_path / "two", num_processes=2, **settings)
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=2e-6, rtol=1e-5)
    whole = len(lines(tmp_path / "two"))

    folder = tmp_path / "killed"
    path = write_run(folder, **settings)
    rng = np.random.default_rng(NUM_PAIR_KILLS)
    with Run(launch(2, NUM_PAIR_KILLS, *TRAIN, path), folder) as run:
        seen = 0
        for kill in range(NUM_PAIR_KILLS):
            target = seen + int(rng.integers(1, max(2, whole // NUM_PAIR_KILLS)))
            until(lambda: len(lines(folder)) > target, run=run)  # noqa: B023
            pair = children(run.process.pid)
            assert len(pair) == 2
            os.kill(pair[kill % 2], signal.SIGKILL)
            gone = time.monotonic()
            until(
                lambda: not set(pair) & set(children(run.process.pid)),  # noqa: B023
                HEARTBEAT_SECONDS + 10,
            )
            assert time.monotonic() - gone < HEARTBEAT_SECONDS + 10
            expected, seen = steps_on_disk(folder), len(lines(folder))
            until(lambda: len(lines(folder)) > seen, run=run)  # noqa: B023
            assert lines(folder)[seen] == {
                "step": expected[-1] if expected else 0,
                "resumed": True,
            }
        assert run.wait(2 * START_SECONDS) == 0, run.log.read_text()[-3000:]
    assert_same_bits(folder, tmp_path / "two")


def test_a_frozen_process_is_noticed_and_the_run_goes_on(tmp_path):
    path = write_run(tmp_path, num_epochs=40)
    with Run(launch(2, 1, *TRAIN, path), tmp_path) as run:
        until(lambda: len(lines(tmp_path)) > 3, run=run)
        pair = children(run.process.pid)
        os.kill(pair[1], signal.SIGSTOP)
        until(lambda: not set(pair) & set(children(run.process.pid)), 2 * HEARTBEAT_SECONDS + 10)
        seen = len(lines(tmp_path))
        until(lambda: len(lines(tmp_path)) > seen + 1, run=run)
        assert lines(tmp_path)[seen]["resumed"]


STUCK = """
import sys, threading
from pathlib import Path
import jax, numpy as np
from prefjax.parallel import start_processes
from prefjax.train import __main__ as command
from prefjax.train.config import read_config
from prefjax.train.shards import ShardSource

class Stuck(ShardSource):
    def batches(self, seed, epoch, t, *rest):
        for batches in super().batches(seed, epoch, t, *rest):
            if epoch == 1 and jax.process_index() == 1:
                threading.Event().wait(300)
            yield batches

start_processes()
command.read_source = lambda config, grow: Stuck(config.data)
command.run(read_config(Path(sys.argv[1])))
"""


def test_a_process_that_is_stuck_ends_the_run_within_the_watchdog(tmp_path):
    path = write_run(tmp_path, step_timeout=6)
    (tmp_path / "stuck.py").write_text(STUCK)
    with Run(launch(2, 0, sys.executable, tmp_path / "stuck.py", path), tmp_path) as run:
        until(lambda: len(lines(tmp_path)) > 1, run=run)
        status = run.wait()
    assert status == EXIT_STUCK
    text = run.log.read_text()
    assert "No step ended within 6 s" in text
    assert "most recent call first" in text  # stacks of the process whose watchdog was first


@pytest.mark.parametrize("num_processes", [1, 2])
def test_sigterm_finishes_the_step_saves_and_exits_with_0(tmp_path, num_processes):
    path = write_run(tmp_path, num_epochs=400, save_every=100_000)
    with Run(launch(num_processes, 3, *TRAIN, path), tmp_path) as run:
        until(lambda: any(line.get("epoch") == 1 for line in lines(tmp_path)), run=run)
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == 0, run.log.read_text()[-3000:]
    (saved,) = steps_on_disk(tmp_path)
    assert saved == lines(tmp_path)[-1]["step"]
    assert "interrupted" in run.log.read_text()
    write_run(tmp_path, num_epochs=1)
    with Run([*TRAIN, path, "--resume"], tmp_path) as run:
        assert run.wait() == 0
    assert lines(tmp_path)[-1] == {"step": saved, "resumed": True}


def test_processes_end_with_their_launcher(tmp_path):
    path = write_run(tmp_path, num_epochs=400)
    with Run(launch(2, 0, *TRAIN, path), tmp_path) as run:
        until(lambda: len(lines(tmp_path)) > 3, run=run)
        pair = children(run.process.pid)
        run.process.kill()
        run.process.wait()
        until(lambda: not any(map(is_alive, pair)), 60)


def test_a_wrong_config_is_refused_by_field(tmp_path):
    path = write_run(tmp_path)
    for change, message in (
        ({"optimizer": {"name": "magic"}}, "optimizer.name: input should be 'adam'"),
        ({"num_epochs": "many"}, "num_epochs: input should be a valid integer"),
        ({"epochs": 3}, "train.epochs is an unknown field"),
    ):
        config = json.loads(path.read_text())
        config["train"] = {**config["train"], **change}
        path.write_text(json.dumps(config))
        with Run([*TRAIN, path], tmp_path) as run:
            assert run.wait() == 1
        assert message in run.log.read_text()
        write_run(tmp_path)
