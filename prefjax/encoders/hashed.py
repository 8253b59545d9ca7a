"""The offline encoder: hashed n-grams of words and characters, tf-idf, a fixed projection, style.

    x_g = (1 + log tf_g) · idf_g,   scaled to length one over all word and character n-grams g,
    e   = [ V x ;  s ∘ style(text) ].

N-grams fall into buckets by a signed hash, so there is no vocabulary and nothing to download; word
n-grams carry the content, character n-grams carry spelling and inflection, and the style block
makes length, punctuation and manner linear in the embedding. ``make_hashed`` is fixed once for all:
idf = 1 and V Gaussian from a seed. ``fit_hashed`` reads a sample of texts, takes idf, the leading
directions V and the scale s of each style feature from them, and freezes these; they are then part
of the fingerprint. Either way an embedding depends on its own text only.

References:
    Weinberger et al. (2009), arXiv 0902.2206 (signed hashing); Johnson and Lindenstrauss (1984).
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float32
from sklearn.feature_extraction.text import HashingVectorizer

from prefjax.encoders._style import NUM_FEATURES, style
from prefjax.encoders.contract import Text, check_texts, joined
from prefjax.encoders.specification import write
from prefjax.types import Embeddings

_VERSION = "hashed-1"
_BATCH = 512
_RAW_COUNTS: dict[str, Any] = {"norm": None, "dtype": np.float32}


@dataclasses.dataclass(frozen=True)
class HashedConfig:
    """Settings of the offline encoder.

    Attributes:
        dimension: Length of the embedding, the style block included.
        word_buckets: Buckets of words and pairs of words.
        char_buckets: Buckets of 3 to 5 characters within a word.
        max_fit_texts: Texts, evenly spaced, that ``fit_hashed`` reads.
        seed: Seed of the Gaussian projection.
    """

    dimension: int = 512
    word_buckets: int = 8192
    char_buckets: int = 8192
    max_fit_texts: int = 2000
    seed: int = 0

    def __post_init__(self):
        if self.dimension <= NUM_FEATURES:
            raise ValueError(
                f"dimension must exceed the {NUM_FEATURES} style features, got {self.dimension}."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class HashedEncoder:
    """The offline encoder with its frozen statistics; made by ``make_hashed`` or ``fit_hashed``.

    Attributes:
        config: Settings.
        idf: Weight of each bucket, words first.
        projection: V transposed, from buckets to the dimensions that style leaves.
        style_scale: Factor of each style feature.
        fingerprint: SHA-256 of settings and statistics.
        specification: What ``get_encoder`` makes the same encoder from; None if it was fitted to
            texts: the attributes above make it again.
    """

    config: HashedConfig
    idf: Float32[np.ndarray, " bucket"]
    projection: Float32[np.ndarray, "bucket feature"]
    style_scale: Float32[np.ndarray, " style"]
    fingerprint: str = dataclasses.field(init=False)
    specification: str | None = None

    def __post_init__(self):
        digest = hashlib.sha256(json.dumps(dataclasses.asdict(self.config)).encode())
        for array in (self.idf, self.projection, self.style_scale):
            digest.update(np.ascontiguousarray(array).data)
        object.__setattr__(self, "fingerprint", f"{_VERSION}-{digest.hexdigest()[:32]}")

    def encode(self, texts: Sequence[Text]) -> Float32[np.ndarray, "text feature"]:
        """Embeddings of texts, one row each.

        Args:
            texts: Texts to encode, pairs as one text; an empty text gives the zero vector.

        Raises:
            TypeError: If an entry is neither a string nor a pair of strings.
            ValueError: If an entry has a lone surrogate.

        >>> make_hashed().encode(["How are you?", "Fine!"]).shape
        (2, 512)
        """
        check_texts(texts)
        out = np.empty((len(texts), self.config.dimension), np.float32)
        for start in range(0, len(texts), _BATCH):
            rows = [joined(text) for text in texts[start : start + _BATCH]]
            grams = _weigh(_count(rows, self.config), self.idf)
            out[start : start + _BATCH, NUM_FEATURES:] = grams @ self.projection
            out[start : start + _BATCH, :NUM_FEATURES] = _styles(rows) * self.style_scale[None, :]
        return Embeddings.of(out, self.fingerprint)


def make_hashed(config: HashedConfig = HashedConfig()) -> HashedEncoder:
    """The encoder that has seen no text: idf 1, Gaussian projection, one scale for all style.

    Args:
        config: Settings.
    """
    buckets, width = _sizes(config)
    projection = np.random.default_rng(config.seed).standard_normal((buckets, width), np.float32)
    return HashedEncoder(
        config=config,
        idf=np.ones(buckets, np.float32),
        projection=projection / np.float32(np.sqrt(width)),
        style_scale=np.full(NUM_FEATURES, 0.25, np.float32),
        specification=write("hashed", config, HashedConfig()),
    )


def fit_hashed(
    texts: Sequence[Text],
    config: HashedConfig = HashedConfig(),
) -> HashedEncoder:
    """The encoder fitted to a sample of texts and frozen; fit it on training texts only.

    ``idf = 1 + log((1 + n) / (1 + df))``; V holds the leading right singular vectors of the
    weighted sample; style features are scaled to a joint variance of one.

    Args:
        texts: Sample of the texts to come, pairs as one text.
        config: Settings.

    Raises:
        TypeError: If an entry is neither a string nor a pair of strings.
        ValueError: If there is no text, or one has a lone surrogate.
    """
    check_texts(texts)
    if not len(texts):
        raise ValueError("No texts to fit the encoder to.")
    step = -(-len(texts) // config.max_fit_texts)
    sample = [joined(text) for text in list(texts)[::step]]
    buckets, width = _sizes(config)
    counts = _count(sample, config)
    frequency = np.bincount(counts.indices, minlength=buckets)
    idf = (1 + np.log((1 + len(sample)) / (1 + frequency))).astype(np.float32)
    grams = _weigh(counts, idf).toarray()
    values, left = np.linalg.eigh((grams @ grams.T).astype(np.float64))
    keep = np.flatnonzero(values > 1e-5 * values[-1])[::-1][:width]
    axes = grams.T @ (left[:, keep] / np.sqrt(values[keep])[None, :]).astype(np.float32)
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(keep))])[None, :]
    projection = np.zeros((buckets, width), np.float32)
    projection[:, : len(keep)] = axes
    # A feature that hardly varies in the sample must not blow up on the first text that has it.
    spread = np.maximum(_styles(sample).std(axis=0), 0.05)
    scale = (1 / spread / np.sqrt(NUM_FEATURES)).astype(np.float32)
    return HashedEncoder(config=config, idf=idf, projection=projection, style_scale=scale)


def _sizes(config: HashedConfig) -> tuple[int, int]:
    return config.word_buckets + config.char_buckets, config.dimension - NUM_FEATURES


def _count(texts: Sequence[str], config: HashedConfig) -> sp.csr_matrix:
    """Signed counts of n-grams, word buckets first."""
    words = HashingVectorizer(
        ngram_range=(1, 2),
        token_pattern=r"(?u)\b\w[\w'’]*|[?!]",
        n_features=config.word_buckets,
        **_RAW_COUNTS,
    )
    chars = HashingVectorizer(
        analyzer="char_wb",
        ngram_range=(3, 5),
        n_features=config.char_buckets,
        **_RAW_COUNTS,
    )
    counts = sp.csr_matrix(sp.hstack([words.transform(texts), chars.transform(texts)]))
    counts.eliminate_zeros()
    return counts


def _weigh(counts: sp.csr_matrix, idf: np.ndarray) -> sp.csr_matrix:
    """Log term frequency times idf, rows of length one; the empty text stays zero."""
    weighted = counts.copy()
    weighted.data = np.sign(counts.data) * (1 + np.log(np.abs(counts.data))) * idf[counts.indices]
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    weighted.data /= np.repeat(np.maximum(length, 1e-12), np.diff(weighted.indptr))
    return weighted


def _styles(texts: Sequence[str]) -> Float32[np.ndarray, "text style"]:
    return np.stack([style(text) for text in texts])
