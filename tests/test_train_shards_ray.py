"""Shards from Parquet files, and counts over them: by tasks of a Ray cluster as by one process.

``PREFJAX_SHARD_ROWS`` sets how many rows there are.
"""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray_cluster
from train_process import Run, until

from prefjax.cli import main
from prefjax.data.answers import describe_answers, inspect_answers
from prefjax.data.dataset import Dataset
from prefjax.train import inspect_shards, read_parquet_rows, write_shards
from prefjax.train.layout import UserLayout
from prefjax.train.parquet_rows import list_comparisons
from prefjax.train.shards_on_ray import _cut_ranges
from prefjax.types import BASELINE, Comparisons

NUM_ROWS = int(os.environ.get("PREFJAX_SHARD_ROWS", "2000000"))
NUM_USERS, NUM_RESPONSES = 50_000, 2_000
MOST_BYTES = 2 * 2**30


def write_rows(folder, count, num_files=4, with_weight=True):
    """Files of random rows, a million at a time."""
    folder.mkdir()
    for part, rows in enumerate(np.array_split(np.arange(count), num_files)):
        rng = np.random.default_rng(part)
        schema = schema_of(with_weight)
        with pq.ParquetWriter(folder / f"{part}.parquet", schema) as file:
            for start in range(0, len(rows), 2**18):
                size = min(2**18, len(rows) - start)
                columns = {
                    "user": rng.integers(0, NUM_USERS, size),
                    "first": rng.integers(0, NUM_RESPONSES, size),
                    "second": rng.integers(-1, NUM_RESPONSES, size),
                    "label": rng.integers(0, 2, size).astype(np.float32),
                    "weight": rng.uniform(0, 2, size).astype(np.float32),
                }
                file.write_table(pa.table({n: columns[n] for n in schema.names}, schema=schema))


def schema_of(with_weight):
    names = [("user", pa.int64()), ("first", pa.int32()), ("second", pa.int32())]
    names += [("label", pa.float32()), ("weight", pa.float32())]
    return pa.schema(names if with_weight else names[:-1])


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_command_writes_what_the_library_does(tmp_path, capsys):
    write_rows(tmp_path / "in", 5_000, with_weight=False)
    layout = UserLayout((NUM_USERS,), 8, 3)
    chunks = list(read_parquet_rows(tmp_path / "in"))
    assert sum(len(chunk.user) for chunk in chunks) == 5_000
    assert all((np.asarray(chunk.sample_weight) == 1).all() for chunk in chunks)
    write_shards(chunks, tmp_path / "library", layout=layout, num_responses=NUM_RESPONSES)
    command = ["shard", str(tmp_path / "in"), str(tmp_path / "out"), "--num-users", str(NUM_USERS)]
    command += ["--num-responses", str(NUM_RESPONSES), "--num-partitions", "8", "--seed", "3"]
    assert main(command) == 0
    assert "5000 comparisons of 50000 people in 8 partitions" in capsys.readouterr().out
    assert files_of(tmp_path / "out") == files_of(tmp_path / "library")
    assert main(command) == 1
    assert "exists" in capsys.readouterr().err


def test_files_without_the_columns_are_named(tmp_path):
    pq.write_table(pa.table({"user": ["a"]}), tmp_path / "names.parquet")
    with pytest.raises(ValueError, match=r"names.parquet has no column 'user' of numbers"):
        next(read_parquet_rows(tmp_path / "names.parquet"))


def test_ranges_are_whole_row_groups_in_order(tmp_path):
    write_rows(tmp_path / "in", 2**20, num_files=2)
    groups = list_comparisons(tmp_path / "in")
    ranges = list(_cut_ranges(groups, 600_000))
    assert [one for some in ranges for one in some] == groups
    assert max(sum(one.num_rows for one in some) for some in ranges) <= 600_000


def write_answers(folder):
    """Few people and questions, so that many repeat; somebody always first, somebody in turns."""
    rng, count = np.random.default_rng(0), 6_000
    user = rng.integers(0, 90, count).astype(np.int32)
    first = rng.integers(0, 12, count).astype(np.int32)
    second = np.where(rng.random(count) < 0.1, BASELINE, (first + 1) % 12).astype(np.int32)
    label = rng.choice(np.array([0, 0.5, 1], np.float32), count)
    for person, labels in ((7, [1.0]), (8, [0.0, 1.0])):
        mine = np.flatnonzero(user == person)
        label[mine] = np.resize(labels, len(mine))
    rows = Comparisons(user, first, second, label, np.ones(count, np.float32))
    pieces = [Comparisons(*(c[k : k + 500] for c in rows)) for k in range(0, count, 500)]
    settings = {"num_responses": 12, "block_rows": 64}
    write_shards(pieces, folder, layout=UserLayout((100,), 3, 0), **settings)
    names = tuple(map(str, range(100)))
    return Dataset("toy", rows, ("a",) * 12, np.zeros(12, int), ("",), names, {})


