"""A fit on principal components, folded into the head, so that the model takes raw embeddings.

z = (e − c) V,    θ_raw = V θ,    b_raw = b − c V θ
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA

from prefjax.types import BASELINE, Array, Comparisons, RewardBasis


class Components(NamedTuple):
    """Principal components of embeddings.

    Attributes:
        center: c, mean embedding of what was compared.
        axes: V, one column a component.
    """

    center: Float[np.ndarray, " input"]
    axes: Float[np.ndarray, "input component"]


def principal_components(
    comparisons: Comparisons, embeddings: Float[Array, "response input"], num_components: int
) -> Components:
    """The leading components of the embeddings of what was compared.

    Args:
        comparisons: Says what was compared.
        embeddings: One row a response.
        num_components: How many; all there are, if fewer.

    Raises:
        ValueError: It is not positive.
    """
    if num_components < 1:
        raise ValueError(f"num_components must be at least 1, got {num_components}")
    second = np.asarray(comparisons.second)
    shown = np.unique(np.concatenate([comparisons.first, second[second != BASELINE]]))
    table = np.asarray(embeddings)[shown]
    rank = min(num_components, *table.shape)
    found = PCA(rank, svd_solver="full").fit(table)
    center, axes = (np.asarray(part, np.float32) for part in (found.mean_, found.components_))
    return Components(center, axes.T)


def fold(basis: RewardBasis, components: Components) -> RewardBasis:
    """The same rewards of raw embeddings.

    Args:
        basis: With a linear head over components.
        components: Those.
    """

    def raw(layer: Mapping[str, Array]) -> dict[str, Array]:
        kernel = components.axes @ np.asarray(layer["kernel"])
        return {"kernel": kernel, "bias": np.asarray(layer["bias"]) - components.center @ kernel}

    return basis._replace(params={name: raw(layer) for name, layer in basis.params.items()})
