"""Answers of judges on disk, so that no question is paid for twice.

One SQLite file in write-ahead mode, one row per request, keyed by the SHA-256 of the canonical JSON
of what is sent and to whom: server, model, messages and parameters, keys sorted, no spaces. Only
answers that will not change by asking again are kept: ``ok`` and ``refused``. Each is written as it
arrives, so that a run that dies loses none. Several processes may share a file.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefjax.align.judges.answer import read
from prefjax.align.judges.request import Request, Result, Status, repaired

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
    return hashlib.sha256(canonical_json(payload).encode("utf-8", "surrogatepass")).hexdigest()


def token_count(count: Any) -> int:
    """A count of tokens as servers give it: 0 where it is null or no count at all."""
    return count if isinstance(count, int) and 0 <= count < 2**63 else 0


class Cache:
    """Answers by payload.

    Args:
        path: The SQLite file; its folder is made if it is missing.

    Raises:
        OSError: If the file cannot be opened or written, or is no SQLite file.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        with self._named_errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=60)
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=NORMAL")
                with self._connection:
                    self._connection.execute(_SCHEMA)
            except sqlite3.Error:
                self._connection.close()
                raise

    def get(self, payload: Mapping[str, Any], request: Request) -> Result | None:
        """The stored result, its text read again as an answer to the request, or None.

        Args:
            payload: What is sent for the request.
            request: What is asked.

        Raises:
            OSError: If the file cannot be read.
        """
        stored = self.get_text(payload)
        if stored is None or stored.status == Status.REFUSED:
            return stored
        again = read(stored.text, request, stored.input_tokens, stored.output_tokens)
        return again._replace(cached=True)

    def get_text(self, payload: Mapping[str, Any]) -> Result | None:
        """The stored result as it was put in, without a choice, or None.

        Args:
            payload: What is sent for the request.

        Raises:
            OSError: If the file cannot be read.
        """
        with self._named_errors():
            row = self._connection.execute(
                "SELECT status, text, input_tokens, output_tokens FROM answer WHERE key = ?",
                (key_of(payload),),
            ).fetchone()
        if row is None or not isinstance(row[1], str):
            return None
        status, text, num_read, num_written = row
        if status not in (Status.OK, Status.REFUSED):
            return None
        counts = token_count(num_read), token_count(num_written)
        return Result(Status(status), None, text, *counts, cached=True)

    def put(self, payload: Mapping[str, Any], result: Result) -> None:
        """Store a result that is ok or refused; others are left out.

        Args:
            payload: What was sent.
            result: What came of it.

        Raises:
            OSError: If the file cannot be written.
        """
        if result.status not in (Status.OK, Status.REFUSED):
            return
        texts = (canonical_json(payload), result.status.value, result.text)
        counts = (token_count(result.input_tokens), token_count(result.output_tokens))
        with self._named_errors(), self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?, ?)",
                (key_of(payload), *map(repaired, texts), *counts),
            )

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise OSError(f"Cannot use {self.path} as a cache of answers: {error}.") from error

    def __len__(self) -> int:
        return self._connection.execute("SELECT COUNT(*) FROM answer").fetchone()[0]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
