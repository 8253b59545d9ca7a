"""How a person's responses are read: from whatever is passed to φ and t.

A reader of embeddings is enough for a basis alone; `prefjax.model` has one of texts.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from prefjax.io import digest_arrays
from prefjax.person.items import describe
from prefjax.types import Embeddings, Items, RewardBasis


@runtime_checkable
class Reader(Protocol):
    """Gives φ and t of responses."""

    @property
    def fingerprint(self) -> str | None:
        """Of the encoder that the embeddings come from; None where nobody said."""
        ...

    def __call__(self, responses: Any, prompts: Sequence[str] | None = None) -> Items:
        """φ and t of responses.

        Args:
            responses: Embeddings with any leading axes, or a sequence of texts.
            prompts: Prompt of each text; without, the texts answer nothing.

        Raises:
            ValueError: Something in them cannot be read; the message names it.
        """
        ...


class EmbeddingReader:
    """Reads embeddings, and says of texts that it cannot.

    Args:
        basis: φ and t of an embedding.
    """

    fingerprint: str | None = None

    def __init__(self, basis: RewardBasis):
        self._basis = basis

    def __call__(self, responses: Any, prompts: Sequence[str] | None = None) -> Items:
        """See `Reader`."""
        del prompts
        if is_texts(responses):
            raise ValueError(
                "texts were passed, and no encoder is known that reads them: pass embeddings, or "
                "fit the model with prefjax.fit(data, encoder=…)"
            )
        return describe(self._basis, responses)


def is_texts(responses: Any) -> bool:
    """Whether responses are a sequence of texts rather than embeddings."""
    if isinstance(responses, str):
        return False
    if isinstance(responses, np.ndarray):
        return responses.dtype.kind in "UO" and responses.ndim == 1
    return isinstance(responses, Sequence) and any(isinstance(one, str) for one in responses)


def joined(parts: Sequence[Any], join: Callable[..., np.ndarray]) -> np.ndarray:
    """Arrays of embeddings in one, which knows its encoder if all of them have one.

    Args:
        parts: Arrays, some of which may be `Embeddings`.
        join: ``np.stack`` or ``np.concatenate``.

    Raises:
        ValueError: They are of different encoders.
    """
    named = (getattr(part, "encoder", None) for part in parts)
    encoders = {encoder for encoder in named if encoder is not None}
    if len(encoders) > 1:
        raise ValueError(f"embeddings of several encoders: {', '.join(sorted(encoders))}")
    whole = join([np.asarray(part) for part in parts])
    return Embeddings.of(whole, encoders.pop()) if encoders else whole


def basis_digest(basis: RewardBasis) -> str:
    """SHA-256 of a basis: of how it describes responses and of its population.

    Two models with one digest give every person the same weights for the same answers.

    Args:
        basis: Any.
    """
    leaves, tree = jax.tree.flatten(basis)
    named = np.frombuffer(str(tree).encode(), np.uint8)
    return digest_arrays(named, *(np.asarray(leaf, np.float32) for leaf in leaves))
