"""Servers as processes that are killed and started again."""

import os
import signal
import subprocess
import sys

import orjson

from benchmarks.clients import connection
from benchmarks.serve import request


class Server:
    """A server that can be killed and started again on the same port."""

    def __init__(self, folder, port=0, people=None):
        self.folder, self.port = folder, port
        self.people = str(folder / "people") if people is None else people
        self.start()

    def start(self):
        command = [sys.executable, "-m", "prefjax.cli", "serve", str(self.folder / "model")]
        command += ["--people", self.people, "--port", str(self.port)]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        with (self.folder / f"log-{self.port}").open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        line = self.process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line + self.process.stdout.read()
        self.port = int(line.rsplit(":", 1)[1])

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        self.process.stdout.close()
        return status


async def send(port, method, path, body=None):
    async with connection(port) as streams:
        return orjson.loads(await request(*streams, method, path, orjson.dumps(body)))
