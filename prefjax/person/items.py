"""φ and t of responses on the host, in padded sizes so that few programs are compiled."""

import jax
import numpy as np
from jaxtyping import Float

from prefjax import basis as bases
from prefjax.data.validate import validate_embeddings
from prefjax.types import Array, Items, RewardBasis

_describe = jax.jit(bases.apply)


SMALL_SIZES = (16, 64, 256)
"""Sizes for which programs are compiled first."""


def bucket(size: int) -> int:
    """The size that an axis of ``size`` is padded to: 16, 64, 256, then at most a third too large.

    Small sizes cost next to nothing and a program of their own would take half a second to compile.
    """
    for small in SMALL_SIZES:
        if size <= small:
            return small
    power = 1 << (size - 1).bit_length()
    return power * 3 // 4 if size <= power * 3 // 4 else power


def pad_rows(values: Array, size: int) -> np.ndarray:
    """Zeros behind the first axis up to ``size``."""
    values = np.asarray(values)
    return np.pad(values, [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1))


def describe(basis: RewardBasis, embeddings: Float[Array, "*response input"]) -> Items:
    """φ and t of any responses, checked; sizes are padded so that few programs are compiled.

    Args:
        basis: With a linear head or one with hidden layers.
        embeddings: Any leading axes.

    Raises:
        ValueError: An embedding is not finite or has another width than the training ones.
    """
    embeddings = np.asarray(embeddings)
    width = num_inputs(basis)
    if embeddings.ndim < 2 or embeddings.shape[-1] != width:
        raise ValueError(
            f"embeddings have shape {embeddings.shape}; the model was fitted on vectors of "
            f"{width} numbers, one row a response"
        )
    flat = validate_embeddings(embeddings.reshape(-1, width)).values
    items = _describe(basis.params, pad_rows(flat, bucket(len(flat))))
    shape = embeddings.shape[:-1]

    def whole(values: jax.Array | None) -> np.ndarray | None:
        return None if values is None else np.asarray(values)[: len(flat)].reshape(*shape, -1)

    utility = np.asarray(items.utility)[: len(flat)].reshape(shape)
    return items._replace(
        features=whole(items.features), utility=utility, spread=whole(items.spread)
    )


def num_inputs(basis: RewardBasis) -> int:
    """Width of the embeddings that a basis takes."""
    layer = basis.params["trunk"]["layer0"] if "trunk" in basis.params else basis.params["out"]
    return layer["kernel"].shape[0]
