"""Choices of one among several: made from rankings and pairs, checked, and grouped by user.

A ranking of k responses is k − 1 choices (Plackett–Luce): the best among all, the next among the
rest, and so on. Responses of equal rank share the label of their choice, which is exact for two
shown and an approximation beyond. `prefjax.data.observations` finds the choices in a data set.

References:
    Plackett (1975), The analysis of permutations.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from prefjax.types import BASELINE, Array, Choices, Comparisons


class ChoiceBatch(NamedTuple):
    """Choices grouped by user and padded to one length, for per-user solves.

    Padded choices have ``sample_weight`` 0, and show nothing.

    Attributes:
        shown: Responses, ``BASELINE`` where nothing is shown.
        label: Probability that each is chosen.
        mask: What is shown.
        sample_weight: Weight of each choice.
    """

    shown: Int[np.ndarray, "user choice shown"]
    label: Float[np.ndarray, "user choice shown"]
    mask: Bool[np.ndarray, "user choice shown"]
    sample_weight: Float[np.ndarray, "user choice"]


def validate_choices(choices: Choices, num_users: int, num_responses: int) -> Choices:
    """Checks every choice; what is not shown gets the label 0 and no response.

    Args:
        choices: Any integer and floating columns.
        num_users: Users are ``0 .. num_users - 1``.
        num_responses: Responses are ``0 .. num_responses - 1``, and ``BASELINE``.

    Returns:
        The same in NumPy, int32 ids and float32 numbers.

    Raises:
        ValueError: A choice shows fewer than two responses or one of them twice, an id is outside
            its range, labels are negative or do not sum to 1, or a weight is negative or not
            finite. The message names the first such choice.
    """
    user, shown, label, mask, weight = (np.asarray(column) for column in choices)
    mask = mask.astype(bool)
    if not (shown.shape == label.shape == mask.shape and len(user) == len(shown) == len(weight)):
        raise ValueError(f"choices have columns of other shapes: {shown.shape}, {label.shape}")
    shown = np.where(mask, shown, BASELINE)
    label = np.where(mask, label, 0).astype(np.float32)
    ordered = np.sort(np.where(mask, shown, -2 - np.arange(shown.shape[1])[None]), axis=1)
    checks = {
        "shows fewer than two responses": mask.sum(axis=1) < 2,
        "shows a response twice": (ordered[:, 1:] == ordered[:, :-1]).any(axis=1),
        f"has a user outside 0 … {num_users - 1}": (user < 0) | (user >= num_users),
        f"shows a response outside 0 … {num_responses - 1}": (
            (shown < BASELINE) | (shown >= num_responses)
        ).any(axis=1),
        "has labels that are no probabilities or do not sum to 1": ~(
            (label >= 0).all(axis=1) & (np.abs(label.sum(axis=1) - 1) < 1e-4)
        ),
        "has a weight that is negative or not finite": ~(np.isfinite(weight) & (weight >= 0)),
    }
    for what, is_bad in checks.items():
        bad = np.flatnonzero(is_bad)
        if len(bad):
            raise ValueError(f"choice {bad[0]} {what} ({len(bad)} in all)")
    ids = user.astype(np.int32), shown.astype(np.int32)
    return Choices(*ids, label, mask, weight.astype(np.float32))


def from_rankings(
    user: Int[Array, " ranking"],
    shown: Int[Array, "ranking shown"],
    rank: Real[Array, "ranking shown"],
    sample_weight: Float[Array, " ranking"] | None = None,
) -> Choices:
    """Rankings as choices, the best first.

    Args:
        user: Who ranked.
        shown: Responses; what has no finite rank is not shown.
        rank: 1 is best; equal ranks are ties.
        sample_weight: Weight of each ranking, 1 by default.

    >>> made = from_rankings(np.zeros(1, int), np.array([[7, 8, 9]]), np.array([[2, 1, 3]]))
    >>> made.label.argmax(1).tolist(), made.mask.sum(1).tolist()
    ([1, 0], [3, 2])
    """
    user, shown, rank = np.asarray(user), np.asarray(shown), np.asarray(rank, np.float64)
    weight = np.ones(len(user)) if sample_weight is None else np.asarray(sample_weight)
    left = np.isfinite(rank)
    parts: list[Choices] = []
    while True:
        is_choice = left.sum(axis=1) > 1
        if not is_choice.any():
            break
        best = np.where(left, rank, np.inf).min(axis=1)
        chosen = left & (rank == best[:, None])
        label = chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1)
        columns = (user, shown, label.astype(np.float32), left.copy(), weight)
        parts.append(Choices(*(column[is_choice] for column in columns)))
        left = left & ~chosen
    if not parts:
        raise ValueError("no ranking has two responses")
    whole = Choices(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    order = np.argsort(whole.user, kind="stable")
    return Choices(*(column[order] for column in whole))


def from_comparisons(comparisons: Comparisons) -> Choices:
    """Pairs and votes as choices among two, which is the same likelihood.

    Args:
        comparisons: Any; the second of a vote is the zero baseline.
    """
    user, first, second, label, weight = (np.asarray(column) for column in comparisons)
    shown, said = np.stack([first, second], axis=1), np.stack([label, 1 - label], axis=1)
    return Choices(user, shown, said.astype(np.float32), np.ones(shown.shape, bool), weight)


def independent_pairs(choices: Choices) -> Comparisons:
    """The chosen of each choice with each of the others, as if these were choices of their own.

    What data of choices become where only pairs are read; they are consistent, and surer than the
    choices (`prefjax.data.layouts.lists`).

    Args:
        choices: Each with one chosen.

    Raises:
        ValueError: A label is neither 0 nor 1.
    """
    user, shown, label, mask, weight = (np.asarray(column) for column in choices)
    if not np.isin(label[mask], (0, 1)).all():
        raise ValueError("only choices of one response are pairs of it with the others")
    row, place = np.nonzero(mask & (label == 0))
    winner = shown[np.arange(len(shown)), label.argmax(axis=1)][row]
    ones = np.ones(len(row), np.float32)
    return Comparisons(user[row], winner, shown[row, place], ones, weight[row])


def concatenate(parts: Sequence[Choices]) -> Choices:
    """Choices one after the other, padded to the most that is shown.

    Args:
        parts: One or more.
    """
    most = max(part.shown.shape[1] for part in parts)

    def widen(part: Choices) -> Choices:
        missing = (0, 0), (0, most - part.shown.shape[1])
        return part._replace(
            shown=np.pad(part.shown, missing, constant_values=BASELINE),
            label=np.pad(part.label, missing),
            mask=np.pad(part.mask, missing),
        )

    columns = zip(*map(widen, parts), strict=True)
    return Choices(*(np.concatenate(column) for column in columns))


def group_choices(choices: Choices, num_users: int) -> ChoiceBatch:
    """Pads the choices of every user to one length.

    Args:
        choices: Validated.
        num_users: Users, also those without choices.
    """
    user = np.asarray(choices.user)
    order = np.argsort(user, kind="stable")
    count = np.bincount(user, minlength=num_users)
    start = np.cumsum(count) - count
    place = np.arange(len(order)) - start[user[order]]
    shape = num_users, max(int(count.max(initial=0)), 1)

    def pad(column: Array, fill: int) -> np.ndarray:
        column = np.asarray(column)
        table = np.full((*shape, *column.shape[1:]), fill, column.dtype)
        table[user[order], place] = column[order]
        return table

    fills = (BASELINE, 0, False, 0)
    columns = choices.shown, choices.label, choices.mask, choices.sample_weight
    return ChoiceBatch(*(pad(column, fill) for column, fill in zip(columns, fills, strict=True)))
