"""One draw of people and questions, and the smaller draw inside it on which settings are chosen.

A `Draw` has training rows, the answers of new people and the rows they are scored on. Its `inner`
draw is made of the training rows alone: a fifth of the training people is held out as new ones, in
the same manner in which the outer draw holds out its own. Settings are chosen there, so that no
test row is seen before the end.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from prefjax import metrics
from prefjax.data import (
    Dataset,
    SharedItemsConfig,
    Split,
    split_new_prompts,
    split_shared_items,
)
from prefjax.data.attributes import ChoiceConfig, World
from prefjax.data.same_text import GroupKind
from prefjax.types import Array, Comparisons, UserBatch

MOST_ANSWERS = 40
HELD_OUT, MOST_HELD_OUT = 0.2, 200
"""People held out to choose settings: this part of those with at least four rows."""


class Draw(NamedTuple):
    """A split and what the families see of its responses.

    Attributes:
        split: Who trains, who is new, and the rows of either; at most 40 answers of a new person.
        embeddings: What the families see of every response; None for free factors, where every
            response is an input of its own.
        context: Embedding of every response's prompt; width 0 where there is one prompt or none.
    """

    split: Split
    embeddings: Float[np.ndarray, "response input"] | None
    context: Float[np.ndarray, "response context"]

    @property
    def answers(self) -> UserBatch:
        """Answers of new people in the order given."""
        return self.split.by_user("calibration")

    @property
    def tests(self) -> UserBatch:
        """Rows that new people are scored on; no item or prompt of their answers."""
        return self.split.by_user("test")


class SimulatedPeople(NamedTuple):
    """New people who can be asked anything and served anything, since the simulation knows them.

    Attributes:
        dataset: The texts.
        seen: Responses of each seen prompt, the pool of questions.
        unseen: Responses of each new prompt; the first is served to everybody by default.
        attributes: What the judge measures in every response.
        weights: True weights of every new person.
        choice: Noise of their answers.
        dealt: Whether each question to a person is answered by a random one of them, as in the
            null of shuffled users.
    """

    dataset: Dataset
    seen: Int[np.ndarray, "prompt response"]
    unseen: Int[np.ndarray, "prompt response"]
    attributes: Float[np.ndarray, "response attribute"]
    weights: Float[np.ndarray, "user attribute"]
    choice: ChoiceConfig
    dealt: bool = False


def simulated_people(world: World, new_users: Array) -> SimulatedPeople:
    """The new people of a world.

    Args:
        world: The simulated world, from `make_world`.
        new_users: Index of every new person, in the order of the split.
    """
    return SimulatedPeople(
        dataset=world.dataset,
        seen=world.seen,
        unseen=world.unseen,
        attributes=world.attributes.astype(np.float32),
        weights=world.weights[new_users].astype(np.float32),
        choice=world.config.choice,
    )


def true_accuracy(people: SimulatedPeople, tests: UserBatch) -> float:
    """Accuracy of the true weights on what simulated people said: what no model can exceed.

    Args:
        people: New people, with their weights.
        tests: What they are scored on.
    """
    gap = people.attributes[tests.first] - people.attributes[tests.second]
    logit = np.einsum("upa,ua->up", gap, people.weights)
    right = np.asarray(metrics.correct(logit, tests.label))
    return float(np.nanmean(np.where(tests.mask, right, np.nan)))


class Source(NamedTuple):
    """One data set, encoder and seed.

    Attributes:
        draw: The draw that counts.
        inner: The draw inside its training rows.
        length: Logarithm of the number of words of every response.
        votes: Whether rows are votes on one response, against the zero baseline.
        embed: Embeddings from training rows, where these enter; nulls are embedded anew by it, or
            the true labels would be read from the embeddings.
        people: The new people of a simulated world, None where people are real.
        ceiling: Accuracy of a perfect model under the noise of the answers: of simulated people
            that of their true weights on their tests, of real ones that of their repeats
            (`prefjax.data.answer_repeats.noise_ceiling`); NaN where too few questions are repeated.
        described: Digest of the texts and of the encoder that the embeddings are made of; empty
            where they are made of neither.
    """

    draw: Draw
    inner: Draw
    length: Float[np.ndarray, "response one"]
    votes: bool
    embed: Callable[[Comparisons], Float[np.ndarray, "response input"] | None] | None = None
    people: SimulatedPeople | None = None
    ceiling: float = float("nan")
    described: str = ""


def narrowed(source: Source, num_inputs: int) -> Source:
    """The same draws where only the first inputs are seen, such as the first components.

    Args:
        source: A source with embeddings.
        num_inputs: Inputs that stay.
    """

    def narrow(draw: Draw) -> Draw:
        assert draw.embeddings is not None
        return draw._replace(embeddings=draw.embeddings[:, :num_inputs])

    described = source.described and f"{source.described}, {num_inputs}"
    draws = {"draw": narrow(source.draw), "inner": narrow(source.inner)}
    return source._replace(**draws, described=described)


def hold_out_people(
    dataset: Dataset, rows: Comparisons, users: Array, group: GroupKind, seed: int
) -> Split:
    """Holds people out whose items everybody else has seen: half of each one's items are tests.

    Args:
        dataset: The set that the rows are of.
        rows: Rows of ``users``, counted by their place there.
        users: Index in the data set.
        group: What is cut in two for each person.
        seed: Seed of who is held out and of the halves.

    Returns:
        The split; its users are counted by their place in ``users``.
    """
    names = tuple(dataset.users[user] for user in users.tolist())
    inside = replace(dataset, comparisons=rows, users=names)
    votes = bool((rows.second < 0).all())
    num_active = int(np.sum(np.bincount(rows.user, minlength=len(users)) >= 4))
    config = SharedItemsConfig(
        group=group,
        by_label=votes,
        num_new_users=int(np.clip(HELD_OUT * num_active, 1, MOST_HELD_OUT)),
        min_each_label=2 if votes else 0,
        min_answers=2,
        min_tests=2,
        max_answers=MOST_ANSWERS,
    )
    return split_shared_items(inside, config, seed=seed)


def cut_prompts(
    rows: Comparisons,
    num_users: int,
    new_users: Array,
    is_new_response: Array,
    group: Array,
    max_answers: int = MOST_ANSWERS,
) -> Split:
    """Holds people out who are tested on prompts that nobody else has seen.

    Args:
        rows: Everybody's rows.
        num_users: How many people they are of.
        new_users: Those who are new.
        is_new_response: Whether the prompt of each response is new.
        group: Group of every response.
        max_answers: Answers that are kept of a new person.
    """
    return split_new_prompts(
        rows,
        known_users=np.setdiff1d(np.arange(num_users), new_users),
        new_users=np.sort(new_users),
        is_new_response=np.asarray(is_new_response),
        group=np.asarray(group),
        max_answers=max_answers,
    )
