"""Embeddings on disk, named by what they are: the encoder's fingerprint and the bytes of the text.

    <folder>/<fingerprint>/<sha256 of the shard's keys>.npz    see `Shard`
    <folder>/<fingerprint>/quarantine/                         shards that were damaged

The key of a pair of prompt and response is that of their two digests, so no string shares it.
A shard holds one batch and appears whole or not at all, so a run that is killed loses at most one
batch and the next one takes up where it stopped. Shards are only ever added, by any number of
processes. Shape, finiteness and digest of a shard are checked before anything in it is used; one
that is not what was written is moved to the quarantine and its texts are encoded again.
"""

import hashlib
import os
import re
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Shaped
from tqdm import tqdm

from prefjax.encoders.contract import (
    Encoder,
    Text,
    TokenEncoder,
    check_batch,
    check_texts,
    encode_batch,
    text_key,
)
from prefjax.encoders.language import LanguageEncoder, encode_variants
from prefjax.io import check_writable, digest_arrays, quarantine, write_atomically
from prefjax.types import Embeddings

_KEY = np.dtype("S64")


class Shard(NamedTuple):
    """What one file holds, beside its digest.

    Attributes:
        keys: SHA-256 of each text, as ``text_key`` gives it.
        vectors: Its embedding.
        cut: The text was longer than the window of the encoder and lost a part.
    """

    keys: Shaped[np.ndarray, " text"]
    vectors: Float32[np.ndarray, "text feature"]
    cut: Bool[np.ndarray, " text"]


def default_folder() -> Path:
    """Where embeddings are kept: ``PREFJAX_CACHE``, or the user's cache directory."""
    named = os.environ.get("PREFJAX_CACHE")
    if named:
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "prefjax" / "embeddings"


def encode_cached(
    encoder: Encoder,
    texts: Sequence[Text],
    *,
    folder: Path | None = None,
    batch_size: int = 256,
    progress: bool = False,
) -> Float32[np.ndarray, "text feature"]:
    """Embeddings of texts, computing only what is not on disk yet.

    Args:
        encoder: The encoder; its fingerprint names the folder of its shards.
        texts: Texts, or pairs of prompt and response, repetitions allowed; each is encoded once.
        folder: Root of the cache; ``default_folder()`` by default.
        batch_size: Texts per call of the encoder, and per shard; some hundred for each device.
        progress: Show a progress bar in texts, and in tokens per second where there are tokens.

    Warns:
        RuntimeWarning: How many of the texts were cut to fit the window of the encoder, now or
            when they were encoded, or that a shard is damaged.

    Raises:
        TypeError: If an entry is neither a string nor a pair of strings.
        ValueError: If there are no texts, one has a lone surrogate, or the encoder returns a wrong
            shape or numbers that are not finite.
        OSError: If the folder cannot be written.
    """

    def encode(some: Sequence[Text], rows: np.ndarray) -> list[np.ndarray]:
        return [encode_batch(encoder, some, rows)]

    vectors = _encode_cached([encoder], encode, texts, folder, batch_size, progress)[0]
    return Embeddings.of(vectors, encoder.fingerprint)


def encode_variants_cached(
    variants: Sequence[LanguageEncoder],
    texts: Sequence[Text],
    *,
    folder: Path | None = None,
    batch_size: int = 256,
    progress: bool = False,
) -> list[Float32[np.ndarray, "text feature"]]:
    """``encode_cached`` by several variants of one encoder, in one pass over what is missing.

    Args:
        variants: Encoders that differ in layer, pooling and width only; each has its own part of
            the cache, which ``encode_cached`` shares.
        texts: Texts, or pairs of prompt and response.
        folder: Root of the cache; ``default_folder()`` by default.
        batch_size: Texts per call, and per shard.
        progress: Show a progress bar.

    Warns:
        RuntimeWarning: As ``encode_cached`` does.

    Raises:
        TypeError: As ``encode_cached`` does.
        ValueError: As ``encode_cached`` does, or the encoders are no variants of each other.
        OSError: If the folder cannot be written.
    """

    def encode(some: Sequence[Text], rows: np.ndarray) -> list[np.ndarray]:
        return [check_batch(vectors, rows) for vectors in encode_variants(variants, some)]

    found = _encode_cached(variants, encode, texts, folder, batch_size, progress)
    return [
        Embeddings.of(vectors, variant.fingerprint)
        for vectors, variant in zip(found, variants, strict=True)
    ]


class _Part:
    """What one encoder has on disk of some texts, and what is added to it."""

    def __init__(self, encoder: Encoder, folder: Path, keys: np.ndarray):
        self.fingerprint, self.keys = encoder.fingerprint, keys
        self.home = folder / _folder_name(encoder.fingerprint)
        check_writable(
            self.home,
            "the embedding cache",
            "choose another place with the argument folder or the environment variable "
            "PREFJAX_CACHE",
        )
        self.vectors, self.cut, self.known = _read(self.home, self.fingerprint, keys)

    def add(self, places: np.ndarray, batch: np.ndarray, cut: np.ndarray) -> None:
        """Keep a batch, here and on disk."""
        if self.known[places].all():
            return
        if self.vectors is None:
            self.vectors = np.zeros((len(self.keys), batch.shape[1]), np.float32)
        elif batch.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"The encoder returned {batch.shape[1]} features, but {self.home} holds "
                f"{self.vectors.shape[1]} for the same fingerprint {self.fingerprint!r}."
            )
        # What is on disk already stays what it was.
        new = ~self.known[places]
        self.vectors[places[new]], self.cut[places[new]] = batch[new], cut[new]
        _write(self.home, self.fingerprint, Shard(self.keys[places[new]], batch[new], cut[new]))


