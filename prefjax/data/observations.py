"""The choices and rankings in a data set, and what their pairs weigh where only pairs are read.

A data set holds pairs. Those that stand for one choice, or for one ranking, are told by
``meta["observation"]``, which the layouts with lists write, or else are the rows of one person on
one of several prompts: `choices_of` puts them together again.

`prefjax.fit` and `prefjax.train` read the choices themselves (`observations_of`). What reads pairs
takes those of a choice for independent, and counts them for more than was said.
Of a choice of w among k whose rewards are equal, score and information are

    choice   (1/k) Σ_j (f_w − f_j),   (1/k²) Σ_{i<j} d_ij d_ijᵀ,   d_ij = f_i − f_j,
    pairs    (1/2) Σ_j (f_w − f_j),   (1/2k) Σ_{i<j} d_ij d_ijᵀ   (w being each with 1/k),

so that the weight 2/k on each pair makes *both* those of the choice (`weigh_choices`): exactly for
k = 2, to first order around equal rewards beyond. Each pair by itself follows the logistic, hence a
weighted fit is consistent however large rewards are. In a ranking the pairs whose better response
was chosen from m that were left weigh 2/m. Where c of the m share that rank, the pairs of these
with the others weigh 2/(c m), and their own ties 4/(c m), which keeps the total information.

Of 300 simulated people with 40 choices among four each and known base rewards, 95 % intervals of
the weights cover .954 with these weights, .946 with the softmax and .871 with weight 1.

References:
    Pairs from a choice: Luce (1959). Weights of composite likelihoods: C. Varin, N. Reid, D. Firth,
    "An overview of composite likelihood methods", Statistica Sinica 21 (2011).
"""

from typing import NamedTuple

import numpy as np

from prefjax.data.choices import concatenate, from_comparisons, from_rankings, validate_choices
from prefjax.data.dataset import Dataset
from prefjax.types import BASELINE, Choices, Comparisons

OTHERS = 1e9
"""Rank of what was shown and not chosen, where nothing is said of its place."""


class _Observations(NamedTuple):
    """Rows that belong together: ``order[start[n]:start[n + 1]]`` are those of observation n."""

    order: np.ndarray
    start: np.ndarray


def _observations(dataset: Dataset) -> _Observations:
    rows = dataset.comparisons
    told = dataset.meta.get("observation")
    prompt = dataset.prompt_index[rows.first]
    if told is not None and len(told) != len(rows.user):
        raise ValueError(
            f"meta['observation'] of {dataset.name!r} has {len(told)} entries for "
            f"{len(rows.user)} rows"
        )
    keys = [rows.user, prompt] if told is None else [np.asarray(told)]
    if told is None and dataset.num_prompts == 1:  # nothing says what was shown at once
        keys = [np.arange(len(rows.user))]
    _, index = np.unique(np.stack(keys), axis=1, return_inverse=True)
    index = index.reshape(-1)
    order = np.argsort(index, kind="stable")
    return _Observations(order, np.append(0, np.cumsum(np.bincount(index))))


def shared_winners(dataset: Dataset) -> tuple[int, int]:
    """How many rows share a winner with another row of one observation, and in how many of these.

    Such rows are one choice among several, and not independent: limits that count them as pairs
    come out too narrow.

    Args:
        dataset: Any.
    """
    rows = dataset.comparisons
    order, start = _observations(dataset)
    owner = np.repeat(np.arange(len(start) - 1), np.diff(start))
    label = rows.label[order]
    winner = np.where(label > 0.5, rows.first[order], rows.second[order])
    is_pair = (label != 0.5) & (rows.second[order] != BASELINE)
    _, index, count = np.unique(
        np.stack([owner[is_pair], winner[is_pair]]), axis=1, return_inverse=True, return_counts=True
    )
    shared = count[index.reshape(-1)] > 1
    return int(shared.sum()), len(np.unique(owner[is_pair][shared]))


