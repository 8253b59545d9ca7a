"""People in a database: what is known of each, every answer once, every request answered alike.

    people    id, version, state        all but the answers, as JSON; the version counts on
    answers   person, place, body       in the order in which they were given
    receipts  person, key, body         what a request with this idempotency key was answered

A change is one transaction that names the version it was computed from: of two writers of one
person the second is told so, reads again and computes its change from the newer state. What
`PeopleStore.commit` has returned is on the disk. SQLite (a path) runs in WAL mode with full
synchronization; any other database goes by the URL of SQLAlchemy.
"""

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from prefjax.io import check_text

MOST_ID = 200
"""Characters of an id or of an idempotency key."""
BUSY_SECONDS = 10.0
"""How long a writer waits for another one before it gives up."""


class UnknownPersonError(KeyError):
    """There is no such person."""


class ExistingPersonError(ValueError):
    """Somebody of that name is there already."""


class ConflictError(RuntimeError):
    """The person was changed since it was read: read again."""


class Glance(NamedTuple):
    """What tells whether somebody is as they were.

    Attributes:
        version: Grows by one with each change.
        created: When, in seconds since 1970: of somebody who was deleted and came again another.
        receipt: What the request of the key was answered, None if it was never made.
    """

    version: int
    created: float
    receipt: dict[str, Any] | None


class StoredState(NamedTuple):
    """What is stored of one person.

    Attributes:
        version: Grows by one with each change.
        created: As in `Glance`.
        state: All but the answers, as `prefjax.person.Person.to_dict` gives it.
        answers: Every answer, or those from some version on, in order.
    """

    version: int
    created: float
    state: dict[str, Any]
    answers: list[dict[str, Any]]


class StoredAnswer(NamedTuple):
    """One answer of one person.

    Attributes:
        person: The id.
        given: When, in seconds since 1970; None in what was stored by the first versions.
        body: The answer, as `prefjax.person.Person.to_dict` gives it.
    """

    person: str
    given: float | None
    body: dict[str, Any]


