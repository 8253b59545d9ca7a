"""Replicas on a real Ray cluster over a real PostgreSQL: killed in turn, and given a newer model.

``PREFJAX_SERVE_KILLS`` sets how often a replica, then the database is killed under load,
``PREFJAX_SERVE_CLIENTS`` how many clients there are, ``PREFJAX_SERVE_CALM`` how many seconds before
that are measured.
"""

import asyncio
import os
import random
import subprocess
import sys
import time

import numpy as np
import postgres
import pytest
import ray_cluster
from serve_process import send
from serve_world import make_model

from benchmarks.clients import Clients, post
from prefjax.serve import PeopleStore, serve_on_ray

KILLS = int(os.environ.get("PREFJAX_SERVE_KILLS", "2"))
NUM_CLIENTS = int(os.environ.get("PREFJAX_SERVE_CLIENTS", "8"))
CALM_SECONDS = float(os.environ.get("PREFJAX_SERVE_CALM", "5"))
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore"),  # what Ray's own modules warn of
]


@pytest.fixture(scope="module")
def database():
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster.running(num_nodes=1, cpus=8) as started:
        yield started


@pytest.fixture(scope="module")
def deploy(database, cluster, tmp_path_factory):
    """Serves a model of a seed, as the command does; gives the port, which stays."""
    folder, port = tmp_path_factory.mktemp("models"), postgres.free_port()

    def run(seed):
        make_model(seed).save(folder / str(seed))
        command = [sys.executable, "-m", "prefjax.cli", "serve", str(folder / str(seed)), "--ray"]
        command += ["--people", database.url, "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout == f"http://127.0.0.1:{port}\n"
        return port

    return run


async def kill_in_turn(port, database):
    rng = random.Random(0)
    async with Clients([port], NUM_CLIENTS) as clients:
        await asyncio.sleep(CALM_SECONDS)
        calm = list(clients.seconds)
        for kill in range(KILLS):
            if kill % 2 == 0:
                rng.choice(ray_cluster.actors("ServeReplica")).kill()
            else:
                await asyncio.to_thread(database.kill)
                await asyncio.sleep(0.5)
                await asyncio.to_thread(database.start)
            before = sum(clients.acknowledged)
            limit = time.monotonic() + 60
            while sum(clients.acknowledged) < before + NUM_CLIENTS:
                assert time.monotonic() < limit, clients.refused[-3:]
                await asyncio.sleep(0.05)
            await asyncio.sleep(rng.random())
    return clients, calm


def test_replicas_and_a_database_that_are_killed_lose_no_acknowledged_answer(deploy, database):
    port = deploy(0)
    clients, calm = asyncio.run(kill_in_turn(port, database))
    assert {found[0] for found in clients.refused if found is not None} <= {500, 503}
    assert calm
    slow, rate = np.quantile(calm, 0.99), len(calm) / CALM_SECONDS
    print(
        f"{NUM_CLIENTS} clients: {rate:.0f} answers/s, p99 {slow:.3f} s, {os.getloadavg()[0]:.1f}"
    )
    with PeopleStore(database.url) as store:
        clients.check(store)
        for person in clients.people:
            store.delete(person)
    status, content = asyncio.run(post(port, "/score", {}, host="example.org"))
    assert (status, b"does not answer for the host" in content) == (421, True)


async def replace_under_load(port, deploy):
    async with Clients([port], NUM_CLIENTS) as clients:
        await asyncio.sleep(1)
        await asyncio.to_thread(deploy, 1)
        await asyncio.sleep(1)
    return clients


def test_a_newer_model_drops_no_request_and_infers_people_again(deploy, database):
    port = deploy(0)
    clients = asyncio.run(replace_under_load(port, deploy))
    assert clients.refused == []
    with PeopleStore(database.url) as store:
        clients.check(store)
        answers = store.read("p1").answers
    person = make_model(1).new_person()
    for answer in answers:
        shown = answer["shown"]
        person.observe(shown["prompt"], shown["first"], shown["second"], answer["label"])
    found = asyncio.run(send(port, "GET", "/people/p1"))
    np.testing.assert_allclose(found["weights"], person.weights, rtol=1e-4, atol=1e-5)


def test_people_in_a_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="need a database that all of them may write"):
        serve_on_ray(tmp_path, str(tmp_path / "people.sqlite"))
    with pytest.raises(ValueError, match="can be reached from elsewhere"):
        serve_on_ray(tmp_path, "postgresql+psycopg://host/people", host="0.0.0.0")
