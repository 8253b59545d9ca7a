"""Counts of answers that add up over people, so that they can be taken anywhere and summed.

Every count is of one person's rows: those of people who are counted apart, in any processes, are
put together by `join_counts`. `prefjax.data.answers` judges them.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from prefjax.data.answer_repeats import repeats_of
from prefjax.data.answer_sides import SideCounts, Sides, count_sides
from prefjax.types import BASELINE, Comparisons


class AnswerCounts(NamedTuple):
    """Counts of the answers of some people.

    Attributes:
        people: Of each of them.
        num_rows: Rows.
        num_ties: Rows without a preferred side.
        num_swapped: Pairs of answers of one person to a question shown in both orders.
        num_same_side: Those of them that name the same side twice.
    """

    people: SideCounts
    num_rows: int
    num_ties: int
    num_swapped: int
    num_same_side: int


def count_answers(rows: Comparisons, num_users: int) -> AnswerCounts:
    """Counts the answers of people of whom all rows are there.

    Args:
        rows: Rows of a person in the order in which they were given.
        num_users: Users, also those without answers.
    """
    label = np.asarray(rows.label)
    decided = np.flatnonzero(label != 0.5)
    user, first, second = (
        np.asarray(column)[decided] for column in (rows.user, rows.first, rows.second)
    )
    is_first = label[decided] > 0.5
    repeats = repeats_of(user, first, second, is_first)
    sides = Sides(user, is_first, second != BASELINE)
    return AnswerCounts(
        people=count_sides(sides, num_users, repeats),
        num_rows=len(label),
        num_ties=len(label) - len(decided),
        num_swapped=int(repeats.swapped.sum()),
        num_same_side=int(repeats.same_side.sum()),
    )


def join_counts(
    parts: Iterable[tuple[Int[np.ndarray, " part"], AnswerCounts]], num_users: int
) -> AnswerCounts:
    """The counts of all people from those of parts of them.

    Args:
        parts: Indices of some people, whom no other part has, and their counts.
        num_users: Users, also those whom no part has.
    """
    people = SideCounts(*np.zeros((len(SideCounts._fields), num_users), np.int64))
    totals = np.zeros(len(AnswerCounts._fields) - 1, np.int64)
    for users, part in parts:
        for whole, some in zip(people, part.people, strict=True):
            whole[users] = some
        totals += np.asarray(part[1:])
    return AnswerCounts(people, *totals.tolist())
