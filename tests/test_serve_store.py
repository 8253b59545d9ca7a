"""People in a database: one transaction a change, versions, receipts, what cannot be stored."""

import contextlib
import sqlite3
import threading

import postgres
import pytest

from prefjax.serve.store import (
    ConflictError,
    ExistingPersonError,
    PeopleStore,
    UnknownPersonError,
)


@pytest.fixture(scope="module")
def url():
    """Of a database that is given, or of one that is started here."""
    if postgres.GIVEN is not None:
        yield postgres.GIVEN
        return
    with postgres.running() as server:
        yield server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    if request.param == "sqlite":
        return tmp_path / "people.sqlite"
    return request.getfixturevalue("url")


@pytest.fixture
def store(place):
    with PeopleStore(place) as opened:
        yield opened
        for name in ("w12", "w13", "naïve 漢字 🙂'; DROP TABLE people;--"):
            with contextlib.suppress(UnknownPersonError):
                opened.delete(name)


def test_a_change_is_read_back_in_order(store, place):
    start = store.create("w12", {"rule": "d_optimal"})
    store.commit("w12", start, {"open": 1})
    store.commit("w12", start + 1, {"open": None}, answer={"label": 1.0})
    store.commit("w12", start + 2, {"open": None}, answer={"label": 0.25})
    found = store.read("w12")
    assert (found.version, found.state) == (start + 3, {"open": None})
    assert [answer["label"] for answer in found.answers] == [1.0, 0.25]
    with PeopleStore(place) as other:
        assert other.read("w12") == found
        assert other.look("w12").version == start + 3


def test_of_two_writers_the_second_is_told(store, place):
    start = store.create("w12", {})
    with PeopleStore(place) as other:
        other.commit("w12", start, {"by": "other"}, answer={"label": 1.0})
    with pytest.raises(ConflictError, match=f"'w12' is at version {start + 1}, not {start}"):
        store.commit("w12", start, {"by": "me"}, answer={"label": 0.0})
    assert store.read("w12").state == {"by": "other"}


def test_a_key_counts_once(store):
    start = store.create("w12", {})
    store.commit("w12", start, {}, answer={"label": 1.0}, key="k", receipt={"num_answers": 1})
    assert store.look("w12", "k").receipt == {"num_answers": 1}
    assert store.look("w12", "other").receipt is None
    with pytest.raises(ConflictError, match="key 'k' of 'w12' was used"):
        store.commit("w12", start + 1, {}, answer={"label": 1.0}, key="k", receipt={})
    assert store.read("w12").version == start + 1


def test_ids_are_data(store):
    name = "naïve 漢字 🙂'; DROP TABLE people;--"
    start = store.create(name, {})
    store.create("w12", {})
    with pytest.raises(ExistingPersonError, match="there is a person 'w12' already"):
        store.create("w12", {})
    assert store.read(name).version == start
    store.delete(name)
    with pytest.raises(UnknownPersonError):
        store.read(name)
    with pytest.raises(UnknownPersonError):
        store.delete(name)
    with pytest.raises(UnknownPersonError):
        store.commit(name, start, {})


def test_who_comes_after_somebody_deleted_is_another(store):
    first = store.create("w12", {})
    store.delete("w12")
    assert store.create("w12", {}) != first


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "0 characters"),
        ("x" * 201, "201 characters"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_ids_that_cannot_be_stored_are_refused(store, name, message):
    with pytest.raises(ValueError, match=message):
        store.create(name, {})


def test_writers_in_threads_lose_nothing(place, store):
    store.create("w12", {})

    def work(number):
        with PeopleStore(place) as own:
            for turn in range(25):
                while True:
                    try:
                        version = own.look("w12").version
                        own.commit("w12", version, {}, answer={"by": number, "turn": turn})
                        break
                    except ConflictError:
                        pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = store.read("w12").answers
    assert len(answers) == 100
    for number in range(4):
        assert [a["turn"] for a in answers if a["by"] == number] == list(range(25))


def test_a_database_of_the_first_layout_is_brought_to_this_one(tmp_path):
    with PeopleStore(tmp_path / "older") as store:
        start = store.create("w12", {"open": None})
        store.commit("w12", start, {"open": None}, answer={"label": 1.0})
    connection = sqlite3.connect(tmp_path / "older")
    with connection:
        connection.execute("ALTER TABLE answers DROP COLUMN given")
        connection.execute("UPDATE layout SET version = 1")
    connection.close()
    for _ in range(2):
        with PeopleStore(tmp_path / "older") as store:
            version = store.look("w12").version
            store.commit("w12", version, {"open": None}, answer={"label": 0.0})
    with PeopleStore(tmp_path / "older") as store:
        assert [answer["label"] for answer in store.read("w12").answers] == [1.0, 0.0, 0.0]


def test_servers_that_start_at_once_make_one_database(place):
    errors = []

    def start():
        try:
            PeopleStore(place).close()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_files_that_are_no_database_are_refused(tmp_path):
    (tmp_path / "text").write_text("not a database, and long enough to be taken for one" * 100)
    with pytest.raises(ValueError, match="cannot be opened as a database of people"):
        PeopleStore(tmp_path / "text")
    PeopleStore(tmp_path / "newer").close()
    with sqlite3.connect(tmp_path / "newer") as connection:
        connection.execute("UPDATE layout SET version = 99")
    connection.close()
    with pytest.raises(ValueError, match="has layout 99, this version of prefjax knows 2"):
        PeopleStore(tmp_path / "newer")
