"""Is it the same subspace: principal angles and effective rank.

A basis of rewards is known only up to an invertible matrix, ``φ' = R φ``, so two fits are compared
by the angles between the spaces their rows span, which R leaves alone.
"""

import numpy as np
from jaxtyping import Float
from scipy import linalg

from prefjax.types import Array


def subspace_angles(
    first: Float[Array, "row feature"], second: Float[Array, "other feature"]
) -> Float[np.ndarray, " angle"]:
    """Principal angles in degrees between the row spaces of two matrices, largest first.

    Args:
        first: Matrix whose rows span the one space.
        second: Matrix whose rows span the other.

    Raises:
        ValueError: If an entry is not finite or a matrix is zero.

    >>> subspace_angles(np.eye(3)[:2], np.eye(3)[1:]).round(6).tolist()
    [90.0, 0.0]

    References:
        Knyazev and Argentati (2002), "Principal angles between subspaces in an A-based scalar
        product".
    """
    matrices = np.asarray(first, np.float64), np.asarray(second, np.float64)
    for matrix in matrices:
        if not np.isfinite(matrix).all():
            raise ValueError("A subspace needs finite entries; found NaN or infinity.")
        if not matrix.any():
            raise ValueError("A zero matrix spans no subspace.")
    return np.degrees(linalg.subspace_angles(matrices[0].T, matrices[1].T))


def effective_rank(spectrum: Float[Array, " factor"]) -> float:
    """Number of axes that matter: the exponential of the entropy of the normalized spectrum.

    Equal values give their count; one value beside zeros gives 1.

    Args:
        spectrum: Singular values, or variances per axis, non-negative.

    Raises:
        ValueError: If a value is negative or not finite, or all are zero.

    >>> round(effective_rank(np.array([2.0, 2.0, 2.0, 0.0])), 6)
    3.0

    References:
        Roy and Vetterli (2007), "The effective rank: a measure of effective dimensionality".
    """
    spectrum = np.asarray(spectrum, np.float64)
    if not (np.isfinite(spectrum).all() and (spectrum >= 0).all() and spectrum.any()):
        raise ValueError("A spectrum is finite and non-negative with at least one value above 0.")
    share = spectrum[spectrum > 0] / spectrum.sum()
    return float(np.exp(-np.sum(share * np.log(share))))
