"""Embeddings of a corpus too large for one process, in shards that are each made once.

    <folder>/corpus.json       fingerprint of the encoder, digest of the texts, number of shards
    <folder>/part-00000.npy    embeddings of a run of texts, one row a text
    <folder>/part-00000.json   rows, columns, digest of the file beside it, how many texts were cut
    <folder>/quarantine/       shards that were damaged

Shard k holds texts ``k · rows_a_shard`` and following. Worker w of W makes the shards k ≡ w modulo
W, in any process on any machine that sees the folder, without talking to the others. A shard
appears whole or not at all, so a run that is killed at any moment loses at most the shard it was
making; a later run makes what is missing. Embeddings that are not finite are refused with the texts
they belong to, so no broken number reaches the disk, and a file that was damaged there is noticed
by its digest, moved to the quarantine and made again.
"""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from tqdm import tqdm

from prefjax.encoders.contract import (
    Encoder,
    Text,
    TokenEncoder,
    check_texts,
    encode_batch,
    text_key,
)
from prefjax.io import (
    FolderLock,
    check_writable,
    digest_file,
    quarantine,
    read_object,
    write_atomically,
    write_json,
)

ABOUT = "corpus.json"
_LOCK_SECONDS = 60.0


def encode_corpus(
    encoder: Encoder,
    texts: Sequence[Text],
    folder: Path,
    *,
    rows_a_shard: int = 65_536,
    batch_size: int = 256,
    worker: int = 0,
    num_workers: int = 1,
    progress: bool = False,
) -> None:
    """Makes the shards of one worker that are not on disk yet.

    Args:
        encoder: The encoder.
        texts: All texts of the corpus, or pairs of prompt and response; the same for every worker.
        folder: Where the shards go; made if needed.
        rows_a_shard: Texts of a shard.
        batch_size: Texts per call of the encoder.
        worker: Which worker this is.
        num_workers: How many there are; may change between runs.
        progress: Show a bar in texts per second.

    Warns:
        RuntimeWarning: How many of the texts of this worker were cut to fit the window of the
            encoder, now or when they were encoded, or that a shard is damaged.

    Raises:
        ValueError: There are no texts, an embedding is not finite, or the folder holds another
            corpus; the message lists the fields.
        TypeError: A text is neither a string nor a pair of strings.
        OSError: The folder cannot be written.
    """
    check_texts(texts)
    if not len(texts) or not 0 <= worker < num_workers or min(rows_a_shard, batch_size) < 1:
        raise ValueError(
            f"Nothing to do: {len(texts)} texts, worker {worker} of {num_workers}, {rows_a_shard} "
            f"rows a shard, {batch_size} texts a batch."
        )
    folder = Path(folder)
    _claim(folder, encoder, texts, rows_a_shard)
    starts = range(0, len(texts), rows_a_shard)
    mine = [shard for shard in range(len(starts)) if shard % num_workers == worker]
    num_cut = 0
    with tqdm(total=len(mine) * rows_a_shard, unit="text", disable=not progress) as bar:
        for shard in mine:
            part = texts[starts[shard] : starts[shard] + rows_a_shard]
            about = _read_shard(folder, shard, len(part))
            if about is None:
                vectors = _encode(encoder, part, starts[shard], batch_size)
                about = _write_shard(folder, shard, vectors, _count_cut(encoder, part))
            num_cut += about["num_cut"] if "num_cut" in about else _count_cut(encoder, part)
            bar.update(len(part))
    if num_cut:
        warnings.warn(
            f"{num_cut} texts are longer than the window of the encoder and were cut.",
            RuntimeWarning,
            stacklevel=2,
        )


def read_corpus(folder: Path) -> Float32[np.ndarray, "text feature"]:
    """All embeddings of a corpus, in the order of its texts, every shard checked.

    Args:
        folder: As `encode_corpus` filled it.

    Raises:
        FileNotFoundError: The folder holds no corpus, or shards are missing; they are listed.
        ValueError: A shard is damaged, or not as wide as the first; the message names it.
    """
    folder = Path(folder)
    about = _read_about(folder)
    shards = [_path(folder, shard) for shard in range(about["num_shards"])]
    missing = [path.name for path in shards if not _side(path).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {len(missing)} of {len(shards)} shards, first {missing[:5]}: run "
            "encode_corpus again."
        )
    parts = []
    for path in shards:
        try:
            parts.append(_read_good(path)[0])
        except _DamageError as error:
            raise ValueError(f"{path} is damaged: {error}. Run encode_corpus again.") from error
        if parts[-1].shape[1] != parts[0].shape[1]:
            raise ValueError(
                f"{path} has {parts[-1].shape[1]} features, {shards[0].name} has "
                f"{parts[0].shape[1]}: remove the wrong one and run encode_corpus again."
            )
    return np.concatenate(parts)


