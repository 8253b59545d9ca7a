"""The contract of an encoder: an embedding is a function of the text and the fingerprint alone.

    e = encode(text) ∈ R^D,   the same whatever other texts are encoded beside it.

Everything that can change ``e`` (weights, settings, fitted statistics) enters the fingerprint, so
the pair (fingerprint, text) names an embedding for good and the cache may rely on it.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32


@runtime_checkable
class Encoder(Protocol):
    """Anything that turns texts into embeddings."""

    @property
    def fingerprint(self) -> str:
        """Identifier of the encoder and of everything that can change an embedding."""
        ...

    def encode(self, texts: Sequence[str]) -> Float32[np.ndarray, "text feature"]:
        """Embeddings of texts, one row each, finite, independent of the other texts."""
        ...


def check_texts(texts: Sequence[Any]) -> None:
    """Refuse what is not text. An empty string is a text: a person may be given an empty answer.

    Args:
        texts: What is to be encoded.

    Raises:
        TypeError: If an entry is not a string, or one string is passed in place of a sequence.
        ValueError: If an entry has a lone surrogate, half of a character that UTF-8 cannot hold.
    """
    if isinstance(texts, str):
        raise TypeError("Pass a sequence of texts, not one string.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"Text {row} is {type(text).__name__}, not a string: {text!r:.60}.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"Text {row} has a lone surrogate at character {error.start}; it was cut or "
                "decoded wrongly. Encode it to UTF-16 with errors='surrogatepass' and decode it "
                "with errors='replace' to repair it."
            ) from error
