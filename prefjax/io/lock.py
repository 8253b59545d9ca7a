"""One run a folder: a lock that the kernel lets go when its holder dies, however it dies."""

import fcntl
import json
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType


class FolderLock:
    """Holds ``<folder>/lock`` for as long as the block lasts.

    Args:
        folder: Must exist and be writable.

    Raises:
        RuntimeError: Another run holds it; the message says which.
    """

    def __init__(self, folder: Path):
        self.path = folder / "lock"
        self._file = self.path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise RuntimeError(
                f"{folder} is in use by another run ({holder}). Wait for it, stop it, or choose "
                "another folder."
            ) from error
        self._file.truncate(0)
        about = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": sys.argv,
        }
        self._file.write(json.dumps(about))
        self._file.flush()

    def release(self) -> None:
        """Lets another run in."""
        self._file.close()

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
