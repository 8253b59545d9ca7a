"""The contract of an encoder: an embedding is a function of the text and the fingerprint alone.

    e = encode(text) ∈ R^D,   the same whatever other texts are encoded beside it.

A text is a string, or a pair (prompt, response). Everything that can change ``e`` (weights,
settings, fitted statistics) enters the fingerprint, so the pair (fingerprint, text) names an
embedding for good and the cache may rely on it.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int

from prefjax.io import check_text
from prefjax.types import Embeddings

Text: TypeAlias = str | tuple[str, str]
"""A text, or the prompt and the response to it."""


class Lengths(NamedTuple):
    """How much of each text an encoder reads.

    Attributes:
        num_tokens: Tokens that are read, those of the template included.
        cut: The text is longer than the window and loses a part.
    """

    num_tokens: Int[np.ndarray, " text"]
    cut: Bool[np.ndarray, " text"]


@runtime_checkable
class Encoder(Protocol):
    """Anything that turns texts into embeddings."""

    @property
    def fingerprint(self) -> str:
        """Identifier of the encoder and of everything that can change an embedding."""
        ...

    def encode(self, texts: Sequence[Text]) -> Float32[np.ndarray, "text feature"]:
        """Embeddings of texts, one row each, finite, independent of the other texts."""
        ...


@runtime_checkable
class TokenEncoder(Encoder, Protocol):
    """An encoder that reads tokens and has a window."""

    def lengths(self, texts: Sequence[Text]) -> Lengths:
        """Tokens that would be read of each text, and which texts would be cut."""
        ...


def joined(text: Text) -> str:
    r"""One string: the text itself, or prompt and response with an empty line between them.

    >>> joined(("Why?", "Because."))
    'Why?\n\nBecause.'
    """
    return text if isinstance(text, str) else "\n\n".join(text)


def text_key(text: Text) -> str:
    """SHA-256 of a text, or of the two digests of a pair, so that no string has a pair's key."""
    if isinstance(text, str):
        return hashlib.sha256(text.encode()).hexdigest()
    digests = [hashlib.sha256(part.encode()).digest() for part in text]
    return hashlib.sha256(b"".join(digests)).hexdigest()


def encode_batch(
    encoder: Encoder, texts: Sequence[Text], rows: Int[np.ndarray, " text"]
) -> Float32[np.ndarray, "text feature"]:
    """Embeddings of some texts, checked before anything is made of them.

    Args:
        encoder: The encoder.
        texts: What it is called with.
        rows: Numbers of the texts among all, by which errors name them.

    Raises:
        ValueError: The encoder returns another number of rows, or numbers that are not finite.
    """
    return Embeddings.of(check_batch(encoder.encode(texts), rows), encoder.fingerprint)


def check_batch(
    vectors: Any, rows: Int[np.ndarray, " text"]
) -> Float32[np.ndarray, "text feature"]:
    """What an encoder returned for some texts, in single precision.

    Args:
        vectors: What it returned.
        rows: Numbers of the texts among all, by which errors name them.

    Raises:
        ValueError: It is another number of rows, or has numbers that are not finite.
    """
    batch = np.asarray(vectors, np.float32)
    if batch.ndim != 2 or len(batch) != len(rows):
        raise ValueError(f"The encoder returned shape {batch.shape} for {len(rows)} texts.")
    bad = rows[~np.isfinite(batch).all(axis=1)]
    if bad.size:
        raise ValueError(
            f"{bad.size} embeddings are not finite, first of texts {bad[:5].tolist()}."
        )
    return batch


def check_texts(texts: Sequence[Any]) -> None:
    """Refuse what is not text. An empty string is a text: a person may be given an empty answer.

    Args:
        texts: What is to be encoded.

    Raises:
        TypeError: If an entry is neither a string nor a pair of strings, or one string is passed in
            place of a sequence.
        ValueError: If an entry has a lone surrogate, half of a character that UTF-8 cannot hold.
    """
    if isinstance(texts, str):
        raise TypeError("Pass a sequence of texts, not one string.")
    for row, text in enumerate(texts):
        if isinstance(text, tuple) and len(text) == 2:
            check_text(text[0], f"The prompt of text {row}")
            check_text(text[1], f"The response of text {row}")
        else:
            check_text(text, f"Text {row}")