class _DamageError(Exception):
    """A shard on disk is not what was written."""


def _claim(folder: Path, encoder: Encoder, texts: Sequence[Text], rows_a_shard: int) -> None:
    """Makes the folder that of these texts, or makes sure that it is."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(bytes.fromhex(text_key(text)))
    about = {
        "encoder": encoder.fingerprint,
        "texts": digest.hexdigest(),
        "num_texts": len(texts),
        "rows_a_shard": rows_a_shard,
        "num_shards": -(-len(texts) // rows_a_shard),
    }
    check_writable(folder, "embeddings", "choose another folder")
    with FolderLock(folder, wait=_LOCK_SECONDS):
        if not (folder / ABOUT).is_file():
            write_json(folder / ABOUT, about)
    saved = _read_about(folder)
    changed = [f"{k}: saved {saved[k]!r}, now {v!r}" for k, v in about.items() if saved[k] != v]
    if changed:
        raise ValueError(f"{folder} holds another corpus: {'; '.join(changed)}.")


def _encode(encoder: Encoder, texts: Sequence[Text], start: int, batch_size: int) -> np.ndarray:
    parts = []
    for place in range(0, len(texts), batch_size):
        some = texts[place : place + batch_size]
        parts.append(encode_batch(encoder, some, start + place + np.arange(len(some))))
    return np.concatenate(parts)


def _count_cut(encoder: Encoder, texts: Sequence[Text]) -> int:
    return int(encoder.lengths(texts).cut.sum()) if isinstance(encoder, TokenEncoder) else 0


def _write_shard(folder: Path, shard: int, vectors: np.ndarray, num_cut: int) -> dict[str, Any]:
    """Writes the vectors, then what says that they are complete; returns the latter."""
    path = _path(folder, shard)

    def write(target: Path) -> None:
        with target.open("wb") as file:
            np.save(file, vectors)

    write_atomically(path, write)
    about = {"shape": list(vectors.shape), "sha256": digest_file(path), "num_cut": num_cut}
    write_json(_side(path), about)
    return about


def _read_shard(folder: Path, shard: int, num_rows: int) -> dict[str, Any] | None:
    """What is said of a shard that is there and whole; a damaged one goes to the quarantine."""
    path = _path(folder, shard)
    if not _side(path).is_file():
        return None
    try:
        vectors, about = _read_good(path)
        if len(vectors) != num_rows:
            raise _DamageError(f"it has {len(vectors)} rows, not {num_rows}")
        return about
    except _DamageError as error:
        remedy = "its texts are encoded again"
        quarantine(path, _side(path), problem=str(error), remedy=remedy, stacklevel=4)
        return None


def _read_good(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """A shard and what is said of it.

    Raises:
        _DamageError: It is not what was written.
    """
    try:
        about = read_object(_side(path))
        if digest_file(path) != about["sha256"]:
            raise _DamageError("its digest differs")
        vectors = np.load(path, mmap_mode="r")
        if list(vectors.shape) != about["shape"] or vectors.ndim != 2:
            raise _DamageError(f"its shape is {list(vectors.shape)}, not {about['shape']}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _DamageError(f"it cannot be read ({error})") from error
    if vectors.dtype != np.float32 or not np.isfinite(vectors).all():
        raise _DamageError(f"it holds {vectors.dtype}, or numbers that are not finite")
    return vectors, about


def _read_about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: it is no folder of a corpus.")
    about = read_object(path)
    fields = {"encoder", "texts", "num_texts", "rows_a_shard", "num_shards"}
    if set(about) != fields or type(about["num_shards"]) is not int:
        raise ValueError(f"{path}: expected an object with the fields {sorted(fields)}.")
    return about


def _path(folder: Path, shard: int) -> Path:
    return folder / f"part-{shard:05d}.npy"


def _side(path: Path) -> Path:
    return path.with_suffix(".json")
