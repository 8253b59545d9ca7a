"""Looking at worker clusters: a heat map's order, t-SNE, and how far two groupings agree.

Host functions over the codes z_u of `prefjax.families.clusters`.

References:
    arXiv 2601.20760, its figures of workers. Hubert and Arabie (1985), the adjusted Rand index.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from sklearn.manifold import TSNE
from sklearn.metrics import adjusted_rand_score

from prefjax.types import Array


class HeatMap(NamedTuple):
    """Cosines between people, groups side by side.

    Attributes:
        cosine: Rows and columns in the order of ``order``.
        order: The people, by group and within a group from its middle outwards.
    """

    cosine: Float[np.ndarray, "user user"]
    order: Int[np.ndarray, " user"]


def unit_codes(code: Float[Array, "user code"]) -> Float[np.ndarray, "user code"]:
    """Codes divided by their length."""
    code = np.asarray(code)
    return code / np.maximum(np.linalg.norm(code, axis=1, keepdims=True), 1e-12)


def heat_map(code: Float[Array, "user code"], cluster: Int[Array, " user"]) -> HeatMap:
    """Cosine between the codes of every two people, ordered for drawing.

    Args:
        code: z.
        cluster: Group of each person.
    """
    unit, cluster = unit_codes(code), np.asarray(cluster)
    cosine = unit @ unit.T
    same = cluster[:, None] == cluster[None, :]
    inside = np.sum(cosine * same, axis=1) / same.sum(axis=1)
    order = np.lexsort((-inside, cluster))
    return HeatMap(cosine=cosine[np.ix_(order, order)], order=order)


def t_sne(
    code: Float[Array, "user code"], seed: int = 0, perplexity: float = 30.0
) -> Float[np.ndarray, "user two"]:
    """People on a plane, near each other where their codes point the same way.

    Args:
        code: z.
        seed: Of the optimization.
        perplexity: Neighbors a person has; at most a third of the people is used.

    Raises:
        ValueError: There are fewer than four people.
    """
    unit = unit_codes(code)
    if len(unit) < 4:
        raise ValueError(f"t-SNE needs at least four people, got {len(unit)}")
    perplexity = min(perplexity, (len(unit) - 1) / 3)
    return TSNE(perplexity=perplexity, random_state=seed).fit_transform(unit)


def adjusted_rand(one: Int[Array, " user"], other: Int[Array, " user"]) -> float:
    """Agreement of two groupings: 1 if they are the same, 0 on average by chance."""
    return float(adjusted_rand_score(np.asarray(one), np.asarray(other)))
