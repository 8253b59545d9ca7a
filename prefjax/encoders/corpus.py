"""Embeddings of a corpus too large for one process, in shards that are each made once.

    <folder>/corpus.json       fingerprint of the encoder, digest of the texts, number of shards
    <folder>/part-00000.npy    embeddings of a run of texts, one row a text
    <folder>/part-00000.json   rows, columns, digest of the file beside it, how many texts were cut
    <folder>/quarantine/       shards that were damaged

Shard k holds texts ``k · rows_a_shard`` and following. Worker w of W makes the shards k ≡ w modulo
W, in any process on any machine that sees the folder, without talking to the others;
`prefjax.encoders.encode_on_ray` has a Ray cluster deal them out. Inside a shard an encoder that
reads tokens is given texts of like length together. A shard
appears whole or not at all, so a run that is killed at any moment loses at most the shard it was
making; a later run makes what is missing. Embeddings that are not finite are refused with the texts
they belong to, so no broken number reaches the disk, and a file that was damaged there is noticed
by its digest, moved to the quarantine and made again.
"""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from tqdm import tqdm

from prefjax.encoders._corpus_files import (
    ABOUT,
    DamageError,
    read_about,
    read_good,
    read_shard,
    shard_path,
    side_path,
    write_shard,
)
from prefjax.encoders.contract import (
    Encoder,
    Text,
    TokenEncoder,
    check_texts,
    encode_batch,
    text_key,
)
from prefjax.encoders.parquet import ParquetTexts
from prefjax.io import FolderLock, check_writable, write_json

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
    if not isinstance(texts, ParquetTexts):
        check_texts(texts)
    if not 0 <= worker < num_workers:
        raise ValueError(f"There is no worker {worker} of {num_workers}.")
    num_shards = claim_corpus(encoder, texts, folder, rows_a_shard, batch_size)
    mine = range(worker, num_shards, num_workers)
    num_cut = 0
    with tqdm(total=len(mine) * rows_a_shard, unit="text", disable=not progress) as bar:
        for shard in mine:
            num_cut += encode_shard(encoder, texts, folder, shard, rows_a_shard, batch_size)
            bar.update(min(rows_a_shard, len(texts) - shard * rows_a_shard))
    warn_of_cuts(num_cut)


def claim_corpus(
    encoder: Encoder, texts: Sequence[Text], folder: Path, rows_a_shard: int, batch_size: int
) -> int:
    """Makes a folder that of a corpus, or makes sure that it is.

    Args:
        encoder: The encoder.
        texts: All texts of the corpus.
        folder: Where the shards go; made if needed.
        rows_a_shard: Texts of a shard.
        batch_size: Texts per call of the encoder.

    Returns:
        The number of shards.

    Raises:
        ValueError: There are no texts, or the folder holds another corpus; the message lists the
            fields.
        OSError: The folder cannot be written.
    """
    if not len(texts) or min(rows_a_shard, batch_size) < 1:
        raise ValueError(
            f"Nothing to do: {len(texts)} texts, {rows_a_shard} rows a shard, {batch_size} texts a "
            "batch."
        )
    folder = Path(folder)
    about = {
        "encoder": encoder.fingerprint,
        "texts": texts.digest if isinstance(texts, ParquetTexts) else _digest(texts),
        "num_texts": len(texts),
        "rows_a_shard": rows_a_shard,
        "num_shards": -(-len(texts) // rows_a_shard),
    }
    check_writable(folder, "embeddings", "choose another folder")
    with FolderLock(folder, wait=_LOCK_SECONDS):
        if not (folder / ABOUT).is_file():
            write_json(folder / ABOUT, about)
    saved = read_about(folder)
    changed = [f"{k}: saved {saved[k]!r}, now {v!r}" for k, v in about.items() if saved[k] != v]
    if changed:
        raise ValueError(f"{folder} holds another corpus: {'; '.join(changed)}.")
    return about["num_shards"]


def encode_shard(
    encoder: Encoder,
    texts: Sequence[Text],
    folder: Path,
    shard: int,
    rows_a_shard: int,
    batch_size: int,
) -> int:
    """Makes one shard of a claimed folder, if it is not there and whole.

    Args:
        encoder: The encoder.
        texts: All texts of the corpus.
        folder: The folder.
        shard: Number of the shard.
        rows_a_shard: Texts of a shard.
        batch_size: Texts per call of the encoder.

    Returns:
        How many of its texts are longer than the window of the encoder.
    """
    folder, start = Path(folder), shard * rows_a_shard
    num_rows = min(rows_a_shard, len(texts) - start)
    about = read_shard(folder, shard, num_rows)
    if about is not None and "num_cut" in about:
        return about["num_cut"]
    part = texts[start : start + num_rows]
    lengths = encoder.lengths(part) if isinstance(encoder, TokenEncoder) else None
    num_cut = 0 if lengths is None else int(lengths.cut.sum())
    if about is None:
        order = np.arange(num_rows)
        if lengths is not None:
            order = np.argsort(lengths.num_tokens, kind="stable")
        write_shard(folder, shard, _encode(encoder, part, order, start, batch_size), num_cut)
    return num_cut


def warn_of_cuts(num_cut: int) -> None:
    """Says how many texts were cut, if there are some."""
    if num_cut:
        warnings.warn(
            f"{num_cut} texts are longer than the window of the encoder and were cut.",
            RuntimeWarning,
            stacklevel=3,
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
    about = read_about(folder)
    shards = [shard_path(folder, shard) for shard in range(about["num_shards"])]
    missing = [path.name for path in shards if not side_path(path).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {len(missing)} of {len(shards)} shards, first {missing[:5]}: run "
            "encode_corpus again."
        )
    parts = []
    for path in shards:
        try:
            parts.append(read_good(path)[0])
        except DamageError as error:
            raise ValueError(f"{path} is damaged: {error}. Run encode_corpus again.") from error
        if parts[-1].shape[1] != parts[0].shape[1]:
            raise ValueError(
                f"{path} has {parts[-1].shape[1]} features, {shards[0].name} has "
                f"{parts[0].shape[1]}: remove the wrong one and run encode_corpus again."
            )
    return np.concatenate(parts)


def _digest(texts: Sequence[Text]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(bytes.fromhex(text_key(text)))
    return digest.hexdigest()


def _encode(
    encoder: Encoder, texts: Sequence[Text], order: np.ndarray, start: int, batch_size: int
) -> np.ndarray:
    """Embeddings of the texts of a shard, which are given to the encoder in ``order``."""
    parts = []
    for place in range(0, len(texts), batch_size):
        some = order[place : place + batch_size]
        batch: list[Text] = [texts[int(row)] for row in some]
        parts.append(encode_batch(encoder, batch, start + some))
    vectors = np.concatenate(parts)
    vectors[order] = vectors.copy()
    return vectors