def _encode_cached(
    encoders: Sequence[Encoder],
    encode: Callable[[Sequence[Text], np.ndarray], list[np.ndarray]],
    texts: Sequence[Text],
    folder: Path | None,
    batch_size: int,
    progress: bool,
) -> list[np.ndarray]:
    """Embeddings by encoders that read the same tokens; ``encode`` makes those of a batch."""
    check_texts(texts)
    if not len(texts):
        raise ValueError("No texts to encode.")
    keys = np.array([text_key(text) for text in texts], _KEY)
    unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    root = default_folder() if folder is None else folder
    parts = [_Part(encoder, root, unique) for encoder in encoders]
    known = np.all([part.known for part in parts], axis=0)
    # In order of appearance: texts of one source lie together and fill the same shards.
    missing = np.sort(first[~known])
    row_of = {int(row): place for place, row in enumerate(first)}
    bar = tqdm(total=len(unique), initial=int(known.sum()), unit="text", disable=not progress)
    num_tokens, start_time = 0, time.perf_counter()
    with bar:
        for start in range(0, len(missing), batch_size):
            rows = missing[start : start + batch_size]
            some = [texts[int(row)] for row in rows]
            batches = encode(some, rows)
            places, cut = np.array([row_of[int(row)] for row in rows]), np.zeros(len(rows), bool)
            if isinstance(encoders[0], TokenEncoder):
                lengths = encoders[0].lengths(some)
                cut = lengths.cut
                num_tokens += int(lengths.num_tokens.sum())
                rate = num_tokens / (time.perf_counter() - start_time)
                bar.set_postfix_str(f"{rate:.0f} tokens/s", refresh=False)
            for part, batch in zip(parts, batches, strict=True):
                part.add(places, batch, cut)
            bar.update(len(rows))
    num_cut = int(parts[0].cut[inverse].sum())
    if num_cut:
        warnings.warn(
            f"{num_cut} of {len(texts)} texts are longer than the window of the encoder and were "
            "cut.",
            RuntimeWarning,
            stacklevel=3,
        )
    return [
        Embeddings.of(part.vectors[inverse], encoder.fingerprint)
        for part, encoder in zip(parts, encoders, strict=True)
        if part.vectors is not None
    ]


def _read(
    home: Path, fingerprint: str, wanted: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Vectors of the wanted (sorted) keys that lie on disk, which were cut, and which are there."""
    vectors = None
    cut, known = np.zeros(len(wanted), bool), np.zeros(len(wanted), bool)
    for path in sorted(home.glob("*.npz")):
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                keys = archive["keys"]
                if keys.dtype != _KEY or keys.ndim != 1:
                    raise ValueError(f"its keys are {keys.dtype} of shape {keys.shape}")
                place = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
                hit = (wanted[place] == keys) & ~known[place]
                if not hit.any():
                    continue
                shard = Shard(keys, archive["vectors"], archive["cut"])
                _check(shard, fingerprint, archive["digest"].tolist())
            if vectors is None:
                vectors = np.zeros((len(wanted), shard.vectors.shape[1]), np.float32)
            vectors[place[hit]] = shard.vectors[hit]
            cut[place[hit]] = shard.cut[hit]
            known[place[hit]] = True
        except FileNotFoundError:
            continue  # another process has moved it to the quarantine
        except Exception as error:  # readers of damaged archives raise nearly everything
            problem = str(error) or type(error).__name__
            quarantine(path, problem=problem, remedy="its texts are encoded again", stacklevel=4)
    return vectors, cut, known


def _check(shard: Shard, fingerprint: str, digest: Any) -> None:
    """Refuses a shard that is not what the encoder returned.

    Raises:
        ValueError: What is wrong with it.
    """
    keys, vectors, cut = shard
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != len(keys):
        raise ValueError(f"{len(keys)} texts have vectors {vectors.dtype} {vectors.shape}")
    if cut.dtype != np.bool_ or cut.shape != keys.shape:
        raise ValueError(f"{len(keys)} texts have marks of cuts {cut.dtype} {cut.shape}")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise ValueError(f"{bad.size} vectors are not finite, first of row {bad[0]}")
    if _digest(shard, fingerprint) != digest:
        raise ValueError("its digest differs")


def _digest(shard: Shard, fingerprint: str) -> str:
    return digest_arrays(np.frombuffer(fingerprint.encode(), np.uint8), *shard)


def _write(home: Path, fingerprint: str, shard: Shard) -> None:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **shard._asdict(), digest=np.array(_digest(shard, fingerprint)))

    name = hashlib.sha256(shard.keys.tobytes()).hexdigest()[:32]
    write_atomically(home / f"{name}.npz", write)


def _folder_name(fingerprint: str) -> str:
    """The fingerprint as a folder name: itself where it is harmless, with a digest otherwise."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fingerprint):
        return fingerprint
    digest = hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", fingerprint)[:60].strip("-") + "-" + digest
