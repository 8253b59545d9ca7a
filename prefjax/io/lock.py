"""One run a folder: a lock that the kernel lets go when its holder dies, however it dies."""

import json
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout


class FolderLock:
    """Holds ``<folder>/lock`` for as long as the block lasts.

    Args:
        folder: Must exist and be writable.
        wait: Seconds to wait for whoever holds it.

    Raises:
        RuntimeError: Another run holds it; the message says which.
    """

    def __init__(self, folder: Path, *, wait: float = 0.0):
        self.path = folder / "lock"
        self._lock = FileLock(self.path, thread_local=False)
        try:
            self._lock.acquire(timeout=wait)
        except Timeout as error:
            holder = self.path.read_text().strip() or "unknown"
            raise RuntimeError(
                f"{folder} is in use by another run ({holder}). Wait for it, stop it, or choose "
                "another folder."
            ) from error
        about = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": sys.argv,
        }
        self.path.write_text(json.dumps(about))

    def release(self) -> None:
        """Lets another run in."""
        self._lock.release()

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *raised: object) -> None:
        self.release()
