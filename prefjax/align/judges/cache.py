"""Answers of judges on disk, so that no question is paid for twice.

One SQLite file in write-ahead mode, one row per request, keyed by the SHA-256 of the canonical JSON
of what is sent: model, messages and parameters, keys sorted, no spaces. Only answers that will not
change by asking again are kept: ``ok`` and ``refused``. Each is written as it arrives, so that a
run that dies loses none. Several processes may share a file.
"""

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefjax.align.judges.request import Request, Result, Status, read

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answer (
    key TEXT PRIMARY KEY, payload TEXT NOT NULL, status TEXT NOT NULL, text TEXT NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL)
"""


def make_payload(request: Request, model: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a chat completion for this request."""
    system = [{"role": "system", "content": request.system}] if request.system else []
    messages = [*system, {"role": "user", "content": request.text}]
    return {"model": model, "messages": messages, **parameters}


def canonical_json(payload: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces: equal payloads are equal strings."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def key_of(payload: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a payload."""
    return hashlib.sha256(canonical_json(payload).encode()).hexdigest()


class Cache:
    """Answers by payload.

    Args:
        path: The SQLite file; its folder is made if it is missing.

    Raises:
        OSError: If the file cannot be opened or written, or is no SQLite file.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        connection = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=60)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            with connection:
                connection.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            if connection is not None:
                connection.close()
            raise OSError(f"Cannot use {path} as a cache of answers: {error}.") from error
        self._connection = connection

    def get(self, payload: Mapping[str, Any], choices: Sequence[str]) -> Result | None:
        """The stored result, read again with these choices, or None."""
        row = self._connection.execute(
            "SELECT status, text, input_tokens, output_tokens FROM answer WHERE key = ?",
            (key_of(payload),),
        ).fetchone()
        if row is None:
            return None
        status, text, *tokens = row
        if status == Status.REFUSED:
            return Result(Status.REFUSED, None, text, *tokens, cached=True)
        return read(text, choices, *tokens)._replace(cached=True)

    def put(self, payload: Mapping[str, Any], result: Result) -> None:
        """Store a result that is ok or refused; others are left out."""
        if result.status not in (Status.OK, Status.REFUSED):
            return
        row = (key_of(payload), canonical_json(payload), result.status.value, result.text)
        with self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?, ?)",
                (*row, result.input_tokens, result.output_tokens),
            )

    def __len__(self) -> int:
        return self._connection.execute("SELECT COUNT(*) FROM answer").fetchone()[0]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
