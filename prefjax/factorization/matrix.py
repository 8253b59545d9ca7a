"""Votes as a sparse matrix of users × items, laid out by user and by item."""

from typing import NamedTuple

import numpy as np

from prefjax.data.group import group_by_user
from prefjax.factorization.rows import Rows, make_rows
from prefjax.types import BASELINE, Comparisons, UserBatch


class Matrix(NamedTuple):
    """The observed entries by user, by item, and in chunks for the start.

    Attributes:
        by_user: Entries of each user; ``first`` is the item.
        by_item: Entries of each item; ``first`` is the user.
        rows: The same entries, from `make_rows`.
    """

    by_user: UserBatch
    by_item: UserBatch
    rows: Rows


def make_matrix(comparisons: Comparisons, num_users: int, num_items: int) -> Matrix:
    """Lays the entries of the matrix out; a host function, NumPy in and NumPy out.

    Args:
        comparisons: Validated rows, every one against the baseline.
        num_users: U.
        num_items: Number of columns.

    Raises:
        ValueError: A row compares two responses.
    """
    two = np.flatnonzero(np.asarray(comparisons.second) != BASELINE)
    if len(two):
        raise ValueError(
            f"Row {two[0]} compares two responses; a matrix has one item a row. Number the pairs "
            "as items, or use prefjax.factorization.fit with temperature 0."
        )
    turned = comparisons._replace(user=comparisons.first, first=comparisons.user)
    return Matrix(
        by_user=group_by_user(comparisons, num_users),
        by_item=group_by_user(turned, num_items),
        rows=make_rows(comparisons, num_items),
    )
