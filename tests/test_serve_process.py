"""The server as a process: killed under load, stopped, doors that stay shut."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import orjson
import pytest
from serve_world import make_model

from benchmarks.serve import request
from prefjax.serve import PeopleStore
from prefjax.serve.server import is_loopback, serve

KILLS = int(os.environ.get("PREFJAX_SERVER_KILLS", "4"))
NUM_CLIENTS = 8
HEAD = (
    b"POST /%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)
pytestmark = pytest.mark.multiprocess


class Server:
    """A server that can be killed and started again on the same port."""

    def __init__(self, folder, port=0):
        self.folder, self.port = folder, port
        self.start()

    def start(self):
        command = [sys.executable, "-m", "prefjax.cli", "serve", str(self.folder / "model")]
        command += ["--people", str(self.folder / "people"), "--port", str(self.port)]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        line = self.process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line + self.process.stdout.read()
        self.port = int(line.rsplit(":", 1)[1])

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        self.process.stdout.close()
        return status


@pytest.fixture
def server(tmp_path):
    make_model().save(tmp_path / "model")
    running = Server(tmp_path)
    yield running
    if running.process.poll() is None:
        running.stop()


@contextlib.asynccontextmanager
async def connection(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def send(port, method, path, body=None):
    async with connection(port) as streams:
        return orjson.loads(await request(*streams, method, path, orjson.dumps(body)))


async def post(port, path, body, key=None):
    """The status line of the answer."""
    body = orjson.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\n"
    head += "" if key is None else f"Idempotency-Key: {key}\r\n"
    async with connection(port) as (reader, writer):
        writer.write(head.encode() + b"\r\n" + body)
        return (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]


async def observe_until_acknowledged(port, person, turn, key):
    """Sends one answer again and again, under one key, until the server says it has it."""
    body = {"prompt": "", "first": f"{person} {turn}", "second": "b", "label": 1}
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if b" 200 " in await post(port, f"/people/{person}/observe", body, key):
                return
        await asyncio.sleep(0.05)


def test_what_was_acknowledged_is_there_exactly_once(server, tmp_path):
    asyncio.run(load_and_kill(server))
    assert server.stop() == 0
    with PeopleStore(tmp_path / "people") as store:
        for person in range(NUM_CLIENTS):
            answers = store.read(f"p{person}").answers
            said = [answer["shown"]["first"] for answer in answers]
            assert said == [f"p{person} {turn}" for turn in range(len(said))]
            assert len(said) == server.acknowledged[person]


async def load_and_kill(server):
    for person in range(NUM_CLIENTS):
        assert b" 201 " in await post(server.port, "/people", {"id": f"p{person}"})
    server.acknowledged = [0] * NUM_CLIENTS
    done = asyncio.Event()

    async def client(person):
        while not done.is_set():
            turn = server.acknowledged[person]
            await observe_until_acknowledged(server.port, f"p{person}", turn, f"k{turn}")
            server.acknowledged[person] += 1

    clients = [asyncio.create_task(client(person)) for person in range(NUM_CLIENTS)]
    rng = random.Random(0)
    for _ in range(KILLS):
        await asyncio.sleep(0.3 + rng.random())
        await asyncio.to_thread(server.stop, signal.SIGKILL)
        await asyncio.to_thread(server.start)
    await asyncio.sleep(0.5)
    done.set()
    await asyncio.gather(*clients)
    assert min(server.acknowledged) > 0


def test_a_second_server_does_not_get_the_people(server, tmp_path):
    with pytest.raises(RuntimeError, match="another server has"):
        serve(tmp_path / "model", str(tmp_path / "people"), port=0)


def test_slow_and_large_requests_hold_nobody_up(server):
    """A hundred half requests, and a body of 100 MB that is refused before it has come."""
    waiting = []
    for _ in range(100):
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(HEAD % (b"people/w0/rank", 90) + b"{")
        waiting.append(connection)
    body = {"prompt": "", "candidates": ["a", "b"]}
    for _ in range(5):
        start = time.perf_counter()
        found = asyncio.run(send(server.port, "POST", "/people/w0/rank", body))
        assert len(found["order"]) == 2
    assert time.perf_counter() - start < 5
    with socket.create_connection(("127.0.0.1", server.port)) as large:
        large.sendall(HEAD % (b"score", 100_000_000))
        assert b" 413 " in large.recv(100)
    for connection in waiting:
        connection.close()


def test_addresses_that_can_be_reached_need_a_token(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFJAX_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "192.0.2.7", "example.org"):
        assert not is_loopback(host)
        with pytest.raises(ValueError, match="can be reached from elsewhere"):
            serve(tmp_path, str(tmp_path / "people"), host=host)
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost"))


def test_running_requests_end_before_the_server_does(server):
    model = make_model()

    async def both():
        body = {"prompt": "", "candidates": [f"answer {n}" for n in range(900)]}
        asked = asyncio.create_task(send(server.port, "POST", "/people/w1/rank", body))
        await asyncio.sleep(0.05)
        server.process.send_signal(signal.SIGTERM)
        return body, await asked

    body, found = asyncio.run(both())
    expected = model.person("w1").rank("", body["candidates"])
    np.testing.assert_allclose(found["reward"], expected.reward, rtol=1e-4, atol=1e-5)
    assert server.process.wait(timeout=60) == 0
    server.process.stdout.close()
