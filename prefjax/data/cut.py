"""One split of people and responses, whoever drew it.

                   seen groups     new groups
    known users    train           validation
    new users      calibration     test

A new user answers in calibration and is scored in test. What is cut is a *group* of responses:
those of a prompt or of a conversation, or equal texts. There are two ways to cut:
:func:`split_new_prompts` makes groups new for everybody, and
:func:`prefjax.data.shared_items.split_shared_items` halves the groups of each new user, while the
known users have seen all of them.

References:
    arXiv 2503.06358, section 5 (the four cells).
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Shaped

from prefjax.data.group import group_by_user
from prefjax.data.validate import validate_ids
from prefjax.types import BASELINE, Comparisons, UserBatch

Cell = Literal["train", "validation", "calibration", "test"]
CELLS: tuple[Cell, ...] = ("train", "validation", "calibration", "test")


class Split(NamedTuple):
    """Comparisons of known and new users on seen and new groups of responses.

    The pairs of one choice among several weigh together what it tells (`weigh_choices`).

    Attributes:
        train: Rows of known users on seen groups; ``user`` indexes ``known_users``.
        validation: Rows of known users on new groups; no row where the items are shared.
        calibration: What each new user says before being scored, in the order asked; ``user``
            indexes ``new_users``.
        test: What each new user is scored on; ``user`` indexes ``new_users``.
        known_users: Index in the data set of each known user.
        new_users: Index in the data set of each new user.
        is_new_response: Whether a response is in a group that no known user trains on; all False
            where the items are shared.
        group: Group of each response; calibration and test of a user share none.
        num_mixed: Rows dropped because their two responses lie on both sides of the cut.
    """

    train: Comparisons
    validation: Comparisons
    calibration: Comparisons
    test: Comparisons
    known_users: Int[np.ndarray, " known_user"]
    new_users: Int[np.ndarray, " new_user"]
    is_new_response: Bool[np.ndarray, " response"]
    group: Int[np.ndarray, " response"]
    num_mixed: int

    def by_user(self, cell: Cell, length: int | None = None) -> UserBatch:
        """The rows of a cell, padded to one length for each of its users.

        Args:
            cell: Which of the four.
            length: Entries of each user, of whom further rows are left out; the most that any
                user has if None.

        Returns:
            Batch ``[known or new user, length]``, in the order of the cell's rows.
        """
        users = self.known_users if cell in ("train", "validation") else self.new_users
        rows: Comparisons = getattr(self, cell)
        return group_by_user(rows, len(users), length=length, longer="truncate")


def select_rows(comparisons: Comparisons, rows: np.ndarray) -> Comparisons:
    """Some rows of a table of comparisons.

    Args:
        comparisons: The table, in NumPy.
        rows: Row numbers in the order wanted, or a mask.

    Returns:
        The rows; every id means what it meant.
    """
    return Comparisons(*(column[rows] for column in comparisons))


def first_rows(comparisons: Comparisons, length: int) -> Comparisons:
    """The first rows of every user, all in the order in which they stand.

    Args:
        comparisons: The table, in NumPy.
        length: Most rows of a user.

    Returns:
        The table without the further rows.
    """
    order = np.argsort(comparisons.user, kind="stable")
    user = comparisons.user[order]
    place = np.arange(len(user)) - np.searchsorted(user, user)
    return select_rows(comparisons, np.sort(order[place < length]))


def split_new_prompts(
    comparisons: Comparisons,
    *,
    known_users: Int[np.ndarray, " known_user"],
    new_users: Int[np.ndarray, " new_user"],
    is_new_response: Bool[np.ndarray, " response"],
    group: Shaped[np.ndarray, " _"] | None = None,
    order: Int[np.ndarray, " pair"] | None = None,
    max_answers: int | None = None,
) -> Split:
    """Cut people and groups of responses at once: new users are tested on what nobody trained on.

    Args:
        comparisons: Everybody's rows, in NumPy.
        known_users: Users who train; their place here is their number in the split.
        new_users: Users who are new, likewise.
        is_new_response: Whether the group of a response is new.
        group: Group of each response, kept in the split; each response its own if None.
        order: Row numbers in the order in which the cells shall list them; as they stand if None.
        max_answers: Most rows of a new user in calibration; all of them if None.

    Returns:
        The split; rows of users in neither list are in no cell.

    Raises:
        ValueError: A list of users is empty, a user is listed twice, a row names a response without
            an entry in ``is_new_response``, ``group`` is of another length or is cut.
    """
    is_new_response = np.asarray(is_new_response, dtype=bool)
    num_responses = len(is_new_response)
    group = check_group(np.arange(num_responses) if group is None else group, num_responses)
    cut = np.intersect1d(group[is_new_response], group[~is_new_response])
    if len(cut):
        raise ValueError(f"{len(cut)} groups are both seen and new, first group {cut[0]}.")
    validate_ids(comparisons.first, num_responses, name="comparisons.first")
    validate_ids(comparisons.second, num_responses, name="comparisons.second", lowest=BASELINE)
    known, new = np.asarray(known_users), np.asarray(new_users)
    listed = validate_ids(np.concatenate([known, new]), 2**31, name="known_users and new_users")
    if len(known) == 0 or len(new) == 0:
        raise ValueError(f"{len(known)} users are known and {len(new)} new; some of each must be.")
    users, times = np.unique(listed, return_counts=True)
    if (times > 1).any():
        raise ValueError(f"User {users[times > 1][0]} is listed twice among known and new users.")
    # The place of a user in its list, by search rather than by a table as long as the largest id.
    by_id = np.argsort(listed)
    nearest = np.minimum(np.searchsorted(users, comparisons.user), len(users) - 1)
    is_listed = users[nearest] == comparisons.user
    place = by_id[nearest]
    is_new_user = place >= len(known)
    placed = comparisons._replace(
        user=np.where(is_new_user, place - len(known), place).astype(np.int32)
    )
    first_new = is_new_response[comparisons.first]
    second_new = is_new_response[comparisons.second]
    whole = (comparisons.second == BASELINE) | (first_new == second_new)
    order = np.arange(len(comparisons.user)) if order is None else np.asarray(order)

    def cell(inside: np.ndarray) -> Comparisons:
        return select_rows(placed, order[(inside & whole & is_listed)[order]])

    answers = cell(is_new_user & ~first_new)
    return Split(
        train=cell(~is_new_user & ~first_new),
        validation=cell(~is_new_user & first_new),
        calibration=answers if max_answers is None else first_rows(answers, max_answers),
        test=cell(is_new_user & first_new),
        known_users=known,
        new_users=new,
        is_new_response=is_new_response,
        group=group,
        num_mixed=int((~whole).sum()),
    )


def check_group(
    group: Shaped[np.ndarray, " _"], num_responses: int
) -> Int[np.ndarray, " response"]:
    """The group of each response as small integers.

    Args:
        group: Group of each response; numbers or names.
        num_responses: Number of responses.

    Returns:
        The groups, numbered anew where they are names or numbers beyond the number of responses.

    Raises:
        ValueError: If there is not one entry for each response, or an entry is not a number.
    """
    group = np.asarray(group)
    if group.shape != (num_responses,):
        raise ValueError(
            f"group must have one entry for each of {num_responses} responses, got shape "
            f"{group.shape}. A group of each row becomes one of each response by "
            "group[comparisons.first] = group_of_row."
        )
    if group.dtype.kind not in "iuU":
        raise ValueError(f"group must hold whole numbers or names, got dtype {group.dtype}.")
    if group.dtype.kind == "U" or group.min() < 0 or group.max() >= num_responses:
        group = np.unique(group, return_inverse=True)[1]
    return group.astype(np.int32)
