"""Embeddings on disk, named by what they are: the encoder's fingerprint and the bytes of the text.

    <folder>/<fingerprint>/<sha256 of the shard's keys>.npz    keys (SHA-256 of each text), vectors

The key of a pair of prompt and response is that of their two digests, so no string shares it.
A shard holds one batch and appears whole or not at all, so a run that is killed loses at most one
batch and the next one takes up where it stopped. Shards are only ever added. The checksums of the
archive reveal damage; a damaged shard is put aside with a warning and its texts are encoded again.
"""

import hashlib
import os
import re
import time
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

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
from prefjax.io.atomic import write_atomically

_KEY = np.dtype("S64")
_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile)


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
        RuntimeWarning: How many of the texts were cut to fit the window of the encoder, or lie in
            a damaged shard.

    Raises:
        TypeError: If an entry is neither a string nor a pair of strings.
        ValueError: If there are no texts, one has a lone surrogate, or the encoder returns a wrong
            shape or numbers that are not finite.
        OSError: If the folder cannot be written.
    """
    check_texts(texts)
    if not len(texts):
        raise ValueError("No texts to encode.")
    home = (default_folder() if folder is None else folder) / _folder_name(encoder.fingerprint)
    _probe(home)
    keys = np.array([text_key(text) for text in texts], _KEY)
    unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    vectors, known = _read(home, unique)
    # In order of appearance: texts of one source lie together and fill the same shards.
    missing = np.sort(first[~known])
    row_of = {int(row): place for place, row in enumerate(first)}
    bar = tqdm(total=len(unique), initial=int(known.sum()), unit="text", disable=not progress)
    num_tokens, num_cut, began = 0, 0, time.perf_counter()
    with bar:
        for start in range(0, len(missing), batch_size):
            rows = missing[start : start + batch_size]
            some = [texts[int(row)] for row in rows]
            batch = encode_batch(encoder, some, rows)
            if vectors is None:
                vectors = np.zeros((len(unique), batch.shape[1]), np.float32)
            elif batch.shape[1] != vectors.shape[1]:
                raise ValueError(
                    f"The encoder returned {batch.shape[1]} features, but {home} holds "
                    f"{vectors.shape[1]} for the same fingerprint {encoder.fingerprint!r}."
                )
            vectors[[row_of[int(row)] for row in rows]] = batch
            _write(home, keys[rows], batch)
            if isinstance(encoder, TokenEncoder):
                lengths = encoder.lengths(some)
                num_tokens += int(lengths.num_tokens.sum())
                num_cut += int(lengths.cut.sum())
                rate = num_tokens / (time.perf_counter() - began)
                bar.set_postfix_str(f"{rate:.0f} tokens/s", refresh=False)
            bar.update(len(rows))
    if num_cut:
        warnings.warn(
            f"{num_cut} of {len(missing)} texts are longer than the window of the encoder and "
            "were cut.",
            RuntimeWarning,
            stacklevel=2,
        )
    assert vectors is not None
    return vectors[inverse]


def _read(home: Path, wanted: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Vectors of the wanted (sorted) keys that lie on disk, and which do."""
    vectors, known = None, np.zeros(len(wanted), bool)
    for path in sorted(home.glob("*.npz")):
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as shard:
                keys = shard["keys"]
                place = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
                hit = (wanted[place] == keys) & ~known[place]
                if not hit.any():
                    continue
                stored = shard["vectors"]
                if vectors is None:
                    vectors = np.zeros((len(wanted), stored.shape[1]), np.float32)
                vectors[place[hit]] = stored[hit]
                known[place[hit]] = True
        except _DAMAGE as error:
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            warnings.warn(
                f"Cache shard {path} is damaged ({error}); put aside as {aside.name}, its texts "
                "are encoded again.",
                RuntimeWarning,
                stacklevel=3,
            )
    return vectors, known


def _write(home: Path, keys: np.ndarray, vectors: np.ndarray) -> None:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, keys=keys, vectors=vectors)

    write_atomically(home / f"{hashlib.sha256(keys.tobytes()).hexdigest()[:32]}.npz", write)


def _probe(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        write_atomically(home / "writable", lambda path: path.write_text(""))
    except OSError as error:
        raise OSError(
            f"Cannot write the embedding cache in {home} ({error.strerror or error}). Choose "
            "another place with the argument folder or the environment variable PREFJAX_CACHE."
        ) from error


def _folder_name(fingerprint: str) -> str:
    """The fingerprint as a folder name: itself where it is harmless, with a digest otherwise."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fingerprint):
        return fingerprint
    digest = hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", fingerprint)[:60].strip("-") + "-" + digest
