"""Comparisons in one form, whatever the form in which they came."""

import warnings

import numpy as np

from prefjax.data.merge import merge_rows
from prefjax.types import BASELINE, Comparisons


def in_one_form(comparisons: Comparisons) -> Comparisons:
    """The same comparisons in one form: oriented, equal rows merged, sorted.

    Args:
        comparisons: Validated rows in NumPy, none of weight 0.
    """
    user, first, second, label, sample_weight = comparisons
    swap = (second != BASELINE) & (second < first)
    rows = Comparisons(
        user,
        np.where(swap, second, first),
        np.where(swap, first, second),
        np.where(swap, 1 - label, label),
        sample_weight,
    )
    rows = merge_rows(rows)
    order = np.lexsort((rows.label, rows.second, rows.first, rows.user))
    return Comparisons(*(column[order] for column in rows))


def without_same(rows: Comparisons) -> Comparisons:
    """The rows that compare two different responses; the others say nothing of any reward.

    Args:
        rows: Validated.

    Raises:
        ValueError: There are no others.

    Warns:
        UserWarning: Some are left out; the message names the first.
    """
    same = rows.first == rows.second
    if not same.any():
        return rows
    if same.all():
        raise ValueError("every comparison shows one response against itself: nothing to fit")
    warnings.warn(
        f"{int(same.sum())} of {len(same)} comparisons show one response against itself, the first "
        f"in row {int(np.argmax(same))}; they are left out",
        stacklevel=5,
    )
    return Comparisons(*(column[~same] for column in rows))
