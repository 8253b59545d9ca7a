"""Processes for tests: started with their output in a file, watched, and ended for sure."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

START_SECONDS = 300.0
TRAIN = [sys.executable, "-m", "prefjax.train", "--config"]


def environment(tmp):
    """One virtual device a process, and compiled programs shared between the starts."""
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(tmp / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def launch(num_processes, restarts, *command):
    options = ["--nproc", str(num_processes), "--max-restarts", str(restarts)]
    return [sys.executable, "-m", "prefjax.train.launch", *options, "--", *map(str, command)]


class Run:
    """A process, its output in files, ended for sure."""

    def __init__(self, command, folder):
        self.log = folder / "output.txt"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), stdout=log, stderr=log, env=environment(folder)
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            pids = children(self.process.pid)
            self.process.kill()
            self.process.wait()
            for pid in pids:
                end(pid)

    def wait(self, seconds=START_SECONDS):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running: {self.log.read_text()[-3000:]}") from None


def end(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def children(pid):
    """Processes that a process has started."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in text.split()]


def is_alive(pid):
    """Whether a process runs; one that has ended but was not waited for does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def until(condition, seconds=START_SECONDS, run=None):
    """Waits for a condition; gives its value."""
    limit = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > limit or (run is not None and run.process.poll() is not None):
            output = "" if run is None else run.log.read_text()[-3000:]
            raise AssertionError(f"this did not happen in time; {output}")
        time.sleep(0.02)
    return value
