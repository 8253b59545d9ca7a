"""The study on disk: one SQLite file, in which an answer is safe before anybody hears of it.

Write-ahead log, ``synchronous=FULL``, ``BEGIN IMMEDIATE``: what was committed is there after the
process or the machine dies. One process serves; its writers take turns behind a lock. Deleted rows
are overwritten (``secure_delete``). Raw recruiting ids have a table of their own; everywhere else
is only their salted hash.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FILE = "study.sqlite"
_VERSION = 1
_SCHEMA = """
CREATE TABLE study (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE participant (
    number INTEGER PRIMARY KEY,
    nonce BLOB,
    token_hash BLOB UNIQUE,
    identity_hash BLOB UNIQUE,
    recruiting_hash BLOB,
    created_at REAL NOT NULL,
    consent_at REAL,
    consent_version TEXT,
    survey_at REAL,
    prior_mean BLOB,
    final_mean BLOB,
    final_covariance BLOB,
    reasons_at REAL,
    reasons TEXT,
    end TEXT,
    end_at REAL
);
CREATE TABLE recruiting (
    participant INTEGER PRIMARY KEY REFERENCES participant ON DELETE CASCADE,
    parameters TEXT NOT NULL
);
CREATE TABLE survey (
    participant INTEGER REFERENCES participant ON DELETE CASCADE,
    question TEXT,
    answer TEXT NOT NULL,
    PRIMARY KEY (participant, question)
) WITHOUT ROWID;
CREATE TABLE trial (
    participant INTEGER REFERENCES participant ON DELETE CASCADE,
    idx INTEGER,
    phase TEXT NOT NULL,
    kind TEXT NOT NULL,
    arm TEXT NOT NULL,
    source INTEGER NOT NULL,
    prompt INTEGER NOT NULL,
    first INTEGER NOT NULL,
    second INTEGER NOT NULL,
    swapped INTEGER NOT NULL,
    origin TEXT NOT NULL,
    mean BLOB,
    covariance BLOB,
    served_at REAL,
    PRIMARY KEY (participant, idx)
) WITHOUT ROWID;
CREATE TABLE answer (
    participant INTEGER,
    idx INTEGER,
    choice TEXT NOT NULL CHECK (choice IN ('A', 'B', 'N')),
    answered_at REAL NOT NULL,
    client_ms INTEGER,
    PRIMARY KEY (participant, idx),
    FOREIGN KEY (participant, idx) REFERENCES trial ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    participant INTEGER REFERENCES participant ON DELETE CASCADE,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    idx INTEGER
);
CREATE INDEX event_participant ON event (participant);
"""


class Store:
    """A connection to the file, made if needed.

    Args:
        path: The SQLite file.
        digest: Of the study's materials; kept when the file is made, and compared later.
        salt: Of the hashes of recruiting ids; kept when the file is made.

    Raises:
        ValueError: The file belongs to other materials or to another version.
        FileNotFoundError: There is no file, and no digest to make one for.
    """

    def __init__(self, path: Path, *, digest: str | None = None, salt: bytes = b""):
        if digest is None and not path.is_file():
            raise FileNotFoundError(f"{path} is not there: nobody has begun this study.")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._lock = threading.RLock()
        for pragma in (
            "busy_timeout=5000",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
        ):
            self._connection.execute(f"PRAGMA {pragma}")
        path.chmod(0o600)
        with self.write() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version={_VERSION}")
                db.executemany(
                    "INSERT INTO study VALUES (?, ?)", [("digest", digest), ("salt", salt)]
                )
            elif version != _VERSION:
                raise ValueError(f"{path} is of version {version}, this program knows {_VERSION}.")
        known = self.setting("digest")
        if digest is not None and known != digest:
            raise ValueError(
                f"{path} was begun with other materials: study.toml, prompts.jsonl, embeddings.npy "
                "or the model has changed since (of study.toml, only stop, limits, information and "
                "return_url may). Put them back, or begin a new study in another folder."
            )

    def setting(self, name: str) -> Any:
        """A value of the table ``study``, None if it is not there."""
        row = self.one("SELECT value FROM study WHERE name = ?", name)
        return None if row is None else row["value"]

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is on the disk when the block has ended, or has not happened."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    def all(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def one(self, query: str, *values: Any) -> sqlite3.Row | None:
        """First row of a query, None without one."""
        with self._lock:
            return self._connection.execute(query, values).fetchone()

    def scrub(self) -> None:
        """Rewrites the file, so that nothing of deleted rows is left in it or in its log."""
        with self._lock:
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Closes the connection."""
        with self._lock:
            self._connection.close()
