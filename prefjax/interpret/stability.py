"""Would another fit give the same axes? Refits are matched axis by axis on one set of responses.

    |corr(φ_j, φ'_π(j))|,   π = argmax Σ_j |corr(φ_j, φ'_π(j))|   over matchings (Hungarian).

A label belongs to what a refit finds again; beside the matched correlations stand the principal
angles between the two spaces, which no rotation changes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment

from prefjax.interpret.axes import Axes
from prefjax.metrics import subspace_angles


class Matching(NamedTuple):
    """A refit against the axes.

    Attributes:
        correlation: |corr| of each axis with its match; 0 without one.
        match: Axis of the refit; −1 without one.
        largest_angle: Largest principal angle between the spaces of the leading axes, in degrees.
    """

    correlation: Float[np.ndarray, " axis"]
    match: Int[np.ndarray, " axis"]
    largest_angle: float


def match_axes(
    axes: Axes,
    refit: Axes,
    *,
    on: Bool[np.ndarray, " response"] | None = None,
    num_leading: int = 4,
) -> Matching:
    """Matches the axes of a refit to those that were named.

    Args:
        axes: The axes.
        refit: Of another seed, or of a part of the people; the same responses.
        on: Responses on which they are compared, such as those to test prompts; all by default.
        num_leading: Axes of largest variance whose spaces are compared.
    """
    rows = slice(None) if on is None else np.asarray(on)
    first, second = (
        table / np.maximum(np.linalg.norm(table, axis=0), 1e-30)
        for table in (one.features[rows] - one.features[rows].mean(axis=0) for one in (axes, refit))
    )
    correlation = np.abs(first.T @ second)
    row, column = linear_sum_assignment(-correlation)
    match = np.full(axes.num_axes, -1)
    match[row] = column
    matched = np.zeros(axes.num_axes)
    matched[row] = correlation[row, column]
    leading = [
        one.features[rows][:, np.argsort(-one.variance)[:num_leading]].T for one in (axes, refit)
    ]
    angle = float("nan")
    if all(table.any() for table in leading):
        angle = float(subspace_angles(*leading).max())
    return Matching(matched, match, angle)


def stability(
    axes: Axes, refits: Sequence[Axes], *, on: Bool[np.ndarray, " response"] | None = None
) -> Float[np.ndarray, "refit axis"]:
    """Matched |corr| of every axis in every refit.

    Args:
        axes: The axes.
        refits: Other fits, on the same responses.
        on: Responses on which they are compared; all by default.
    """
    found = [match_axes(axes, refit, on=on).correlation for refit in refits]
    return np.array(found).reshape(len(found), axes.num_axes)
