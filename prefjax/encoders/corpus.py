"""Embeddings of a corpus too large for one process, in shards that are each made once.

    <folder>/corpus.json       fingerprint of the encoder, digest of the texts, number of shards
    <folder>/part-00000.npy    embeddings of a run of texts, one row a text
    <folder>/part-00000.json   rows, columns and SHA-256 digest of the file beside it

Shard k holds texts ``k · rows_a_shard`` and following. Worker w of W makes the shards k ≡ w modulo
W, in any process on any machine that sees the folder, without talking to the others. A shard
appears whole or not at all, so a run that is killed at any moment loses at most the shard it was
making; a later run makes what is missing. Embeddings that are not finite are refused with the texts
they belong to, so no broken number reaches the disk, and a file that was damaged there is noticed
by its digest, put aside and made again.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
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
from prefjax.io.atomic import atomic_file

ABOUT = "corpus.json"


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
        RuntimeWarning: How many of the texts were cut to fit the window of the encoder, or that a
            shard is damaged.

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
            if not _is_good(folder, shard, len(part)):
                _write(folder, shard, _encode(encoder, part, starts[shard], batch_size))
                if isinstance(encoder, TokenEncoder):
                    num_cut += int(encoder.lengths(part).cut.sum())
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
        ValueError: A shard is damaged; the message names it.
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
        wrong = _damage(path)
        if wrong:
            raise ValueError(f"{path} is damaged: {wrong}. Run encode_corpus again.")
        parts.append(np.load(path, mmap_mode="r"))
    return np.concatenate(parts)


def _claim(folder: Path, encoder: Encoder, texts: Sequence[Text], rows_a_shard: int) -> None:
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
    if (folder / ABOUT).is_file():
        saved = _read_about(folder)
        changed = [f"{k}: saved {saved.get(k)!r}, now {v!r}" for k, v in about.items()
                   if saved.get(k) != v]  # fmt: skip
        if changed:
            raise ValueError(f"{folder} holds another corpus: {'; '.join(changed)}.")
        return
    try:
        with atomic_file(folder / ABOUT) as path:
            path.write_text(json.dumps(about, indent=1))
    except OSError as error:
        raise OSError(
            f"Cannot write embeddings in {folder} ({error.strerror or error}); choose another "
            "folder."
        ) from error


def _encode(encoder: Encoder, texts: Sequence[Text], start: int, batch_size: int) -> np.ndarray:
    parts = []
    for place in range(0, len(texts), batch_size):
        some = texts[place : place + batch_size]
        parts.append(encode_batch(encoder, some, start + place + np.arange(len(some))))
    return np.concatenate(parts)


def _write(folder: Path, shard: int, vectors: np.ndarray) -> None:
    path = _path(folder, shard)

    def save(target: Path, write: Callable[[Any], Any]) -> None:
        with atomic_file(target) as partial, partial.open("wb") as file:
            write(file)

    save(path, lambda file: np.save(file, vectors))
    side = {"shape": list(vectors.shape), "sha256": _digest(path)}
    save(_side(path), lambda file: file.write(json.dumps(side).encode()))


def _is_good(folder: Path, shard: int, num_rows: int) -> bool:
    """Whether a shard is there and whole; a damaged one is put aside with a warning."""
    path = _path(folder, shard)
    if not _side(path).is_file():
        return False
    wrong = _damage(path)
    if not wrong and np.load(path, mmap_mode="r").shape[0] == num_rows:
        return True
    for file in (path, _side(path)):
        if file.is_file():
            file.replace(file.with_suffix(f"{file.suffix}.damaged"))
    warnings.warn(
        f"{path} is damaged ({wrong}); put aside, its texts are encoded again.",
        RuntimeWarning,
        stacklevel=3,
    )
    return False


def _damage(path: Path) -> str:
    try:
        side = json.loads(_side(path).read_bytes())
        if _digest(path) != side["sha256"]:
            return "its digest differs"
        shape = list(np.load(path, mmap_mode="r").shape)
        return "" if shape == side["shape"] else f"its shape is {shape}, not {side['shape']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"it cannot be read ({error})"


def _read_about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: it is no folder of a corpus.")
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}).") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _path(folder: Path, shard: int) -> Path:
    return folder / f"part-{shard:05d}.npy"


def _side(path: Path) -> Path:
    return path.with_suffix(".json")
