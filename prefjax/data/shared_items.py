"""The split in which people share items: half of a new person's items ask, the other half score.

The groups of each new user (prompts, or responses) are cut in two at random: rows with both
responses in one half are answers, rows in the other half are tests, mixed rows are dropped. All
rows of everybody else train the population. For votes the halves are taken of the agreed and of
the disagreed statements apart, so both appear in the tests. Answers come in random order, so the
first n of them are a random sample of n.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from prefjax.data.cut import Split, first_rows, select_rows
from prefjax.data.dataset import Dataset
from prefjax.data.observations import weigh_choices
from prefjax.data.same_text import GroupKind, group_responses
from prefjax.data.votes import check_scale, ratings_table, ratings_to_comparisons
from prefjax.types import BASELINE, Comparisons


@dataclass(frozen=True)
class SharedItemsConfig:
    """How people and their items are divided.

    Attributes:
        group: What is cut in two for each new user.
        by_label: Cut what was agreed with and what was disagreed with apart; votes only.
        num_new_users: How many people are new.
        min_each_label: Rows of label 1 and of label 0 that a new user must have.
        min_answers: Answers that a new user must have.
        min_tests: Tests that a new user must have.
        max_answers: Most answers of a new user; further ones are left out.
        min_train: Rows that a training user must have.
    """

    group: GroupKind = "prompt"
    by_label: bool = False
    num_new_users: int = 100
    min_each_label: int = 0
    min_answers: int = 1
    min_tests: int = 2
    max_answers: int = 40
    min_train: int = 1


@dataclass(frozen=True)
class RatingsConfig:
    """Pairs out of a matrix of ratings.

    Attributes:
        num_train_users: How many people train.
        num_new_users: How many people are new.
        train_pairs: Pairs of each training user, over all responses.
        num_answers: Pairs that a new user answers, out of a random half of the responses.
        num_tests: Pairs that a new user is scored on, out of the other half.
        min_gap: Smallest difference of ratings that makes a pair.
        scale: Lowest and highest rating that is legal; any finite number if None.
    """

    num_train_users: int = 2500
    num_new_users: int = 600
    train_pairs: int = 40
    num_answers: int = 40
    num_tests: int = 80
    min_gap: float = 0.5
    scale: tuple[float, float] | None = None

    @property
    def max_answers(self) -> int:
        """Most answers of a new user."""
        return self.num_answers


def split_shared_items(dataset: Dataset, config: SharedItemsConfig, *, seed: int = 0) -> Split:
    """Divide people into known and new, and the items of each new person into two halves.

    Args:
        dataset: Comparisons or votes.
        config: How to divide.
        seed: Seed of who is new, of the halves and of the order of the answers.

    Returns:
        The split; calibration has at most ``max_answers`` rows of a new user, validation none.

    Raises:
        ValueError: If fewer than ``num_new_users`` people qualify, nobody is left to train, or
            ``by_label`` is asked of rows that are not votes.
    """
    rng = np.random.default_rng(seed)
    rows = weigh_choices(dataset)
    if config.by_label and (rows.second != BASELINE).any():
        raise ValueError("by_label divides votes; the rows must be against the zero baseline.")
    group = group_responses(dataset, config.group)
    in_answers, in_tests = _halves(rows, group, config, rng)
    num_users = dataset.num_users

    def count(inside):
        return np.bincount(rows.user[inside], minlength=num_users)

    eligible = np.flatnonzero(
        (count(in_answers) >= config.min_answers)
        & (count(in_tests) >= config.min_tests)
        & (count(rows.label > 0.5) >= config.min_each_label)
        & (count(rows.label < 0.5) >= config.min_each_label)
    )
    if len(eligible) < config.num_new_users:
        raise ValueError(
            f"Only {len(eligible)} people of {dataset.name!r} qualify as new users, "
            f"{config.num_new_users} are asked for."
        )
    new_users = np.sort(rng.choice(eligible, size=config.num_new_users, replace=False))
    is_new = np.isin(np.arange(num_users), new_users)
    trains = ~is_new & (np.bincount(rows.user, minlength=num_users) >= max(config.min_train, 1))
    known_users = np.flatnonzero(trains)
    if len(known_users) == 0:
        raise ValueError(f"Nobody of {dataset.name!r} is left to train on.")
    order = rng.permutation(len(rows.user))
    of_new = is_new[rows.user]

    def half(inside):
        return _renumber(rows, order[(inside & of_new)[order]], new_users)

    return Split(
        train=_renumber(rows, np.flatnonzero(trains[rows.user]), known_users),
        validation=select_rows(rows, np.arange(0)),
        calibration=first_rows(half(in_answers), config.max_answers),
        test=half(in_tests),
        known_users=known_users,
        new_users=new_users,
        is_new_response=np.zeros(dataset.num_responses, dtype=bool),
        group=group,
        num_mixed=int((of_new & ~in_answers & ~in_tests).sum()),
    )


def split_ratings(
    ratings: Float[np.ndarray, "user response"], config: RatingsConfig, *, seed: int = 0
) -> Split:
    """Divide people and items as `split_shared_items` does, with pairs drawn within each half.

    Args:
        ratings: Rating of each response by each user, NaN where there is none.
        config: How many of what.
        seed: Seed of who is new, of the halves and of the pairs.

    Returns:
        The split; every known user has ``train_pairs`` rows, every new user ``num_answers`` in
        calibration and ``num_tests`` in test.

    Raises:
        ValueError: If not enough people have rated enough, or a rating is outside the scale.
    """
    check_scale(ratings[~np.isnan(ratings)], config.scale)
    rng = np.random.default_rng(seed)
    people = rng.permutation(len(ratings))

    def pairs(table, num_pairs):
        drawn = ratings_to_comparisons(
            *ratings_table(table),
            min_gap=config.min_gap,
            max_pairs=num_pairs,
            seed=int(rng.integers(2**31)),
        )
        return drawn, np.bincount(drawn.user, minlength=len(table)) == num_pairs

    train, complete = pairs(ratings[people], config.train_pairs)
    trains = np.flatnonzero(complete)[: config.num_train_users]
    rest = np.setdiff1d(np.arange(len(people)), trains)
    others = ratings[people[rest]]
    lot = np.argsort(rng.random(others.shape), axis=1)
    asked = lot < others.shape[1] // 2
    answers, answered = pairs(np.where(asked, others, np.float32(np.nan)), config.num_answers)
    tests, tested = pairs(np.where(asked, np.float32(np.nan), others), config.num_tests)
    new = np.flatnonzero(answered & tested)[: config.num_new_users]
    if len(trains) < config.num_train_users or len(new) < config.num_new_users:
        raise ValueError(
            f"Only {len(trains)} people have {config.train_pairs} pairs to train on and {len(new)} "
            f"others {config.num_answers} answers and {config.num_tests} tests; "
            f"{config.num_train_users} and {config.num_new_users} are asked for."
        )

    def of(table, users):
        return _renumber(table, np.flatnonzero(np.isin(table.user, users)), users)

    return Split(
        train=of(train, trains),
        validation=select_rows(train, np.arange(0)),
        calibration=of(answers, new),
        test=of(tests, new),
        known_users=people[trains],
        new_users=people[rest[new]],
        is_new_response=np.zeros(ratings.shape[1], dtype=bool),
        group=np.arange(ratings.shape[1], dtype=np.int32),
        num_mixed=0,
    )


def _halves(
    rows: Comparisons, group: np.ndarray, config: SharedItemsConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the rows on the answer side and on the test side of their user."""
    num_groups = int(group.max()) + 1
    user = rows.user.astype(np.int64)
    first = user * num_groups + group[rows.first]
    second = np.where(rows.second == BASELINE, first, user * num_groups + group[rows.second])
    own_groups, seen_at, inverse = np.unique(
        np.concatenate([first, second]), return_index=True, return_inverse=True
    )
    stratum = own_groups // num_groups
    if config.by_label:
        stratum = 2 * stratum + (rows.label[seen_at % len(user)] > 0.5)
    order = np.lexsort((rng.random(len(own_groups)), stratum))
    _, start, size = np.unique(stratum[order], return_index=True, return_counts=True)
    place = np.arange(len(own_groups)) - np.repeat(start, size)
    is_test = np.empty(len(own_groups), dtype=bool)
    is_test[order] = place < np.repeat(size // 2, size)
    first_test, second_test = is_test[inverse[: len(user)]], is_test[inverse[len(user) :]]
    return ~first_test & ~second_test, first_test & second_test


def _renumber(rows: Comparisons, chosen: np.ndarray, users: np.ndarray) -> Comparisons:
    """The chosen rows with users counted by their place in the sorted ``users``."""
    picked = select_rows(rows, chosen)
    return picked._replace(user=np.searchsorted(users, picked.user).astype(np.int32))
