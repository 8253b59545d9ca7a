"""Files and folders that appear whole or not at all, whoever else writes them at the same time.

Every writer fills a temporary of its own beside the target and renames it: a reader sees the old
content or the new one, a death in between leaves the old one. Modes follow the umask, as those of
files that are written directly do.
"""

import ctypes
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefjax.io.buckets import check_local

_CWD, _RENAME_EXCHANGE = -100, 2  # of linux/fcntl.h and linux/fs.h


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """A temporary path that becomes ``path`` when the block ends without an error.

    Args:
        path: The final name; its folder is made if needed.

    Yields:
        The path to write to, in the same folder and of this writer alone.

    Raises:
        OSError: The folder cannot be written, or what was written cannot be moved into place.
    """
    check_local(path, "what is written")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | Path, write: Callable[[Path], Any]) -> None:
    """Lets ``write`` fill a temporary, then moves it to ``path`` in one step.

    Args:
        path: File that appears whole or not at all.
        write: Called with the path to fill.
    """
    with atomic_file(path) as temporary:
        write(temporary)


def write_json(path: str | Path, value: Any) -> None:
    """Writes a value as indented JSON, whole or not at all.

    Args:
        path: File to write.
        value: Plain values, lists and mappings.

    Raises:
        ValueError: The value holds NaN or infinity.
    """
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


@contextmanager
def atomic_folder(
    folder: str | Path, *, overwrite: bool = False, is_ours: Callable[[Path], bool] | None = None
) -> Iterator[Path]:
    """A temporary folder that becomes ``folder`` when the block ends without an error.

    Args:
        folder: The final name; its parent is made if needed.
        overwrite: Whether a folder of that name may be replaced. The two trade places in one step
            where the system can, and the old one is deleted last.
        is_ours: Says of a folder that would be replaced whether this package wrote it; anything
            else is never deleted.

    Yields:
        The folder to write into, beside the final one.

    Raises:
        FileExistsError: The folder is there, and ``overwrite`` is False or it is not ours.
    """
    check_local(folder, "what is written")
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} exists; pass overwrite=True to replace it.")
    if folder.exists() and is_ours is not None and any_content(folder) and not is_ours(folder):
        raise FileExistsError(
            f"{folder} holds something that this package did not write and is not replaced; "
            "choose another folder or remove it yourself."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        (work / "new").mkdir()
        yield work / "new"
        if not folder.exists():
            os.replace(work / "new", folder)
        elif not _exchange(work / "new", folder):
            os.replace(folder, work / "old")
            try:
                os.replace(work / "new", folder)
            except BaseException:
                os.replace(work / "old", folder)
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Two paths trade places in one step, so that neither is ever missing; whether that worked.

    Linux has a system call for it, which not every file system knows; other systems have none.
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return rename(_CWD, os.fsencode(one), _CWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


def check_writable(folder: str | Path, purpose: str, remedy: str) -> None:
    """Makes a folder if needed and proves that it can be written, before anything is computed.

    Args:
        folder: The folder.
        purpose: What is to be written there, for the error.
        remedy: What to do otherwise, for the error.

    Raises:
        OSError: It cannot be made or written.
        ValueError: It is the URL of an object store.
    """
    check_local(folder, f"the folder of {purpose}")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"Cannot write {purpose} in {folder} ({error.strerror or error}); {remedy}."
        ) from error


def any_content(folder: Path) -> bool:
    """Whether something lies in a folder; a file counts as content."""
    return not folder.is_dir() or any(folder.iterdir())
