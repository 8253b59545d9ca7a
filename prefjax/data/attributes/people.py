"""Simulated people: weights over the seven attributes.

The utility of a response with attributes a (as the judge measures them) is ``w·a``.
"""

from itertools import combinations, product

import numpy as np
from jaxtyping import Float

from prefjax.data.attributes.material import ATTRIBUTES

_TRAITS = (
    ("concise", "verbose"),
    ("informal", "formal"),
    ("serious", "humorous"),
    ("unengaging", "engaging"),
    ("rude", "polite"),
    ("demure", "enthusiastic"),
    ("uncertain", "confident"),
)


def trait_users() -> tuple[Float[np.ndarray, "user attribute"], tuple[str, ...]]:
    """The 84 users of the paper: every pair of traits from different attributes.

    Each of the C(7, 2) = 21 pairs of attributes comes with four directions; the weights are ±1 on
    the two attributes and 0 elsewhere.

    Returns:
        Weights [84, 7] and names such as ``"polite+concise"``.

    References:
        arXiv 2503.06358, section 5 and Table 2.
    """
    rows, names = [], []
    for pair in combinations(range(len(ATTRIBUTES)), 2):
        for directions in product((1, 0), repeat=2):
            row = np.zeros(len(ATTRIBUTES))
            row[list(pair)] = np.where(directions, 1.0, -1.0)
            rows.append(row)
            names.append("+".join(_TRAITS[k][d] for k, d in zip(pair, directions, strict=True)))
    return np.stack(rows), tuple(names)


def gaussian_users(
    num_users: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "user attribute"], tuple[str, ...]]:
    """Users with continuous weights, w ~ N(0, (2/7) I).

    The scale gives them the mean square weight of the users of two traits, E‖w‖² = 2.

    Args:
        num_users: Any number.
        rng: Source of the weights.

    Returns:
        Weights [num_users, 7] and names ``"simulated-0"``, ….
    """
    scale = np.sqrt(2.0 / len(ATTRIBUTES))
    weight = scale * rng.standard_normal((num_users, len(ATTRIBUTES)))
    return weight, tuple(f"simulated-{user}" for user in range(num_users))
