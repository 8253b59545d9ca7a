"""From the flat table of comparisons to the padded rows of each user, and back.

Flat ``Comparisons[pair]`` suits gathers (factorization, head); padded ``UserBatch[user, pair]``
with a mask suits per-user solves. Row p of user u in the batch is the p-th row of u in the flat
table, so the order of answers survives. No loop over rows: one stable sort by user.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from prefjax.types import BASELINE, Comparisons, UserBatch


class UserRows(NamedTuple):
    """Which rows belong to which user: ``order[start[u]:start[u + 1]]`` are those of user u.

    Attributes:
        order: Row numbers sorted by user, in their original order within a user.
        start: Where each user begins in ``order``; the last entry is the number of rows.
    """

    order: Int[np.ndarray, " pair"]
    start: Int[np.ndarray, " users_and_end"]


def index_users(user: Int[np.ndarray, " pair"], num_users: int) -> UserRows:
    """Index the rows of a flat table by user.

    Args:
        user: User of each row, validated.
        num_users: Number of users.

    Returns:
        The rows of every user; none for a user without rows.
    """
    count = np.bincount(user, minlength=num_users)
    return UserRows(
        order=np.argsort(user, kind="stable"), start=np.concatenate([[0], np.cumsum(count)])
    )


def group_by_user(
    comparisons: Comparisons,
    num_users: int,
    *,
    length: int | None = None,
    longer: Literal["raise", "truncate"] = "raise",
) -> UserBatch:
    """Pad the rows of every user to one length.

    Args:
        comparisons: Validated rows in NumPy.
        num_users: Number of users, also those without rows.
        length: Number of entries of each user; the largest count if None.
        longer: What to do with a user of more than ``length`` rows: refuse, or keep the first.

    Returns:
        Batch ``[num_users, length]``; padding as :class:`prefjax.types.UserBatch` says.

    Raises:
        ValueError: If a user has more than ``length`` rows and ``longer="raise"``.
    """
    user = np.asarray(comparisons.user)
    order, start = index_users(user, num_users)
    count = np.diff(start)
    longest = int(count.max(initial=0))
    if length is None:
        length = max(longest, 1)
    if longest > length and longer == "raise":
        raise ValueError(
            f"User {count.argmax()} has {longest} rows, more than the length {length}; pass "
            f'longer="truncate" to keep the first {length}.'
        )
    row_user = user[order]
    place = np.arange(len(order)) - start[row_user]
    inside = place < length
    row_user, place, source = row_user[inside], place[inside], order[inside]

    def pad(column, fill, dtype):
        padded = np.full((num_users, length), fill, dtype=dtype)
        padded[row_user, place] = np.asarray(column)[source]
        return padded

    mask = np.zeros((num_users, length), dtype=bool)
    mask[row_user, place] = True
    return UserBatch(
        first=pad(comparisons.first, 0, np.int32),
        second=pad(comparisons.second, BASELINE, np.int32),
        label=pad(comparisons.label, 0.5, np.float32),
        sample_weight=pad(comparisons.sample_weight, 0.0, np.float32),
        mask=mask,
    )


def ungroup(batch: UserBatch) -> Comparisons:
    """The flat table of a padded batch, sorted by user.

    Args:
        batch: Rows of each user.

    Returns:
        The rows under the mask; ``user`` is the row of the batch.
    """
    mask = np.asarray(batch.mask)
    return Comparisons(
        user=np.nonzero(mask)[0].astype(np.int32),
        first=np.asarray(batch.first)[mask],
        second=np.asarray(batch.second)[mask],
        label=np.asarray(batch.label)[mask],
        sample_weight=np.asarray(batch.sample_weight)[mask],
    )
