"""Learning about one new person: others train, half of the person's items ask, half score.

Each new user's units (prompts, or responses) are cut in two at random: rows with both responses
in one half are answers, rows in the other half are tests, mixed rows are dropped. All rows of
everybody else train the population. For votes the halves are taken of the agreed and of the
disagreed statements apart, so both appear in the tests. Answers come in random order, so the first
n of them are a random sample of n.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from prefjax.data.dataset import Dataset
from prefjax.data.group import group_by_user
from prefjax.data.sets import dices, jester, polis, ukpconvarg, value_portrait
from prefjax.data.split import Unit, group_responses
from prefjax.data.votes import ratings_table, ratings_to_comparisons
from prefjax.types import BASELINE, Comparisons, UserBatch


class Protocol(NamedTuple):
    """Training rows of some people; answers and tests of others.

    Attributes:
        train: Rows of the training users; ``user`` indexes ``train_users``.
        train_users: Index in the data set of each training user.
        answers: What each new user says, in the order asked; row n belongs to ``new_users[n]``.
        tests: What each new user is scored on; shares no response with the answers.
        new_users: Index in the data set of each new user.
        unit: Group of each response; the answers and the tests of a user share no group.
    """

    train: Comparisons
    train_users: Int[np.ndarray, " user"]
    answers: UserBatch
    tests: UserBatch
    new_users: Int[np.ndarray, " user"]
    unit: Int[np.ndarray, " response"]


@dataclass(frozen=True)
class ProtocolConfig:
    """How people and their items are divided.

    Attributes:
        unit: What is cut in two for each new user.
        by_label: Cut what was agreed with and what was disagreed with apart; votes only.
        num_new_users: How many people are new.
        min_each_label: Rows of label 1 and of label 0 that a new user must have.
        min_answers: Answers that a new user must have.
        min_tests: Tests that a new user must have.
        max_answers: Answers that are kept of a new user.
        min_train: Rows that a training user must have.
    """

    unit: Unit = "prompt"
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
    """

    num_train_users: int = 2500
    num_new_users: int = 600
    train_pairs: int = 40
    num_answers: int = 40
    num_tests: int = 80
    min_gap: float = 0.5


PROTOCOLS: Mapping[str, ProtocolConfig] = MappingProxyType(
    {
        polis.NAME: ProtocolConfig(
            unit="response", by_label=True, num_new_users=213, min_each_label=10, min_train=5
        ),
        dices.NAME: ProtocolConfig(
            unit="response", by_label=True, num_new_users=30, min_each_label=10
        ),
        value_portrait.NAME: ProtocolConfig(num_new_users=150, min_answers=10, min_tests=10),
        ukpconvarg.NAME: ProtocolConfig(num_new_users=150, min_answers=10, min_tests=10),
    }
)
"""The protocols of the real sets other than Jester, which has ``RatingsConfig()``."""


def load_protocol(
    name: str, *, seed: int = 0, folder: Path | None = None
) -> tuple[Dataset, Protocol]:
    """A real set with its texts, and the protocol for learning about its new people.

    Args:
        name: ``jester5k`` or one of ``PROTOCOLS``.
        seed: Of every draw.
        folder: Where the set lies; under ``PREFJAX_DATA`` if None.

    Returns:
        The data set, for texts and counts, and the protocol.

    Raises:
        KeyError: If there is no such name.
        FileNotFoundError: If the files are not there.
    """
    if name == jester.NAME:
        ratings = jester.load_ratings(folder)
        return jester.load(folder), ratings_protocol(ratings, RatingsConfig(), seed=seed)
    loaders = {
        polis.NAME: polis.load,
        dices.NAME: dices.load,
        value_portrait.NAME: value_portrait.load,
        ukpconvarg.NAME: ukpconvarg.load,
    }
    if name not in loaders:
        names = ", ".join((jester.NAME, *loaders))
        raise KeyError(f"There is no protocol for {name!r}; the names are {names}.")
    dataset = loaders[name](folder)
    return dataset, personal_protocol(dataset, PROTOCOLS[name], seed=seed)


