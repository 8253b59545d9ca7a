"""Everything that touches a disk safely, once: atomic writes, digests, locks, quarantine, steps.

``atomic_file``, ``atomic_folder``, ``write_atomically`` and ``write_json`` make files and folders
that appear whole or not at all. ``digest_file``, ``digest_json`` and ``digest_arrays`` are SHA-256;
``write_manifest`` and ``check_manifest`` keep those of a folder's files in it. ``FolderLock`` lets
one run at a time into a folder. ``quarantine`` moves damaged things out of the way; ``check_text``,
``read_object``, ``open_tensors`` and ``check_finite`` refuse them by name. ``Store`` holds the
steps of a run, verified before they are believed.
"""

from typing import Any

from prefjax.io._quarantine import QUARANTINE, quarantine
from prefjax.io.atomic import (
    atomic_file,
    atomic_folder,
    check_writable,
    write_atomically,
    write_json,
)
from prefjax.io.checked import check_finite, check_text, open_tensors, read_object
from prefjax.io.checkpoint_folder import DamagedError, saved_identity
from prefjax.io.digest import digest_arrays, digest_file, digest_json
from prefjax.io.integrity import checksums, differences, is_finite
from prefjax.io.lock import FolderLock
from prefjax.io.manifest import check_manifest, write_manifest

__all__ = [
    "QUARANTINE",
    "DamagedError",
    "FolderLock",
    "Saved",
    "Store",
    "atomic_file",
    "atomic_folder",
    "check_finite",
    "check_manifest",
    "check_text",
    "check_writable",
    "checksums",
    "differences",
    "digest_arrays",
    "digest_file",
    "digest_json",
    "is_finite",
    "open_tensors",
    "quarantine",
    "read_object",
    "saved_identity",
    "write_atomically",
    "write_json",
    "write_manifest",
]


def __getattr__(name: str) -> Any:
    """``Saved`` and ``Store`` on demand: Orbax takes a second to import."""
    if name in ("Saved", "Store"):
        from prefjax.io import checkpoints

        return getattr(checkpoints, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
