"""A real PostgreSQL on loopback, in a folder of its own, that can be killed and started again."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from train_process import children, end

START_SECONDS = 60.0
GIVEN = os.environ.get("PREFJAX_POSTGRES")
"""URL of a database that runs already, for tests that do not stop it."""


def find(program):
    """The path of one of PostgreSQL's programs, which Debian keeps outside PATH; None without."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return shutil.which(program) or (str(debian[-1]) if debian else None)


def skip_if_missing():
    """Skips a test where PostgreSQL or its driver is not installed."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if find("initdb") is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """A server with its data in a temporary folder; it refuses to run as root, so root lends it
    the account that Debian's package makes."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="prefjax-postgres-"))
        self.port = free_port()
        self.account = {"user": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        if self.account:
            shutil.chown(self.folder, "postgres")
        command = [find("initdb"), "-D", self.folder / "data", "-U", "prefjax", "-A", "trust"]
        command += ["-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self.account)
        self.url = f"postgresql+psycopg://prefjax@127.0.0.1:{self.port}/postgres"
        self.start()

    def start(self):
        """Starts it and waits until it answers, after its recovery if there is one."""
        options = [f"-cport={self.port}", "-clisten_addresses=127.0.0.1"]
        options += [f"-cunix_socket_directories={self.folder}"]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [find("postgres"), "-D", self.folder / "data", *options],
                stdout=log,
                stderr=log,
                cwd="/",
                **self.account,
            )
        limit = time.monotonic() + START_SECONDS
        while not self.answers():
            log = (self.folder / "log").read_text()[-2000:]
            assert self.process.poll() is None, log
            assert time.monotonic() < limit, log
            time.sleep(0.05)

    def answers(self):
        import psycopg

        try:
            psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self):
        """All of its processes at once, as when the machine loses power."""
        workers = children(self.process.pid)
        self.process.kill()
        for worker in workers:
            end(worker)
        self.process.wait(timeout=30)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)  # its immediate shutdown
            self.process.wait(timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def running():
    """A server of its own, or a skip with the reason."""
    skip_if_missing()
    server = Postgres()
    try:
        yield server
    finally:
        server.close()
