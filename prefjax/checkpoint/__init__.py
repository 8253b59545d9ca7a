"""Checkpoints that are either whole or noticed: save, verify, fall back, resume."""

from prefjax.checkpoint.folder import DamagedError, saved_identity
from prefjax.checkpoint.integrity import check_seal, checksums, differences, is_finite, seal
from prefjax.checkpoint.lock import FolderLock
from prefjax.checkpoint.store import Saved, Store

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
