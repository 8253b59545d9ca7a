"""Which side each person names: one side always, or in a pattern.

    side       answers for the first response, of n, against Binomial(n, ½)
    pattern    runs of equal sides in the order of the rows, against their normal limit

References:
    A. Wald and J. Wolfowitz, "On a test whether two samples are from the same population", Annals
    of Mathematical Statistics 11 (1940).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import binom, norm

from prefjax.data.answer_repeats import Repeats


class Sides(NamedTuple):
    """Decided answers in the order in which they were given.

    Attributes:
        user: Whose answer.
        is_first: Whether the first response is preferred.
        is_pair: False for a vote on one response.
    """

    user: Int[np.ndarray, " row"]
    is_first: Bool[np.ndarray, " row"]
    is_pair: Bool[np.ndarray, " row"]


class People(NamedTuple):
    """Figures of every person; NaN where there is nothing to count.

    Attributes:
        num_rows: Decided answers.
        first_rate: Share of pairs in which the first response is preferred; of votes, the share of
            agreement.
        side_p: p-value of that share against ½; of votes never tested, since one may agree with
            much.
        pattern_p: p-value of the number of runs of equal sides, two-sided; of pairs only.
        num_repeats: Pairs of answers to the same question.
        num_disagree: Those of them that disagree.
        is_one_sided: Flagged for the side.
        is_patterned: Flagged for the runs.
    """

    num_rows: Int[np.ndarray, " user"]
    first_rate: Float[np.ndarray, " user"]
    side_p: Float[np.ndarray, " user"]
    pattern_p: Float[np.ndarray, " user"]
    num_repeats: Int[np.ndarray, " user"]
    num_disagree: Int[np.ndarray, " user"]
    is_one_sided: Bool[np.ndarray, " user"]
    is_patterned: Bool[np.ndarray, " user"]


class SideCounts(NamedTuple):
    """What is counted of every person, from that person's rows alone.

    Attributes:
        num_rows: Decided answers.
        num_first: Those for the first response.
        num_pairs: Decided answers about pairs.
        num_first_of_pairs: Those for the first response.
        num_runs: Runs of equal sides among them.
        num_repeats: Pairs of answers to the same question.
        num_disagree: Those of them that disagree.
    """

    num_rows: Int[np.ndarray, " user"]
    num_first: Int[np.ndarray, " user"]
    num_pairs: Int[np.ndarray, " user"]
    num_first_of_pairs: Int[np.ndarray, " user"]
    num_runs: Int[np.ndarray, " user"]
    num_repeats: Int[np.ndarray, " user"]
    num_disagree: Int[np.ndarray, " user"]


def count_sides(sides: Sides, num_users: int, repeats: Repeats) -> SideCounts:
    """Counts the sides of every person.

    Args:
        sides: Decided answers.
        num_users: Users, also those without answers.
        repeats: Pairs of answers to the same question.
    """
    user, is_first, is_pair = sides

    def total(owner, values=None):
        return np.bincount(owner, weights=values, minlength=num_users).astype(np.int64)

    who, side = user[is_pair], is_first[is_pair]
    order = np.argsort(who, kind="stable")
    who, side = who[order], side[order]
    starts = np.ones(len(who), dtype=bool)
    starts[1:] = (who[1:] != who[:-1]) | (side[1:] != side[:-1])
    return SideCounts(
        num_rows=total(user),
        num_first=total(user, is_first),
        num_pairs=total(who),
        num_first_of_pairs=total(who, side),
        num_runs=total(who[starts]),
        num_repeats=total(repeats.user, repeats.together),
        num_disagree=total(repeats.user, repeats.disagree),
    )


def judge_sides(counts: SideCounts, min_rows: int, max_p: float) -> People:
    """Tests the sides of every person.

    Args:
        counts: Of every person.
        min_rows: Decided answers that a person must have to be tested.
        max_p: Largest p-value of a flag, after multiplication by the number of people tested.
    """
    num_rows, pairs, wins = counts.num_rows, counts.num_pairs, counts.num_first_of_pairs
    with np.errstate(invalid="ignore"):
        first_rate = np.where(num_rows > 0, counts.num_first / num_rows, np.nan)
    tested = pairs >= max(min_rows, 1)
    extreme = np.minimum(wins, pairs - wins)
    side_p = np.where(tested, np.minimum(2 * binom.cdf(extreme, pairs, 0.5), 1.0), np.nan)
    pattern_p = np.where(tested, _runs_p(counts.num_runs, pairs, wins), np.nan)
    limit = max_p / max(int(tested.sum()), 1)
    return People(
        num_rows=num_rows,
        first_rate=first_rate,
        side_p=side_p,
        pattern_p=pattern_p,
        num_repeats=counts.num_repeats,
        num_disagree=counts.num_disagree,
        is_one_sided=np.nan_to_num(side_p, nan=1.0) <= limit / 2,
        is_patterned=np.nan_to_num(pattern_p, nan=1.0) <= limit / 2,
    )


def _runs_p(runs, pairs, wins) -> np.ndarray:
    """p-value of the number of runs of each person, given how often each side was named."""
    with np.errstate(divide="ignore", invalid="ignore"):
        both = 2.0 * wins * (pairs - wins)
        mean = both / pairs + 1
        variance = both * (both - pairs) / (pairs**2 * (pairs - 1.0))
        distance = np.maximum(np.abs(runs - mean) - 0.5, 0) / np.sqrt(variance)
    return np.where(variance > 0, 2 * norm.sf(distance), 1.0)
