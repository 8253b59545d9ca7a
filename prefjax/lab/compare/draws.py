"""One draw of people and questions, and the smaller draw inside it on which settings are chosen.

A `Draw` has training rows, the answers of new people and the rows they are scored on. Its `inner`
draw is made of the training rows alone: a fifth of the training people is held out as new ones, in
the same manner in which the outer draw holds out its own. Settings are chosen there, so that no
test row is seen before the end.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from prefjax.data import Dataset
from prefjax.data.group import group_by_user
from prefjax.data.protocol import ProtocolConfig, personal_protocol
from prefjax.data.split import Unit
from prefjax.types import Array, Comparisons, UserBatch

MOST_ANSWERS = 40
HELD, MOST_HELD = 0.2, 200
"""People held out to choose settings: this part of those with at least four rows."""


class Draw(NamedTuple):
    """Who trains, and who is new.

    Attributes:
        train: Rows of the training people, counted from 0.
        num_users: Training people.
        answers: Answers of new people in the order given, at most 40.
        tests: Rows that new people are scored on; no item or prompt of their answers.
        users: Index of every new person in the data set.
        embeddings: What the families see of every response.
        context: Embedding of every response's prompt; width 0 where there is one prompt or none.
        unit: Group of every response; answers and tests of a person share none.
    """

    train: Comparisons
    num_users: int
    answers: UserBatch
    tests: UserBatch
    users: Int[np.ndarray, " user"]
    embeddings: Float[np.ndarray, "response input"]
    context: Float[np.ndarray, "response context"]
    unit: Int[np.ndarray, " response"]


class Source(NamedTuple):
    """One data set, encoder and seed.

    Attributes:
        draw: The draw that counts.
        inner: The draw inside its training rows.
        length: Logarithm of the number of words of every response.
        votes: Whether rows are votes on one response, against the zero baseline.
        embed: Embeddings from training rows, where these enter; nulls are embedded anew by it, or
            the true labels would be read from the embeddings.
    """

    draw: Draw
    inner: Draw
    length: Float[np.ndarray, "response one"]
    votes: bool
    embed: Callable[[Comparisons], Float[np.ndarray, "response input"]] | None = None


def shared_items(dataset: Dataset, rows: Comparisons, users: Array, unit: Unit, seed: int):
    """Holds people out whose items everybody else has seen: half of each one's items are tests.

    Args:
        dataset: The set that the rows are of.
        rows: Rows of ``users``, counted by their place there.
        users: Index in the data set.
        unit: What is cut in two for each person.
        seed: Of every draw.

    Returns:
        The protocol; its users are counted by their place in ``users``.
    """
    names = tuple(dataset.users[user] for user in users.tolist())
    inside = replace(dataset, comparisons=rows, users=names)
    votes = bool((rows.second < 0).all())
    config = ProtocolConfig(
        unit=unit,
        by_label=votes,
        num_new_users=1,
        min_each_label=2 if votes else 0,
        min_answers=2,
        min_tests=2,
        max_answers=MOST_ANSWERS,
    )
    lively = int(np.sum(np.bincount(rows.user, minlength=len(users)) >= 4))
    config = replace(config, num_new_users=int(np.clip(HELD * lively, 1, MOST_HELD)))
    return personal_protocol(inside, config, seed=seed)


class Part(NamedTuple):
    """The four cells of a set with new prompts, before anything is embedded."""

    train: Comparisons
    num_users: int
    answers: UserBatch
    tests: UserBatch
    users: Int[np.ndarray, " user"]


def new_prompts(
    rows: Comparisons,
    is_new_user: Array,
    is_test: Array,
    *,
    answers: int = MOST_ANSWERS,
    tests: int | None = None,
) -> Part:
    """Holds people and prompts out at once; a person's rows keep their order.

    Args:
        rows: Everybody's rows.
        is_new_user: Of every person, whether new.
        is_test: Of every response, whether its prompt is new.
        answers: Most answers kept of a new person.
        tests: Most tests kept of a new person; None keeps all.
    """
    new, tested = np.asarray(is_new_user)[rows.user], np.asarray(is_test)[rows.first]
    users = np.flatnonzero(is_new_user)
    place = np.where(is_new_user, np.cumsum(is_new_user), np.cumsum(~np.asarray(is_new_user))) - 1
    placed = rows._replace(user=place[rows.user].astype(np.int32))

    def cell(mask: Any) -> Comparisons:
        return Comparisons(*(column[mask] for column in placed))

    def batch(mask: Any, length: int | None) -> UserBatch:
        return group_by_user(cell(mask), len(users), length=length, longer="truncate")

    return Part(
        train=cell(~new & ~tested),
        num_users=int(np.sum(~np.asarray(is_new_user))),
        answers=batch(new & ~tested, answers),
        tests=batch(new & tested, tests),
        users=users,
    )
