"""Digests: SHA-256 of a file, of a JSON value, of arrays, as 64 hexadecimal digits."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from prefjax.io.buckets import open_file


def digest_file(path: str | Path) -> str:
    """SHA-256 of the bytes of a file.

    Args:
        path: The file, or its URL for fsspec; read in pieces.

    Raises:
        OSError: It cannot be read.
    """
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys.

    Args:
        value: Plain values, lists and mappings.

    >>> digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def digest_arrays(*arrays: np.ndarray) -> str:
    """SHA-256 of arrays: types, shapes and numbers, in this order.

    Args:
        arrays: Any arrays of numbers or of fixed-length bytes.

    >>> digest_arrays(np.zeros(2)) == digest_arrays(np.zeros((2, 1)))
    False
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()
