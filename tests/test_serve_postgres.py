"""People in a real PostgreSQL: two writers of one person, a database that is killed.

``PREFJAX_SIMULTANEOUS`` sets how often two clients answer at once, ``PREFJAX_DATABASE_KILLS`` how
often the database is killed under load.
"""

import asyncio
import json
import os
import random
import threading

import numpy as np
import postgres
import pytest
from serve_process import Server
from serve_world import PROMPTS, RESPONSES, make_model

from benchmarks.clients import Clients, post
from prefjax.serve import PeopleService, PeopleStore

ROUNDS = int(os.environ.get("PREFJAX_SIMULTANEOUS", "300"))
ROUNDS_A_PERSON = 10
KILLS = int(os.environ.get("PREFJAX_DATABASE_KILLS", "3"))
NUM_CLIENTS = 8
pytestmark = pytest.mark.cluster


@pytest.fixture
def database():
    with postgres.running() as server:
        yield server


def test_of_two_answers_at_once_both_are_kept_in_one_order(database):
    """Two servers; in every round each has an answer for the same person at the same moment."""
    model, barrier, errors = make_model(), threading.Barrier(2), []
    people = [f"p{number}" for number in range(-(-ROUNDS // ROUNDS_A_PERSON))]
    with PeopleStore(database.url) as first, PeopleStore(database.url) as second:
        services = [PeopleService(model, store, is_shared=True) for store in (first, second)]
        for person in people:
            services[0].create(person)

        def answer(client):
            try:
                for turn in range(ROUNDS):
                    shown = RESPONSES[turn % 3], RESPONSES[3]
                    barrier.wait(60)
                    services[client].observe(
                        people[turn // ROUNDS_A_PERSON],
                        PROMPTS[turn % len(PROMPTS)],
                        *shown,
                        float(client),
                        key=f"{client} {turn}",
                    )
            except BaseException as error:
                errors.append(error)
                barrier.abort()

        threads = [threading.Thread(target=answer, args=(client,)) for client in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        orders = set()
        for number, person in enumerate(people):
            turns = range(number * ROUNDS_A_PERSON, min(ROUNDS, (number + 1) * ROUNDS_A_PERSON))
            kept = services[0].store.read(person).answers
            assert len(kept) == 2 * len(turns)
            sequential = model.new_person()
            for one in kept:
                shown = one["shown"]
                sequential.observe(shown["prompt"], shown["first"], shown["second"], one["label"])
            for client in range(2):
                own = [a["shown"]["prompt"] for a in kept if a["label"] == client]
                assert own == [PROMPTS[turn % len(PROMPTS)] for turn in turns]
            for service in services:
                for ours, theirs in zip(service.belief(person), sequential.belief, strict=True):
                    np.testing.assert_array_equal(ours, theirs)
            orders.add(tuple(a["label"] for a in kept))
    assert len(orders) > 1 or len(people) == 1  # now one was first, now the other


def test_a_database_that_is_killed_loses_no_acknowledged_answer(database, tmp_path):
    make_model().save(tmp_path / "model")
    servers = [Server(tmp_path, people=database.url) for _ in range(2)]
    try:
        clients = asyncio.run(load_and_kill(database, [server.port for server in servers]))
        assert [server.stop() for server in servers] == [0, 0]
    finally:
        for server in servers:
            server.process.kill()
            server.process.wait()
    assert clients.refused
    for status, content in clients.refused:
        assert status == 503
        assert "database cannot be reached" in json.loads(content)["error"]["message"]
    with PeopleStore(database.url) as store:
        clients.check(store)


async def load_and_kill(database, ports):
    rng = random.Random(0)
    async with Clients(ports, NUM_CLIENTS) as clients:
        for _ in range(KILLS):
            await asyncio.sleep(0.5 + rng.random())
            await asyncio.to_thread(database.kill)
            status, _ = await post(ports[0], "/people/w1/rank", {"candidates": [[0.0] * 128] * 2})
            assert status == 503
            await asyncio.to_thread(database.start)
        await asyncio.sleep(0.5)
    return clients


def test_connections_that_were_cut_are_made_anew(database):
    """An administrator ends every connection; the next request does not see it."""
    with PeopleStore(database.url) as store, PeopleStore(database.url) as admin:
        version = store.create("w12", {})
        with admin._engine.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        store.commit("w12", version, {"open": 1})
        assert store.read("w12").state == {"open": 1}


def test_of_two_hosts_the_one_that_writes_is_taken(database):
    hosts = f"host=127.0.0.1:{postgres.free_port()}&host=127.0.0.1:{database.port}"
    url = f"postgresql+psycopg://prefjax@/postgres?{hosts}&target_session_attrs=read-write"
    with PeopleStore(url) as store:
        store.create("w12", {})
        assert store.count() == 1
