"""Who is let in: new people while the study is open, and those who come back."""

import json
import secrets
import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

from prefjax.study import identity
from prefjax.study.config import StopConfig, StudyConfig
from prefjax.study.errors import AlreadyStartedError, StudyClosedError
from prefjax.study.store import Store

LONGEST_ID = 200
"""Characters of a recruiting parameter that are kept."""


class Ticket(NamedTuple):
    """What somebody needs to take part.

    Attributes:
        participant: The person's number.
        token: Secret of the link.
    """

    participant: int
    token: str


def let_in(
    store: Store, config: StudyConfig, secret: bytes, recruiting: Mapping[str, str], now: float
) -> Ticket:
    """Lets somebody in, or back in; see `StudyEngine.start`.

    Args:
        store: The database.
        config: The study.
        secret: Of the study.
        recruiting: Parameters of the recruiting link.
        now: Seconds since 1970.

    Raises:
        StudyClosedError: The study is full or over.
        AlreadyStartedError: This person has taken part, and other parameters differ.
    """
    known = {
        name: value[:LONGEST_ID]
        for name, value in recruiting.items()
        if name in config.recruiting.parameters and value
    }
    name = known.get(config.recruiting.identity)
    with store.write() as db:
        person = session = None
        if name is not None:
            salt = db.execute("SELECT value FROM study WHERE name = 'salt'").fetchone()
            if salt is None:
                raise StudyClosedError("the ids of this study were removed")
            person = identity.hash_recruiting(salt["value"], {"identity": name})
            session = identity.hash_recruiting(salt["value"], known)
            row = db.execute(
                "SELECT * FROM participant WHERE identity_hash = ?", (person,)
            ).fetchone()
            if row is not None:
                if row["recruiting_hash"] != session:
                    raise AlreadyStartedError("this id has taken part in another session")
                return Ticket(row["number"], _token(secret, row["nonce"]))
        _check_open(db, config.stop, now)
        nonce = secrets.token_bytes(16)
        token = _token(secret, nonce)
        number = db.execute(
            "INSERT INTO participant "
            "(nonce, token_hash, identity_hash, recruiting_hash, created_at) "
            "VALUES (?, ?, ?, ?, ?)",
            (nonce, identity.hash_token(token), person, session, now),
        ).lastrowid
        assert number is not None
        if known:
            db.execute("INSERT INTO recruiting VALUES (?, ?)", (number, json.dumps(known)))
    return Ticket(number, token)


def _token(secret: bytes, nonce: bytes) -> str:
    return identity.make_token(secret, "participant", nonce)


def _check_open(db: sqlite3.Connection, stop: StopConfig, now: float) -> None:
    if now >= stop.deadline_at:
        raise StudyClosedError("the study is over")
    done = db.execute("SELECT COUNT(*) FROM participant WHERE end = 'complete'").fetchone()[0]
    if done >= stop.complete:
        raise StudyClosedError("enough people have taken part")
