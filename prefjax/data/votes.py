"""Votes and ratings of single responses, as comparisons.

A vote v of user u on response i is a comparison against the zero baseline: for the reward r_u,

    P(agree) = σ(r_u(i) − 0),   rows (u, i, BASELINE),   label 1 for v = +1, 0 for v = −1,

and a pass (v = 0) is dropped or has label ½. Ratings of one user become pairs,

    rows (u, i, j),   label 1 if rating(i) > rating(j), 0 if below, ½ if equal,

for all i, j with |rating(i) − rating(j)| at least a minimum gap. Which of the two comes first is
drawn by a seeded coin for each pair, so the order of ids says nothing about the label.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from prefjax.data.validate import validate_ids
from prefjax.types import BASELINE, Comparisons


def votes_to_comparisons(
    user: Shaped[np.ndarray, " _"],
    response: Shaped[np.ndarray, " _"],
    vote: Shaped[np.ndarray, " _"],
    *,
    passes: Literal["drop", "half"] = "drop",
) -> Comparisons:
    """Votes as comparisons against the zero baseline.

    Args:
        user: Who voted.
        response: On what.
        vote: +1 agree, −1 disagree, 0 pass.
        passes: Whether a pass is dropped or becomes a tie with the baseline.

    Returns:
        A row for each vote that counts, in the order of the votes, weight 1.

    Raises:
        ValueError: If a vote is none of −1, 0, +1, an id is no index, or the columns differ in
            length.
    """
    user, response, vote = _check_columns(user, response, vote, "vote")
    wrong = np.flatnonzero(~np.isin(vote, (-1, 0, 1)))
    if len(wrong):
        raise ValueError(
            f"Votes must be -1, 0 or 1, but {len(wrong)} are not, first in row {wrong[0]}: "
            f"{vote[wrong[0]]}."
        )
    valid = np.ones(len(vote), dtype=bool) if passes == "half" else vote != 0
    return Comparisons(
        user=user[valid],
        first=response[valid],
        second=np.full(valid.sum(), BASELINE, dtype=np.int32),
        label=(vote[valid].astype(np.float32) + np.float32(1.0)) / np.float32(2.0),
        sample_weight=np.ones(valid.sum(), dtype=np.float32),
    )


def ratings_table(
    ratings: Float[np.ndarray, "user response"],
) -> tuple[Int[np.ndarray, " rating"], Int[np.ndarray, " rating"], Float[np.ndarray, " rating"]]:
    """The long table of a matrix of ratings.

    Args:
        ratings: Rating of each response by each user, NaN where there is none.

    Returns:
        User, response and rating of every entry that is not NaN, sorted by user.
    """
    user, response = np.nonzero(~np.isnan(ratings))
    return user.astype(np.int32), response.astype(np.int32), ratings[user, response]


def check_scale(ratings: Shaped[np.ndarray, " rating"], scale: tuple[float, float] | None) -> None:
    """Refuse ratings that are not on their scale, such as the 99 that stands for "not rated".

    Args:
        ratings: Ratings without holes.
        scale: Lowest and highest legal rating; any finite number if None.

    Raises:
        ValueError: If a rating is infinite, NaN or outside the scale; the message has the scale.
    """
    low, high = (-np.inf, np.inf) if scale is None else scale
    wrong = np.flatnonzero(~(np.isfinite(ratings) & (ratings >= low) & (ratings <= high)))
    if len(wrong):
        legal = "be finite" if scale is None else f"lie in [{low:g}, {high:g}]"
        values = np.unique(ratings[wrong])[:3].tolist()
        raise ValueError(
            f"Ratings must {legal}, but {len(wrong)} of {len(ratings)} do not, first in entry "
            f'{wrong[0]}; values {values}. A mark for "not rated" must be left out, or NaN in a '
            "matrix."
        )


def ratings_to_comparisons(
    user: Shaped[np.ndarray, " _"],
    response: Shaped[np.ndarray, " _"],
    rating: Shaped[np.ndarray, " _"],
    *,
    min_gap: float = 0.0,
    max_pairs: int | None = None,
    prompt_index: Int[np.ndarray, " response"] | None = None,
    scale: tuple[float, float] | None = None,
    seed: int = 0,
) -> Comparisons:
    """All pairs of one user's ratings that are far enough apart.

    Args:
        user: Who rated.
        response: What; each response once for each user.
        rating: How; any scale, larger is better.
        min_gap: Smallest difference that makes a pair, in the unit of the ratings; 0 keeps ties.
        max_pairs: Largest number of pairs of one user, drawn without replacement and in random
            order; None keeps all.
        prompt_index: Prompt of each response; pairs then stay within a prompt.
        scale: Lowest and highest legal rating; any finite number if None.
        seed: Seed of the draw and of the orientation.

    Returns:
        Rows sorted by user, weight 1.

    Raises:
        ValueError: If a rating is NaN or outside the scale, a user rated a response twice, an id
            is no index, the columns differ in length, or a response has no prompt.
    """
    user, response, rating = _check_columns(user, response, rating, "rating")
    missing = np.flatnonzero(np.isnan(rating))
    if len(missing):
        raise ValueError(f"{len(missing)} ratings are NaN, first in row {missing[0]}.")
    check_scale(rating, scale)
    if prompt_index is not None and response.max(initial=-1) >= len(prompt_index):
        raise ValueError(
            f"prompt_index has {len(prompt_index)} entries, but response {response.max()} is rated."
        )
    order = np.lexsort((response, user))
    user, response, rating = user[order], response[order], rating[order]
    twice = np.flatnonzero((user[1:] == user[:-1]) & (response[1:] == response[:-1]))
    if len(twice):
        row = twice[0]
        raise ValueError(f"User {user[row]} rated response {response[row]} more than once.")
    rng = np.random.default_rng(seed)
    users, start, count = np.unique(user, return_index=True, return_counts=True)
    parts = []
    # Users with equally many ratings share the same pairs of positions: one block for each number.
    for num_ratings in np.unique(count):
        left, right = np.triu_indices(num_ratings, k=1)
        if len(left) == 0:
            continue
        members = np.flatnonzero(count == num_ratings)
        position = start[members][:, None] + np.arange(num_ratings)[None, :]
        shown, rated = response[position], rating[position]
        legal = np.abs(rated[:, left] - rated[:, right]) >= min_gap
        if prompt_index is not None:
            legal &= prompt_index[shown[:, left]] == prompt_index[shown[:, right]]
        member, pair = _draw(legal, max_pairs, rng)
        swap = rng.random(len(member)) < 0.5
        low, high = left[pair], right[pair]
        first, second = np.where(swap, high, low), np.where(swap, low, high)
        gap = rated[member, first] - rated[member, second]
        parts.append(
            (users[members][member], shown[member, first], shown[member, second], np.sign(gap))
        )
    if not parts:
        empty = np.zeros(0, dtype=np.int32)
        return Comparisons(empty, empty, empty, empty.astype("f4"), empty.astype("f4"))
    who, first, second, sign = (np.concatenate(column) for column in zip(*parts, strict=True))
    by_user = np.argsort(who, kind="stable")
    return Comparisons(
        user=who[by_user].astype(np.int32),
        first=first[by_user].astype(np.int32),
        second=second[by_user].astype(np.int32),
        label=(sign[by_user].astype(np.float32) + np.float32(1.0)) / np.float32(2.0),
        sample_weight=np.ones(len(who), dtype=np.float32),
    )


def _check_columns(user, response, value, name: str) -> tuple[np.ndarray, ...]:
    """Ids as int32, and numbers, of one length; casting would wrap an id of ten digits."""
    value = np.asarray(value)
    if value.dtype.kind not in "iufb":
        raise ValueError(f"{name} must hold numbers, got dtype {value.dtype}.")
    ids = [
        validate_ids(np.asarray(column), 2**31, name=what)
        for column, what in ((user, "user"), (response, "response"))
    ]
    lengths = {"user": len(ids[0]), "response": len(ids[1]), name: len(value)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"The columns differ in length: {lengths}.")
    return (*ids, value)


def _draw(
    legal: np.ndarray, max_pairs: int | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Member and pair of the legal entries, at most ``max_pairs`` of each member."""
    if max_pairs is None:
        member, pair = np.nonzero(legal)
        return member, pair
    lot = np.where(legal, rng.random(legal.shape, dtype=np.float32), np.float32(np.inf))
    num_drawn = min(max_pairs, legal.shape[1])
    # A stable order, so that equal lots fall the same way on every processor.
    drawn = np.argsort(lot, axis=1, kind="stable")[:, :num_drawn]
    member, column = np.nonzero(np.take_along_axis(legal, drawn, axis=1))
    return member, drawn[member, column]