def assert_same_report(ours, theirs):
    for name in ("people", "num_rows", "num_ties", "num_repeats", "num_swapped", "num_same_side"):
        np.testing.assert_equal(getattr(ours, name), getattr(theirs, name))
    assert (ours.flip, ours.first_interval) == (theirs.flip, theirs.first_interval)
    assert {7, 8} <= set(ours.flagged.tolist())


def test_answers_are_counted_over_shards_as_in_one_pass(tmp_path, capsys):
    whole = inspect_answers(write_answers(tmp_path / "shards"))
    assert_same_report(inspect_shards(tmp_path / "shards"), whole)
    assert main(["audit", str(tmp_path / "shards")]) == 0
    said = capsys.readouterr().out
    assert "6,000 rows of 100 people" in said
    assert "Form: there are no texts to look at." in said
    assert main(["audit", str(tmp_path / "shards"), "--encoder", "hashed"]) == 1
    assert "which have no texts" in capsys.readouterr().err
    assert main(["audit", str(tmp_path), "--ray"]) == 1
    assert "it is no folder of shards" in capsys.readouterr().err


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore")  # what Ray's own modules warn of
def test_two_tasks_count_answers_as_one_process(tmp_path):
    whole = inspect_answers(write_answers(tmp_path / "shards"))
    command = [sys.executable, "-m", "prefjax.cli", "audit", str(tmp_path / "shards"), "--ray"]
    with ray_cluster.running(num_nodes=2, cpus=1):
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    shown = [line for line in done.stdout.splitlines() if not line.startswith("Form")]
    expected = describe_answers(whole._replace(num_shared=0, formats={}, leaks=()))
    assert shown == [line for line in expected.splitlines() if not line.startswith("Form")]


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore")  # what Ray's own modules warn of
def test_tasks_of_a_cluster_write_the_bytes_of_one_process(tmp_path):
    """One of the tasks' processes is killed; the memory of each stays bounded."""
    write_rows(tmp_path / "in", NUM_ROWS, num_files=8)
    command = [sys.executable, "-m", "prefjax.cli", "shard", str(tmp_path / "in")]
    settings = ["--num-users", str(NUM_USERS), "--num-responses", str(NUM_RESPONSES)]
    most = 0
    with ray_cluster.running(num_nodes=2, cpus=1, store=2**30):
        start = time.monotonic()
        with Run([*command, str(tmp_path / "out"), *settings, "--ray"], tmp_path) as run:
            until(lambda: ray_cluster.actors("_split"), run=run)[0].kill()
            while run.process.poll() is None:
                for process in ray_cluster.actors("ray::_"):
                    try:
                        memory = process.memory_full_info()
                    except psutil.Error:
                        continue
                    most = max(most, memory.uss)
                time.sleep(0.05)
            assert run.wait() == 0, run.log.read_text()[-3000:]
        on_ray = time.monotonic() - start
    start = time.monotonic()
    assert subprocess.run([*command, str(tmp_path / "one"), *settings]).returncode == 0
    alone = time.monotonic() - start
    size = sum(path.stat().st_size for path in (tmp_path / "one").glob("part-*"))
    print(
        f"{NUM_ROWS} rows, {size / NUM_ROWS:.2f} bytes a row: {NUM_ROWS / on_ray:.0f} a second on "
        f"Ray, {NUM_ROWS / alone:.0f} in one process; {most / 2**20:.0f} MiB a task, load "
        f"{os.getloadavg()[0]:.1f}"
    )
    assert most < MOST_BYTES
    assert sorted(os.listdir(tmp_path / "out")) == sorted(os.listdir(tmp_path / "one"))
    for name in os.listdir(tmp_path / "one"):
        same = ["cmp", str(tmp_path / "out" / name), str(tmp_path / "one" / name)]
        assert subprocess.run(same).returncode == 0, name
    for name in ("in", "out", "one"):  # they may be large
        shutil.rmtree(tmp_path / name)
