"""The tables of the people, how a database is opened, and its migrations."""

import re
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sql
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError

VERSION = 1
"""Number of the layout; a database of another one is migrated or refused."""

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

    Args:
        place: A file for SQLite, or a URL.
        busy_seconds: How long a writer waits for another one.
    """
    if isinstance(place, str) and re.match(r"[a-z0-9+]+://", place):
        return sql.create_engine(place, pool_pre_ping=True, pool_size=10)
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


def prepare(engine: Engine, name: str) -> None:
    """Makes the tables where they are not there, and checks the number of the layout.

    Args:
        engine: Of the database.
        name: What the message calls it.

    Raises:
        ValueError: It is no database, or of another layout.
    """
    try:
        with engine.begin() as connection:
            _metadata.create_all(connection)
            found = connection.execute(sql.select(_layout.c.version)).scalar_one_or_none()
            if found is None:
                connection.execute(_layout.insert().values(version=VERSION))
                found = VERSION
    except DatabaseError as error:
        raise ValueError(
            f"{name} cannot be opened as a database of people: {error.orig}"
        ) from error
    if found != VERSION:
        raise ValueError(
            f"{name} has layout {found}, this version of prefjax knows {VERSION}: open it with the "
            "version that wrote it, or name another file"
        )
