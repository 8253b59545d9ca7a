"""Files in object stores: read through fsspec, and refused where that would not be safe.

What is read once from beginning to end may lie anywhere that fsspec knows (``s3://``, ``gs://``,
``https://``, …). What is written here appears by renaming and is held by locks, what is trained on
is mapped into memory: object stores do none of the three, so that these need a file system.
"""

import re
from pathlib import Path
from typing import Any

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")
"""A path makes one slash of two; drives of Windows have one letter."""


def as_source(place: str | Path) -> str | Path:
    """A URL of fsspec as it is, anything else as a path.

    Args:
        place: What a user named.

    >>> as_source("s3://bucket/rows")
    's3://bucket/rows'
    """
    return place if isinstance(place, str) and _URL.match(place) else Path(place)


def check_local(place: str | Path, what: str) -> None:
    """Refuses a URL where a file system is needed.

    Args:
        place: What a user named.
        what: What it is to be, for the error.

    Raises:
        ValueError: It is a URL.
    """
    if _URL.match(str(place)):
        url = re.sub(":/+", "://", str(place), count=1)
        raise ValueError(
            f"{what} cannot be {url}: an object store renames no folders, holds no locks and "
            "cannot be mapped into memory. Name a folder of a file system that all machines "
            "mount (NFS, EFS, Filestore, Lustre), and copy it from or to the store"
        )


def open_file(place: str | Path) -> Any:
    """Opens a file for reading.

    Args:
        place: A path, or a URL of fsspec.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The URL cannot be read; the message says what to install.
    """
    if isinstance(place, Path):
        return place.open("rb")
    system, path = _find(place)
    return system.open(path, "rb")


def list_files(source: str | Path, suffix: str) -> list[str] | list[Path]:
    """The file that is named, or those of a folder by their names.

    Args:
        source: A path, or a URL of fsspec.
        suffix: What names in a folder end with.

    Returns:
        Nothing where there is no such file.

    Raises:
        ValueError: The URL cannot be read; the message says what to install.
    """
    if isinstance(source, Path):
        paths = sorted(source.glob(f"*{suffix}")) if source.is_dir() else [source]
        return paths if all(path.is_file() for path in paths) else []
    system, path = _find(source)
    if system.isfile(path):
        return [source]
    found = (str(name) for name in system.ls(path, detail=False)) if system.isdir(path) else ()
    return sorted(system.unstrip_protocol(name) for name in found if name.endswith(suffix))


def _find(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"{url} cannot be read: {error} (s3fs and gcsfs are the packages of s3:// and gs://)"
        ) from error
