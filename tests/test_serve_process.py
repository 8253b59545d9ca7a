"""The server as a process: killed under load, stopped, doors that stay shut."""

import asyncio
import os
import random
import signal
import socket
import time

import numpy as np
import pytest
from serve_process import Server, send
from serve_world import make_model

from benchmarks.clients import Clients
from prefjax.serve import PeopleStore
from prefjax.serve.server import is_loopback, serve

KILLS = int(os.environ.get("PREFJAX_SERVER_KILLS", "4"))
NUM_CLIENTS = 8
HEAD = (
    b"POST /%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)
pytestmark = pytest.mark.multiprocess


@pytest.fixture
def server(tmp_path):
    make_model().save(tmp_path / "model")
    running = Server(tmp_path)
    yield running
    if running.process.poll() is None:
        running.stop()


def test_what_was_acknowledged_is_there_exactly_once(server, tmp_path):
    clients = asyncio.run(load_and_kill(server))
    assert server.stop() == 0
    with PeopleStore(tmp_path / "people") as store:
        clients.check(store)


async def load_and_kill(server):
    rng = random.Random(0)
    async with Clients([server.port], NUM_CLIENTS) as clients:
        for _ in range(KILLS):
            await asyncio.sleep(0.3 + rng.random())
            await asyncio.to_thread(server.stop, signal.SIGKILL)
            await asyncio.to_thread(server.start)
        await asyncio.sleep(0.5)
    return clients


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