def choices_of(dataset: Dataset) -> Choices:
    """The choices and rankings that the pairs of a data set stand for.

    The rows of one observation are a choice where each has the same winner, a ranking where they
    are all pairs of its responses and agree on an order; rows that are neither stay pairs.

    Args:
        dataset: Pairs or votes.
    """
    rows = dataset.comparisons
    order, start = _observations(dataset)
    pairs: list[np.ndarray] = []
    users, shown, ranks, weights = [], [], [], []
    for begin, end in zip(start[:-1].tolist(), start[1:].tolist(), strict=True):
        some = order[begin:end]
        ranked = None if end - begin == 1 else _rank(rows, some)
        if ranked is None:
            pairs.append(some)
            continue
        users.append(rows.user[some[0]])
        shown.append(ranked[0])
        ranks.append(ranked[1])
        weights.append(rows.sample_weight[some[0]])
    parts = []
    if users:
        most = max(map(len, shown))
        table = np.full((len(users), most), BASELINE, np.int32)
        rank = np.full((len(users), most), np.nan)
        for place, (ids, values) in enumerate(zip(shown, ranks, strict=True)):
            table[place, : len(ids)], rank[place, : len(ids)] = ids, values
        is_choice = np.nanmax(rank, axis=1) == OTHERS
        if is_choice.any():
            parts.append(_best_of(np.array(users), table, rank, np.array(weights), is_choice))
        if (~is_choice).any():
            kept = (np.array(users), table, rank, np.array(weights, np.float32))
            parts.append(from_rankings(*(column[~is_choice] for column in kept)))
    if pairs:
        index = np.concatenate(pairs)
        parts.append(from_comparisons(Comparisons(*(column[index] for column in rows))))
    return validate_choices(concatenate(parts), dataset.num_users, dataset.num_responses)


def observations_of(dataset: Dataset) -> Comparisons | Choices:
    """What the people of a data set said, as a fit of a basis reads it.

    Args:
        dataset: Pairs or votes.

    Returns:
        `choices_of` where ``meta["observation"]`` tells of choices among three or more, or of
        rankings; else the rows. Where nothing is told, pairs of one prompt may have been asked one
        by one.
    """
    if "observation" in dataset.meta:
        choices = choices_of(dataset)
        if (choices.mask.sum(axis=1) > 2).any():
            return choices
    return dataset.comparisons


def weigh_choices(dataset: Dataset) -> Comparisons:
    """The rows of a data set with the weights under which a fit may take them for independent.

    Only rows that ``meta["observation"]`` tells to be parts of one choice or ranking change: where
    nothing is told, pairs of one prompt may have been asked one by one.

    Args:
        dataset: Pairs or votes.

    Returns:
        The rows in their order; ``sample_weight`` times 2/k for the pairs of a choice among k, and
        as the module says for a ranking.
    """
    rows = dataset.comparisons
    if "observation" not in dataset.meta:
        return rows
    order, start = _observations(dataset)
    factor = np.ones(len(rows.user), np.float32)
    for begin, end in zip(start[:-1].tolist(), start[1:].tolist(), strict=True):
        some = order[begin:end]
        ranked = None if end - begin == 1 else _rank(rows, some)
        if ranked is None:
            continue
        ids, rank = ranked
        one, other = (rank[np.searchsorted(ids, side[some])] for side in (rows.first, rows.second))
        best = np.minimum(one, other)
        num_left = np.sum(rank[None, :] >= best[:, None], axis=1)
        num_equal = np.sum(rank[None, :] == best[:, None], axis=1)
        factor[some] = np.where(one == other, 4, 2) / (num_equal * num_left)
    return rows._replace(sample_weight=rows.sample_weight * factor)


def _best_of(user, shown, rank, weight, is_choice) -> Choices:
    shown, rank = shown[is_choice], rank[is_choice]
    label = (rank == 1).astype(np.float32)
    return Choices(user[is_choice], shown, label, np.isfinite(rank), weight[is_choice])


def _rank(rows: Comparisons, some: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Responses of some rows and their ranks; None where they are neither choice nor ranking."""
    first, second, label = rows.first[some], rows.second[some], rows.label[some]
    if (second == BASELINE).any() or len(np.unique(rows.sample_weight[some])) > 1:
        return None
    ids = np.unique(np.concatenate([first, second]))
    if np.isin(label, (0, 1)).all() and len(ids) == len(some) + 1:
        winners = np.unique(np.where(label == 1, first, second))
        if len(winners) == 1:
            return ids, np.where(ids == winners[0], 1.0, OTHERS)
    if len(some) != len(ids) * (len(ids) - 1) // 2 or not np.isin(label, (0, 0.5, 1)).all():
        return None
    wins = np.zeros(len(ids))
    np.add.at(wins, np.searchsorted(ids, first), label)
    np.add.at(wins, np.searchsorted(ids, second), 1 - label)
    one, other = (wins[np.searchsorted(ids, side)] for side in (first, second))
    implied = 0.5 * (1 + np.sign(one - other))
    return (ids, -wins) if np.array_equal(implied, label) else None
