"""Answers to a question that was answered before, and the noise that they show.

If an answer is flipped with probability ε, a share ``D = 2 ε (1 − ε)`` of the pairs of answers to
one question disagrees, so that ``ε = (1 − √(1 − 2 D)) / 2``, and no model can be right more often
than 1 − ε.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from prefjax.types import BASELINE, Comparisons

FEWEST_REPEATS = 30
"""Pairs of answers to one question below which a ceiling would be told by chance."""


def noise_ceiling(rows: Comparisons) -> float:
    """1 − ε, the accuracy of a perfect model on decided rows; NaN below `FEWEST_REPEATS`.

    Args:
        rows: Answers of all people; ties are left out, as they are of an accuracy.

    >>> many = np.repeat(np.arange(30, dtype=np.int32), 2)
    >>> rows = many, np.zeros(60, np.int32), np.ones(60, np.int32), np.ones(60), np.ones(60)
    >>> noise_ceiling(Comparisons(*rows))
    1.0
    """
    label = np.asarray(rows.label)
    decided = np.flatnonzero(label != 0.5)
    user, first, second = (
        np.asarray(column)[decided] for column in (rows.user, rows.first, rows.second)
    )
    repeats = repeats_of(user, first, second, label[decided] > 0.5)
    num_repeats = int(repeats.together.sum())
    if num_repeats < FEWEST_REPEATS:
        return float("nan")
    return 1 - flip_rate(num_repeats, int(repeats.disagree.sum()))


def flip_rate(num_repeats: int, num_disagree: int) -> float:
    """ε of the module's equation, NaN without repeats.

    Args:
        num_repeats: Pairs of answers to one question.
        num_disagree: Those of them that disagree.
    """
    if not num_repeats:
        return float("nan")
    return float((1 - np.sqrt(max(1 - 2 * num_disagree / num_repeats, 0.0))) / 2)


class Repeats(NamedTuple):
    """Pairs of answers to one question, one entry for each person and question.

    Attributes:
        user: Who.
        together: Pairs of answers.
        disagree: Those that disagree.
        swapped: Those in both orders.
        same_side: Those of them that name the same side.
    """

    user: Int[np.ndarray, " question"]
    together: Int[np.ndarray, " question"]
    disagree: Int[np.ndarray, " question"]
    swapped: Int[np.ndarray, " question"]
    same_side: Int[np.ndarray, " question"]


def repeats_of(
    user: Int[np.ndarray, " row"],
    first: Int[np.ndarray, " row"],
    second: Int[np.ndarray, " row"],
    is_first: Bool[np.ndarray, " row"],
) -> Repeats:
    """Counts for each person and question.

    Of n answers, a for its smaller response, n(n−1)/2 pairs can be made and a(n−a) of them
    disagree. Of the answers in both orders, those for the first response in one order and in the
    other name the same side twice.

    Args:
        user: Who answered; decided rows only.
        first: First response.
        second: Second response, or the baseline.
        is_first: Whether the first was preferred.
    """
    low, high = np.minimum(first, second), np.maximum(first, second)
    _, question = np.unique(np.stack([user, low, high]), axis=1, return_inverse=True)
    question = question.reshape(-1)
    size = int(question.max(initial=-1)) + 1
    in_order = (first <= second) | (second == BASELINE)

    def count(mask):
        return np.bincount(question, weights=mask, minlength=size)

    for_low = count(np.where(second == BASELINE, is_first, is_first == (first < second)))
    number = np.bincount(question, minlength=size)
    # Named first or second, in one order and in the other.
    one_first, one_second = count(in_order & is_first), count(in_order & ~is_first)
    other_first, other_second = count(~in_order & is_first), count(~in_order & ~is_first)
    owner = np.zeros(size, np.int64)
    owner[question] = user
    return Repeats(
        user=owner,
        together=(number * (number - 1) // 2).astype(np.int64),
        disagree=(for_low * (number - for_low)).astype(np.int64),
        swapped=((one_first + one_second) * (other_first + other_second)).astype(np.int64),
        same_side=(one_first * other_first + one_second * other_second).astype(np.int64),
    )