def personal_protocol(dataset: Dataset, config: ProtocolConfig, *, seed: int = 0) -> Protocol:
    """Divide people into training and new, and the items of each new person into two halves.

    Args:
        dataset: Comparisons or votes.
        config: How to divide.
        seed: Of every draw.

    Returns:
        The protocol; answers padded to ``max_answers``, tests to the longest.

    Raises:
        ValueError: If fewer than ``num_new_users`` people qualify, nobody is left to train, or
            ``by_label`` is asked of rows that are not votes.
    """
    rng = np.random.default_rng(seed)
    rows = dataset.comparisons
    if config.by_label and (rows.second != BASELINE).any():
        raise ValueError("by_label divides votes; the rows must be against the zero baseline.")
    unit = group_responses(dataset, config.unit)
    in_answers, in_tests = _halves(rows, unit, config, rng)
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
    train_users = np.flatnonzero(trains)
    if len(train_users) == 0:
        raise ValueError(f"Nobody of {dataset.name!r} is left to train on.")
    order = rng.permutation(len(rows.user))

    def take(inside, length):
        chosen = order[inside[order] & is_new[rows.user[order]]]
        return _batch(_renumber(rows, chosen, new_users), len(new_users), length)

    return Protocol(
        train=_renumber(rows, np.flatnonzero(trains[rows.user]), train_users),
        train_users=train_users,
        answers=take(in_answers, config.max_answers),
        tests=take(in_tests, None),
        new_users=new_users,
        unit=unit,
    )


def ratings_protocol(
    ratings: Float[np.ndarray, "user response"], config: RatingsConfig, *, seed: int = 0
) -> Protocol:
    """The same out of a matrix of ratings, with pairs drawn within each half.

    Args:
        ratings: Rating of each response by each user, NaN where there is none.
        config: How many of what.
        seed: Of every draw.

    Returns:
        The protocol; every training user has ``train_pairs`` rows, every new user ``num_answers``
        answers and ``num_tests`` tests.

    Raises:
        ValueError: If not enough people have rated enough.
    """
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

    return Protocol(
        train=of(train, trains),
        train_users=people[trains],
        answers=_batch(of(answers, new), len(new), config.num_answers),
        tests=_batch(of(tests, new), len(new), config.num_tests),
        new_users=people[rest[new]],
        unit=np.arange(ratings.shape[1]),
    )


def _halves(
    rows: Comparisons, group: np.ndarray, config: ProtocolConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the rows on the answer side and on the test side of their user."""
    num_groups = int(group.max()) + 1
    user = rows.user.astype(np.int64)
    first = user * num_groups + group[rows.first]
    second = np.where(rows.second == BASELINE, first, user * num_groups + group[rows.second])
    units, seen_at, inverse = np.unique(
        np.concatenate([first, second]), return_index=True, return_inverse=True
    )
    stratum = units // num_groups
    if config.by_label:
        stratum = 2 * stratum + (rows.label[seen_at % len(user)] > 0.5)
    order = np.lexsort((rng.random(len(units)), stratum))
    _, start, size = np.unique(stratum[order], return_index=True, return_counts=True)
    place = np.arange(len(units)) - np.repeat(start, size)
    is_test = np.empty(len(units), dtype=bool)
    is_test[order] = place < np.repeat(size // 2, size)
    first_test, second_test = is_test[inverse[: len(user)]], is_test[inverse[len(user) :]]
    return ~first_test & ~second_test, first_test & second_test


def _renumber(rows: Comparisons, chosen: np.ndarray, users: np.ndarray) -> Comparisons:
    """The chosen rows with users counted by their place in the sorted ``users``."""
    picked = Comparisons(*(column[chosen] for column in rows))
    return picked._replace(user=np.searchsorted(users, picked.user).astype(np.int32))


def _batch(rows: Comparisons, num_users: int, length: int | None) -> UserBatch:
    return group_by_user(rows, num_users, length=length, longer="truncate")
