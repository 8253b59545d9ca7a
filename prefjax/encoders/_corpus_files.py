"""The files of a corpus of embeddings: written whole, believed if they are what was written."""

from pathlib import Path
from typing import Any

import numpy as np

from prefjax.io import digest_file, quarantine, read_object, write_atomically, write_json

ABOUT = "corpus.json"


class DamageError(Exception):
    """A shard on disk is not what was written."""


def write_shard(folder: Path, shard: int, vectors: np.ndarray, num_cut: int) -> None:
    """Writes the vectors, then what says that they are complete."""
    path = shard_path(folder, shard)

    def write(target: Path) -> None:
        with target.open("wb") as file:
            np.save(file, vectors)

    write_atomically(path, write)
    about = {"shape": list(vectors.shape), "sha256": digest_file(path), "num_cut": num_cut}
    write_json(side_path(path), about)


def read_shard(folder: Path, shard: int, num_rows: int) -> dict[str, Any] | None:
    """What is said of a shard that is there and whole; a damaged one goes to the quarantine."""
    path = shard_path(folder, shard)
    if not side_path(path).is_file():
        return None
    try:
        vectors, about = read_good(path)
        if len(vectors) != num_rows:
            raise DamageError(f"it has {len(vectors)} rows, not {num_rows}")
        return about
    except DamageError as error:
        remedy = "its texts are encoded again"
        quarantine(path, side_path(path), problem=str(error), remedy=remedy, stacklevel=5)
        return None


def read_good(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """A shard and what is said of it.

    Raises:
        DamageError: It is not what was written.
    """
    try:
        about = read_object(side_path(path))
        if digest_file(path) != about["sha256"]:
            raise DamageError("its digest differs")
        vectors = np.load(path, mmap_mode="r")
        if list(vectors.shape) != about["shape"] or vectors.ndim != 2:
            raise DamageError(f"its shape is {list(vectors.shape)}, not {about['shape']}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamageError(f"it cannot be read ({error})") from error
    if vectors.dtype != np.float32 or not np.isfinite(vectors).all():
        raise DamageError(f"it holds {vectors.dtype}, or numbers that are not finite")
    return vectors, about


def read_about(folder: Path) -> dict[str, Any]:
    """What a folder says of its corpus.

    Raises:
        FileNotFoundError: It says nothing.
        ValueError: What it says is damaged.
    """
    path = folder / ABOUT
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: it is no folder of a corpus.")
    about = read_object(path)
    fields = {"encoder", "texts", "num_texts", "rows_a_shard", "num_shards"}
    if set(about) != fields or type(about["num_shards"]) is not int:
        raise ValueError(f"{path}: expected an object with the fields {sorted(fields)}.")
    return about


def shard_path(folder: Path, shard: int) -> Path:
    """The embeddings of a shard."""
    return folder / f"part-{shard:05d}.npy"


def side_path(path: Path) -> Path:
    """What says that a shard is complete."""
    return path.with_suffix(".json")
