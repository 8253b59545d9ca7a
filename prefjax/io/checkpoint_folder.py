"""A folder of steps, read without Orbax: which there are, what they say of themselves."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefjax.io._quarantine import QUARANTINE
from prefjax.io.digest import digest_json


class DamagedError(Exception):
    """A step on disk is not what was saved."""


def saved_identity(folder: str | Path) -> dict[str, Any] | None:
    """Settings and data of the newest step whose description is intact; None without one."""
    folder = Path(folder)
    for step in reversed(list_steps(folder)):
        with suppress(DamagedError):
            return read_content(folder / str(step))["identity"]
    return None


def list_steps(folder: Path) -> list[int]:
    """Numbers of the complete steps, oldest first."""
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal())


def read_content(home: Path) -> dict[str, Any]:
    """What a step says of itself: identity, leaves and what was saved beside them.

    Raises:
        DamagedError: It cannot be read, or is not what was written.
    """
    try:
        meta = json.loads((home / "meta" / "metadata").read_bytes())
        content, digest = meta["content"], meta["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"its description cannot be read ({error})") from error
    if digest_json(content) != digest:
        raise DamagedError("its description differs from its digest")
    return content


def damaged_steps(folder: Path) -> list[str]:
    """Damaged steps that were moved out of the way, now or by version 0.1."""
    paths = [*folder.glob(f"{QUARANTINE}/*"), *folder.glob("corrupt-*")]
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def failed_write(folder: Path, intact: list[int], error: Exception) -> OSError:
    """What to tell a person whose disk is full, or worse."""
    free = shutil.disk_usage(folder).free / 2**20
    return OSError(
        f"A step could not be written to {folder} ({error}); {free:.0f} MiB are free there. The "
        f"steps {intact} are intact."
    )
