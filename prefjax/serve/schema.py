"""The tables of the people, how a database is opened, and its migrations."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from select import POLLIN, poll
from typing import Any, NamedTuple

import sqlalchemy as sql
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError, DBAPIError, DisconnectionError

VERSION = 2
"""Number of the layout; a database of an older one is brought to it, of a newer one refused."""
MIGRATIONS = {1: ("ALTER TABLE answers ADD COLUMN given FLOAT",)}
"""Statements that bring a database of some layout to the next one."""
_LOCK = 0x70726566
"""Of PostgreSQL, for whoever prepares a database: several servers may start at once."""

_metadata = sql.MetaData()


class Tables(NamedTuple):
    """The tables, in the order of their names in `prefjax.serve.store`."""

    people: sql.Table
    answers: sql.Table
    receipts: sql.Table


TABLES = Tables(
    people=sql.Table(
        "people",
        _metadata,
        sql.Column("id", sql.Text, primary_key=True),
        sql.Column("version", sql.Integer, nullable=False),
        sql.Column("state", sql.Text, nullable=False),
        sql.Column("created", sql.Float, nullable=False),
    ),
    answers=sql.Table(
        "answers",
        _metadata,
        sql.Column("person", sql.Text, primary_key=True),
        sql.Column("place", sql.Integer, primary_key=True),
        sql.Column("body", sql.Text, nullable=False),
        sql.Column("given", sql.Float),  # seconds since 1970; unknown in layout 1
    ),
    receipts=sql.Table(
        "receipts",
        _metadata,
        sql.Column("person", sql.Text, primary_key=True),
        sql.Column("key", sql.Text, primary_key=True),
        sql.Column("body", sql.Text, nullable=False),
    ),
)
_layout = sql.Table("layout", _metadata, sql.Column("version", sql.Integer, primary_key=True))


def open_engine(place: str | Path, busy_seconds: float) -> Engine:
    """An engine whose transactions are durable when they end.

    A connection that was lost is noticed before it is used again, and made anew; a PostgreSQL that
    is silent counts as lost after ``busy_seconds``. A server that ended a connection, or died, left
    something to read on it: with psycopg that is looked for, without a message to the server.
    `ask` and `connect` are for the moment in between.

    Args:
        place: A file for SQLite, or a URL.
        busy_seconds: How long a writer waits for another one.
    """
    if isinstance(place, str) and re.match(r"[a-z0-9+]+://", place):
        settings: dict[str, Any] = {}
        url = sql.make_url(place)
        if url.get_backend_name() == "postgresql":
            settings = {
                "connect_timeout": int(busy_seconds),
                "options": f"-c lock_timeout={busy_seconds * 1e3:g}",
                "keepalives_idle": int(busy_seconds),
                "tcp_user_timeout": int(busy_seconds * 1e3),
            }
        by_psycopg = url.get_driver_name() == "psycopg"
        engine = sql.create_engine(
            place, pool_pre_ping=not by_psycopg, pool_size=10, connect_args=settings
        )
        if by_psycopg:
            event.listen(engine, "checkout", partial(_check_connection, engine))
        return engine
    engine = sql.create_engine(f"sqlite:///{place}", connect_args={"timeout": busy_seconds})

    @event.listens_for(engine, "connect")
    def _settings(connection, _record):
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for line in (
            "journal_mode=WAL",
            "synchronous=FULL",
            f"busy_timeout={busy_seconds * 1e3:g}",
        ):
            connection.execute(f"PRAGMA {line}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection):
        only_reads = connection.get_execution_options().get("only_reads", False)
        connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")

    return engine


def _check_connection(engine: Engine, connection: Any, *_: object) -> None:
    """Refuses a connection on which something unasked was said, and nothing is answered now."""
    waiting = poll()
    waiting.register(connection.fileno(), POLLIN)
    if waiting.poll(0) and not _answers(engine, connection):
        raise DisconnectionError("the database ended the connection")


def _answers(engine: Engine, connection: Any) -> bool:
    try:
        return engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error:
        return False


def reading(engine: Engine) -> Engine:
    """The same engine for transactions that only read, each as of one moment."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(only_reads=True)
    return engine.execution_options(isolation_level="REPEATABLE READ")


def at_once(engine: Engine) -> Engine:
    """The same engine for single statements that only read; elsewhere than in SQLite, for any."""
    if engine.dialect.name == "sqlite":
        return reading(engine)
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def ask(engine: Engine, statement: sql.Executable) -> Sequence[Any]:
    """Rows of a statement that only reads, asked again if the connection had been lost.

    Args:
        engine: Of `at_once`.
        statement: The statement.
    """
    try:
        with engine.connect() as connection:
            return connection.execute(statement).all()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
    with engine.connect() as connection:
        return connection.execute(statement).all()


def connect(engine: Engine) -> Connection:
    """A connection on which the database has just answered."""
    connection = engine.connect()
    try:
        connection.execute(sql.select(1))
    except DBAPIError as error:
        connection.close()
        if not error.connection_invalidated:
            raise
        connection = engine.connect()
    return connection


def prepare(engine: Engine, name: str) -> None:
    """Makes the tables where they are not there, and brings an older layout to this one.

    Args:
        engine: Of the database.
        name: What the message calls it.

    Raises:
        ValueError: It is no database, cannot be reached, or is of a newer layout.
    """
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sql.select(sql.func.pg_advisory_xact_lock(_LOCK)))
            found = None
            if sql.inspect(connection).has_table(_layout.name):
                found = connection.execute(sql.select(_layout.c.version)).scalar_one_or_none()
            _metadata.create_all(connection)
            if found is None:
                connection.execute(_layout.insert().values(version=VERSION))
            elif found < VERSION:
                for before in range(found, VERSION):
                    for statement in MIGRATIONS[before]:
                        connection.execute(sql.text(statement))
                connection.execute(_layout.update().values(version=VERSION))
    except DatabaseError as error:
        raise ValueError(
            f"{name} cannot be opened as a database of people: {error.orig}"
        ) from error
    if found is not None and found > VERSION:
        raise ValueError(
            f"{name} has layout {found}, this version of prefjax knows {VERSION}: open it with the "
            "version that wrote it, or name another file"
        )
