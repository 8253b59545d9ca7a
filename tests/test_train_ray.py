"""A run in the workers of a real Ray cluster of two nodes: as in one process, and killed.

``PREFJAX_RAY_KILLS`` sets how often a worker or a node is killed.
"""

import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest
import ray_cluster
from ray_cluster import actors
from test_train_processes import (
    assert_same_bits,
    lines,
    result,
    steps_on_disk,
    uninterrupted,
    write_run,
)
from train_process import TRAIN, Run, until

from prefjax.train import RayConfig
from prefjax.train.on_ray import _placement

NUM_KILLS = int(os.environ.get("PREFJAX_RAY_KILLS", "2"))
ON_RAY = ["--ray", "--workers", "2", "--max-restarts", str(NUM_KILLS + 2)]
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore"),  # what Ray's own modules warn of
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    compiled = str(tmp_path_factory.mktemp("compiled"))
    with ray_cluster.running(num_nodes=2, cpus=1, JAX_COMPILATION_CACHE_DIR=compiled) as started:
        yield started


@pytest.fixture(scope="module")
def settings():
    return {"num_epochs": 6 + 4 * NUM_KILLS}


@pytest.fixture(scope="module")
def on_ray(cluster, settings, tmp_path_factory):
    """A run of two workers that nothing happened to."""
    folder = tmp_path_factory.mktemp("two")
    with Run([*TRAIN, write_run(folder, **settings), *ON_RAY], folder) as run:
        assert run.wait() == 0, run.log.read_text()[-3000:]
    return folder


def test_two_workers_take_the_steps_of_one_process(on_ray, settings, tmp_path):
    uninterrupted(tmp_path, **settings)
    ours, theirs = (
        [line for line in lines(folder) if "loss" in line] for folder in (on_ray, tmp_path)
    )
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(
            [line[name] for line in ours], [line[name] for line in theirs], atol=1e-6
        )
    one, two = result(tmp_path), result(on_ray)
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=2e-6, rtol=1e-5)
    assert re.search(r"finished after \d+ steps", (on_ray / "output.txt").read_text())


def test_workers_and_nodes_that_are_killed_end_with_the_same_bits(cluster, on_ray, settings):
    """Kills of a worker and of a node in turn; each restart takes the latest whole step."""
    folder = on_ray.parent / "killed"
    path = write_run(folder, **settings)
    whole, rng, seen = len(lines(on_ray)), np.random.default_rng(NUM_KILLS), 0
    with Run([*TRAIN, path, *ON_RAY], folder) as run:
        for kill in range(NUM_KILLS):
            target = seen + int(rng.integers(1, max(2, whole // (2 * NUM_KILLS))))
            until(lambda: len(lines(folder)) > target, run=run)  # noqa: B023
            time.sleep(float(rng.uniform(0, 0.05)))
            before = actors("RayTrainWorker")
            if kill % 2 == 0:
                before[int(rng.integers(2))].kill()
            else:
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
                ray_cluster.add_node(cluster, 1)
            until(lambda: not any(worker.is_running() for worker in before), run=run)  # noqa: B023
            expected, seen = steps_on_disk(folder), len(lines(folder))
            until(lambda: len(lines(folder)) > seen, run=run)  # noqa: B023
            assert lines(folder)[seen] == {
                "step": expected[-1] if expected else 0,
                "resumed": True,
            }
        assert run.wait() == 0, run.log.read_text()[-3000:]
    assert_same_bits(folder, on_ray)


def test_a_run_that_is_there_is_resumed_only_when_asked(on_ray):
    with Run([*TRAIN, on_ray / "run.json", *ON_RAY], on_ray) as run:
        assert run.wait() == 1
    assert "resume it or choose another folder" in run.log.read_text()


def test_a_slice_is_asked_for_whole():
    pytest.importorskip("ray.util.tpu")
    found = _placement(RayConfig(tpu="v5e:4x4"))
    assert found["accelerator_type"] == "TPU-V5LITEPOD"
    assert found["num_workers"] * found["resources_per_worker"]["TPU"] == 16
    found = _placement(RayConfig(workers=4, gpus_per_worker=8))
    assert (found["use_gpu"], found["resources_per_worker"]) == (True, {"CPU": 1, "GPU": 8})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "workers"),
        ({"tpu": "v5e"}, "GENERATION:TOPOLOGY"),
        ({"tpu": "v5e:4x4", "gpus_per_worker": 1}, "leave out one"),
    ],
)
def test_workers_that_cannot_be_had_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RayConfig(**settings)


LISTENING = """
import psutil
from prefjax.parallel import start_ray
ray = start_ray()
own = [psutil.Process(), *psutil.Process().children(recursive=True)]
found = [c for process in own for c in process.net_connections() if c.status == "LISTEN"]
assert found
print(*sorted({c.laddr.ip for c in found}))
assert ray.nodes()[0]["NodeManagerAddress"] == "127.0.0.1"
"""


def test_a_cluster_that_is_started_here_listens_on_loopback_alone():
    pytest.importorskip("ray", reason="ray is not installed")
    alone = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", LISTENING], capture_output=True, text=True, env=alone, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(done.stdout.split()) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_without_ray_the_extra_is_named(tmp_path):
    code = (
        "import sys; sys.modules['ray'] = None\nfrom prefjax.parallel import start_ray\nstart_ray()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'prefjax[ray]'" in done.stderr
