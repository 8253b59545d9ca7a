"""The server of a simulation: a process of its own that can be killed."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path


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
