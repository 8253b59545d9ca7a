"""Checkpoints that are either whole or noticed: save, verify, fall back, resume."""

from prefjax.io.checkpoint_folder import DamagedError, saved_identity
from prefjax.io.checkpoints import Saved, Store
from prefjax.io.integrity import check_seal, checksums, differences, is_finite, seal
from prefjax.io.lock import FolderLock

__all__ = [
    "DamagedError",
    "FolderLock",
    "Saved",
    "Store",
    "check_seal",
    "checksums",
    "differences",
    "is_finite",
    "saved_identity",
    "seal",
]
