"""The map from raw embeddings to the inputs of a fit, learned from the compared responses."""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from prefjax.data.validate import validate_embeddings
from prefjax.types import BASELINE, Array, Comparisons

LARGEST_SHARE = 0.95
"""Part of the variance from which a single input column is named."""


class Standardizer(NamedTuple):
    """The map from raw embeddings to the inputs of a fit.

    Attributes:
        center: c.
        scale: s of each input, the same for all unless every input was standardized by itself.
        intercept: Value of the constant column that votes need; of width 0 without votes.
    """

    center: Float[Array, " raw"]
    scale: Float[Array, " raw"]
    intercept: Float[Array, " intercept"]


def standardize(
    standardizer: Standardizer, embeddings: Float[Array, "*response raw"]
) -> Float[jax.Array, "*response input"]:
    """Inputs of a fit from raw embeddings; the zero baseline is not an embedding.

    Args:
        standardizer: Of a `Problem`.
        embeddings: Raw embeddings, any leading axes.
    """
    embeddings = jnp.asarray(embeddings)
    lead = (1,) * (embeddings.ndim - 1)
    center, scale, intercept = (
        jnp.reshape(part, (*lead, -1))
        for part in (standardizer.center, standardizer.scale, standardizer.intercept)
    )
    inputs = (embeddings - center) / scale
    constant = jnp.broadcast_to(intercept, (*embeddings.shape[:-1], intercept.shape[-1]))
    return jnp.concatenate([inputs, constant.astype(inputs.dtype)], axis=-1)


def fit_standardizer(
    rows: Comparisons,
    embeddings: Float[np.ndarray, "response raw"],
    compared: Bool[np.ndarray, " response"],
    by_column: bool,
) -> tuple[Standardizer, Float[np.ndarray, "response input"]]:
    """The map and what it makes of the embeddings, zero where nobody compared a response.

    Args:
        rows: Checked rows; votes need a constant column.
        embeddings: Raw ones; rows of responses that nobody compared may hold anything.
        compared: Responses that some row shows.
        by_column: Give every input its own scale.

    Raises:
        ValueError: The embeddings are no table, or one of a compared response is not finite.
    """
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be a table [response, feature], got {embeddings.shape}")
    table = np.where(compared[:, None], embeddings, 0)
    with np.errstate(over="ignore"):
        exact = np.asarray(table, np.float64)
    validate_embeddings(np.sign(exact) * np.minimum(np.abs(exact), 1.0))
    seen = exact[compared]
    center = seen.mean(axis=0)
    spread = np.mean((seen - center) ** 2, axis=0)
    total = spread.sum()
    if total <= 1e-14 * np.mean(seen**2):
        total = 1.0
    largest = int(np.argmax(spread))
    if not by_column and len(spread) > 2 and spread[largest] > LARGEST_SHARE * total:
        warnings.warn(
            f"column {largest} of the embeddings carries {spread[largest] / total:.1%} of their "
            "variance: is it in another unit? standardize=True gives every column its own scale",
            stacklevel=5,
        )
    scale = np.full_like(spread, np.sqrt(total))
    if by_column:
        scale = np.sqrt(np.where(spread > 1e-14 * total, spread, total) * len(spread))
    votes = bool((rows.second == BASELINE).any())
    intercept = np.ones(int(votes), np.float32)
    inputs = np.where(compared[:, None], (exact - center) / scale, 0)
    inputs = np.concatenate([inputs, np.where(compared[:, None], intercept, 0)], axis=1)
    standardizer = Standardizer(center.astype(np.float32), scale.astype(np.float32), intercept)
    return standardizer, inputs.astype(np.float32)
