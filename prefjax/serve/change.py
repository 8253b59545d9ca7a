"""One change of one person: the state, perhaps an answer, perhaps a receipt; all of it or nothing.

PostgreSQL takes it as one statement, so that a change is one message there and back; SQLite, which
is in this process, as a transaction of several.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Engine

from prefjax.serve.schema import TABLES, connect


def apply_change(engine: Engine, at_once: Engine, change: Mapping[str, Any]) -> bool:
    """Writes a change; False, and nothing written, where the person has not this version.

    Args:
        engine: Of the database.
        at_once: The same for single statements.
        change: ``person``, the id; ``version`` that it was computed from, the place of the answer;
            ``state``, ``answer`` and ``receipt`` as JSON, ``given`` in seconds since 1970 and
            ``key``; without an answer or a key None.

    Raises:
        sqlalchemy.exc.IntegrityError: The key was used.
    """
    tables = tuple(
        table
        for table, part in ((TABLES.answers, "answer"), (TABLES.receipts, "key"))
        if change[part] is not None
    )
    if engine.dialect.name == "postgresql":
        values = {f"new_{part}": value for part, value in change.items()}
        with connect(at_once) as connection:
            return connection.execute(_whole(tables), values).scalar_one() == 1
    with engine.begin() as connection:
        if connection.execute(_update(change)).rowcount != 1:
            return False
        for table in tables:
            connection.execute(table.insert().values(_row(table, change)))
    return True


def _update(change: Mapping[str, Any]) -> sql.Update:
    people = TABLES.people
    is_meant = people.c.id == change["person"], people.c.version == change["version"]
    values = {"version": change["version"] + 1, "state": change["state"]}
    return people.update().where(*is_meant).values(values)


def _row(table: sql.Table, change: Mapping[str, Any]) -> dict[str, Any]:
    """What of a change goes into the columns of a table."""
    if table is TABLES.answers:
        columns = {"person": "person", "place": "version", "given": "given", "body": "answer"}
    else:
        columns = {"person": "person", "key": "key", "body": "receipt"}
    return {column: change[part] for column, part in columns.items()}


@cache
def _whole(tables: tuple[sql.Table, ...]) -> sql.Select[Any]:
    """The change and the rows of some tables, to be filled in; how many people have changed."""
    kinds: dict[str, Any] = dict.fromkeys(("person", "state", "answer", "key", "receipt"), sql.Text)
    kinds |= {"version": sql.Integer, "given": sql.Float}
    change = {part: sql.bindparam(f"new_{part}", type_=kind) for part, kind in kinds.items()}
    changed = _update(change).returning(TABLES.people.c.id).cte("changed")
    whole = sql.select(sql.func.count()).select_from(changed)
    for table in tables:
        row = _row(table, change)
        values = sql.select(*row.values()).select_from(changed)
        whole = whole.add_cte(table.insert().from_select(list(row), values).cte(f"to_{table.name}"))
    return whole