class PeopleStore:
    """People in a database.

    Args:
        place: A file for SQLite, made if needed; or a URL of SQLAlchemy, such as
            ``postgresql+psycopg://…``.

    Raises:
        ModuleNotFoundError: SQLAlchemy is not installed (extra ``serve``).
        ValueError: The file is no database, or one of a newer version of this package.
    """

    def __init__(self, place: str | Path):
        try:
            import sqlalchemy as sql
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "people are kept through SQLAlchemy: pip install 'prefjax[serve]'"
            ) from error
        from prefjax.serve import change, schema

        self._sql, self._tables = sql, schema.TABLES
        self._ask, self._apply = schema.ask, change.apply_change
        self._engine = schema.open_engine(place, BUSY_SECONDS)
        self._reading, self._at_once = schema.reading(self._engine), schema.at_once(self._engine)
        schema.prepare(self._engine, str(place))

    def close(self) -> None:
        """Gives the connections back."""
        self._engine.dispose()

    def __enter__(self) -> "PeopleStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def create(self, person: str, state: dict[str, Any]) -> int:
        """Somebody new.

        Args:
            person: The id.
            state: All but the answers.

        Returns:
            The version: a number drawn anew, so that nobody takes a person of before, who was
            deleted, for this one.

        Raises:
            ValueError: The id is empty, too long, or not text that can be stored.
            ExistingPersonError: The id is taken.
        """
        check_name(person, "an id")
        people = self._tables.people
        version = secrets.randbelow(1 << 30)
        row = {"id": person, "version": version, "state": _dump(state), "created": time.time()}
        try:
            with self._engine.begin() as connection:
                connection.execute(people.insert().values(row))
        except self._sql.exc.IntegrityError as error:
            raise ExistingPersonError(f"there is a person {person!r} already") from error
        return version

    def look(self, person: str, key: str | None = None) -> Glance:
        """The version of somebody, and what a request was answered.

        Args:
            person: The id.
            key: Idempotency key of the request, None for none.

        Raises:
            UnknownPersonError: There is no such person.
        """
        people, receipts = self._tables.people, self._tables.receipts
        body = self._sql.null()
        if key is not None:
            is_meant = (receipts.c.person == person) & (receipts.c.key == key)
            body = self._sql.select(receipts.c.body).where(is_meant).scalar_subquery()
        columns = people.c.version, people.c.created, body.label("receipt")
        wanted = self._sql.select(*columns).where(people.c.id == person)
        rows = self._ask(self._at_once, wanted)
        if not rows:
            raise UnknownPersonError(person)
        (row,) = rows
        return Glance(row.version, row.created, row.receipt and json.loads(row.receipt))

    def read(self, person: str, since: int = 0) -> StoredState:
        """What is stored of somebody, as of one moment.

        Args:
            person: The id.
            since: Version from which on answers are wanted.

        Raises:
            UnknownPersonError: There is no such person.
        """
        (people, answers, _), sql = self._tables, self._sql
        about = people.c.version, people.c.created
        place = sql.literal(-1).label("place")
        state = sql.select(*about, people.c.state.label("body"), place).where(people.c.id == person)
        given = sql.select(*about, answers.c.body, answers.c.place).where(
            people.c.id == person,
            answers.c.person == person,
            answers.c.place >= since,
            answers.c.place < people.c.version,
        )
        rows = self._ask(self._at_once, state.union_all(given).order_by("place"))
        if not rows:
            raise UnknownPersonError(person)
        body, *bodies = (json.loads(row.body) for row in rows)
        return StoredState(rows[0].version, rows[0].created, body, bodies)

    def commit(
        self,
        person: str,
        version: int,
        state: dict[str, Any],
        *,
        answer: dict[str, Any] | None = None,
        key: str | None = None,
        receipt: dict[str, Any] | None = None,
    ) -> None:
        """One change in one transaction; on the disk when this returns.

        Args:
            person: The id.
            version: The version that the change was computed from.
            state: All but the answers, after the change.
            answer: An answer more.
            key: Idempotency key of the request.
            receipt: What the request is answered, kept under the key.

        Raises:
            ConflictError: The person has another version by now, or the key was used meanwhile.
            UnknownPersonError: The person was deleted.
            ValueError: The key is too long or not text that can be stored.
        """
        if key is not None:
            check_name(key, "an idempotency key")
        values = {
            "person": person,
            "version": version,
            "state": _dump(state),
            "given": time.time(),
            "answer": None if answer is None else _dump(answer),
            "key": key,
            "receipt": _dump(receipt or {}),
        }
        try:
            if self._apply(self._engine, self._at_once, values):
                return
        except self._sql.exc.IntegrityError as error:
            raise ConflictError(f"the key {key!r} of {person!r} was used meanwhile") from error
        known = self.look(person).version
        raise ConflictError(f"{person!r} is at version {known}, not {version}")

    def delete(self, person: str) -> None:
        """Removes somebody, every answer and every receipt.

        Raises:
            UnknownPersonError: There is no such person.
        """
        people, answers, receipts = self._tables
        with self._engine.begin() as connection:
            if connection.execute(people.delete().where(people.c.id == person)).rowcount != 1:
                raise UnknownPersonError(person)
            connection.execute(answers.delete().where(answers.c.person == person))
            connection.execute(receipts.delete().where(receipts.c.person == person))

    def answers(self) -> Iterator[StoredAnswer]:
        """Every answer of everybody, person by person and in order, as of one moment."""
        table = self._tables.answers
        wanted = self._sql.select(table).order_by(table.c.person, table.c.place)
        with self._reading.begin() as connection:
            for row in connection.execution_options(yield_per=1_000).execute(wanted):
                yield StoredAnswer(row.person, row.given, json.loads(row.body))

    def count(self) -> int:
        """Number of people."""
        count = self._sql.func.count
        ((number,),) = self._ask(self._at_once, self._sql.select(count(self._tables.people.c.id)))
        return number


def check_name(name: str, what: str) -> None:
    """Refuses an id or a key that a database cannot hold.

    Args:
        name: The id or the key.
        what: What the message calls it.

    Raises:
        ValueError: It is empty, too long, or holds NUL, a line break or half a character.
    """
    if not 0 < len(name) <= MOST_ID:
        raise ValueError(f"{what} has {len(name)} characters; 1 to {MOST_ID} are allowed")
    check_text(name, what)
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        raise ValueError(f"{what} holds a control character")


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
