"""What touches a disk: writers and readers at the same time, locks, the quarantine, digests."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from prefjax import encoders, io
from prefjax.io import atomic


class Lengths:
    fingerprint = "lengths"

    def encode(self, texts):
        return np.array([[len(text), 1.0] for text in texts], np.float32)


@pytest.mark.parametrize("batch_size", [3, 100])
def test_writers_of_one_shard_do_not_meet(tmp_path, batch_size):
    """Threads that embed the same texts into one cache at the same moment."""
    start = threading.Barrier(6)

    def embed(worker):
        start.wait()
        for turn in range(20):
            texts = [f"{turn} {'x' * i}" for i in range(10)]
            got = encoders.encode_cached(Lengths(), texts, folder=tmp_path, batch_size=batch_size)
            np.testing.assert_array_equal(got[:, 0], [len(text) for text in texts])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(embed, range(6)))
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob("quarantine"))


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_that_is_replaced_is_never_missing_or_mixed(tmp_path, monkeypatch, can_exchange):
    folder = tmp_path / "model"
    if not can_exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda *paths: False)

    def save(number):
        with io.atomic_folder(folder, overwrite=True) as new:
            io.write_json(new / "number.json", {"number": number})

    save(0)
    if can_exchange and not atomic._exchange(tmp_path / "model", tmp_path / "model"):
        pytest.skip("the file system cannot exchange folders")
    missing, done = [], threading.Event()

    def read():
        while not done.is_set():
            try:
                json.loads((folder / "number.json").read_text())
            except FileNotFoundError as error:
                missing.append(error)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(read)
        for number in range(1, 100):
            save(number)
        done.set()
    assert json.loads((folder / "number.json").read_text()) == {"number": 99}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not can_exchange or not missing


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_replacement_that_fails_leaves_the_old_folder(tmp_path, monkeypatch, can_exchange):
    folder = tmp_path / "model"
    with io.atomic_folder(folder) as new:
        (new / "a").write_text("old")
    replace = os.replace

    def failing(source, target):
        if str(source).endswith("new"):
            raise OSError("no space")
        replace(source, target)

    def save():
        with io.atomic_folder(folder, overwrite=True) as new:
            (new / "a").write_text("new")
            if can_exchange:
                raise ZeroDivisionError
            monkeypatch.setattr(atomic, "_exchange", lambda *paths: False)
            monkeypatch.setattr(os, "replace", failing)

    with pytest.raises((OSError, ZeroDivisionError)):
        save()
    assert (folder / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


HOLD = """
import sys, time
from pathlib import Path
from prefjax.io import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_lock_is_held_across_processes_and_dies_with_its_holder(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RuntimeError, match=f"in use by another run.*{holder.pid}"):
            io.FolderLock(tmp_path)
    finally:
        holder.kill()
        holder.communicate()
    with io.FolderLock(tmp_path, wait=10.0):
        assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()


def test_the_quarantine_keeps_everything_and_says_so(tmp_path):
    path, side = tmp_path / "part.npy", tmp_path / "part.json"
    for number in ("", "-2", "-3"):
        path.write_text(f"damaged{number}")
        side.write_text("about")
        with pytest.warns(RuntimeWarning, match=r"part.npy is damaged \(cut\); moved to"):
            moved = io.quarantine(path, side, problem="cut", remedy="it is made again")
        assert moved == tmp_path / "quarantine" / f"part.npy{number}"
        assert moved.read_text() == f"damaged{number}"
        assert (moved.parent / f"part.json{number}").is_file()
        assert not path.exists()
        assert not side.exists()
    assert io.quarantine(path, side, problem="cut", remedy="nothing") is None


def test_digests_are_those_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert io.digest_file(tmp_path / "a").startswith("ba7816bf8f01cfea")
    table = np.arange(6.0).reshape(2, 3)
    different = [table, table.T, table.ravel(), table.astype(np.float32), table + 1, table[:1]]
    assert len({io.digest_arrays(array) for array in different}) == len(different)
    assert io.digest_arrays(table[:, ::2]) == io.digest_arrays(table[:, ::2].copy())
    assert io.digest_arrays(table, table[:1]) != io.digest_arrays(table[:1], table)


@pytest.mark.parametrize("name", ["file/folder", "file"])
def test_a_folder_that_cannot_be_is_named_with_the_remedy(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Cannot write models in .*file.*; choose another\."):
        io.check_writable(tmp_path / name, "models", "choose another")
