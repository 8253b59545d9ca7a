"""A draw on the device, with its nulls: what a family is fitted to and scored on.

The draws of several seeds of one set are padded to one shape, so that they share their programs.
The nulls are

    shuffled-users     training rows, and answers of new people, dealt out to people at random;
                       every question to a simulated person is answered by another one
    shuffled-labels    training labels, and labels of the answers, permuted among the rows
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from prefjax.basis import Problem, stack_problems, standardize
from prefjax.data.group import ungroup
from prefjax.families import Answers, gather
from prefjax.lab.compare.draws import Draw, SimulatedPeople, Source
from prefjax.types import BASELINE, Array, UserBatch


class Case(NamedTuple):
    """A draw on the device.

    Attributes:
        data: Training rows.
        inputs: What the families see of every response, standardized as ``data`` is.
        context: Embedding of every response's prompt.
        answers: Recorded answers of new people, in random order; weight 0 is padding.
        tests: What new people are scored on; weight 0 is padding.
        num_users: New people, without padding.
        votes: Whether rows are votes on one response.
        people: The new people of a simulated world.
    """

    data: Problem
    inputs: Float[Array, "response input"]
    context: Float[Array, "response context"]
    answers: Answers
    tests: Answers
    num_users: int
    votes: bool = False
    people: SimulatedPeople | None = None


class Cases(NamedTuple):
    """What one cell of a comparison is computed from.

    Attributes:
        outer: The draw that counts.
        inner: The draw inside its training rows, on which settings are chosen.
        nulls: The outer draw without what the name of the null says.
    """

    outer: Case
    inner: Case
    nulls: Mapping[str, Case]


def pad_batch(batch: UserBatch, num_users: int, num_pairs: int) -> UserBatch:
    """More users and pairs, all masked.

    Args:
        batch: Comparisons by user.
        num_users: Users of the result.
        num_pairs: Pairs of each.
    """
    missing = (0, num_users - batch.label.shape[0]), (0, num_pairs - batch.label.shape[1])
    fills = 0, BASELINE, 0.5, 0, False
    return UserBatch(
        *(
            np.pad(column, missing, constant_values=fill)
            for column, fill in zip(batch, fills, strict=True)
        )
    )


def shuffle_users(rng: np.random.Generator, draw: Draw) -> Draw:
    """The same rows said by random people; the tests keep their person."""
    answers, train = draw.answers, draw.split.train
    order = rng.permutation(int(answers.mask.sum()))

    def permute(column: Array) -> np.ndarray:
        permuted = np.array(column)
        permuted[answers.mask] = permuted[answers.mask][order]
        return permuted

    split = draw.split._replace(
        train=train._replace(user=rng.permutation(train.user)),
        calibration=ungroup(UserBatch(*map(permute, answers))),
    )
    return draw._replace(split=split)


def shuffle_labels(rng: np.random.Generator, draw: Draw) -> Draw:
    """The same rows with labels permuted among them; the tests keep theirs."""
    train, answers = draw.split.train, ungroup(draw.answers)
    split = draw.split._replace(
        train=train._replace(label=rng.permutation(train.label)),
        calibration=answers._replace(label=rng.permutation(answers.label)),
    )
    return draw._replace(split=split)


NULLS = {"shuffled-users": shuffle_users, "shuffled-labels": shuffle_labels}


def make_nulls(source: Source, seed: int, names: Sequence[str]) -> list[Draw]:
    """The nulls of a draw, embedded anew where training rows enter the embeddings."""
    rng = np.random.default_rng(seed)
    nulls = [NULLS[name](rng, source.draw) for name in NULLS]
    nulls = [null for name, null in zip(NULLS, nulls, strict=True) if name in names]
    if source.embed is None:
        return nulls
    return [null._replace(embeddings=source.embed(null.split.train)) for null in nulls]


def make_cases(
    sources: Sequence[Source], seeds: Sequence[int], controls: Sequence[str] = ()
) -> list[Cases]:
    """Draws of several seeds of one set in one shape, so that they share programs; host only.

    Args:
        sources: One for each seed, of one shape but for the numbers of rows and people.
        seeds: Seeds of the nulls.
        controls: Names of controls; those that are nulls are made.
    """
    names = [name for name in NULLS if name in controls]
    draws: list[Draw] = []
    for source, seed in zip(sources, seeds, strict=True):
        draws += [source.draw, source.inner, *make_nulls(source, seed, names)]
    data = stack_problems(
        [draw.split.train for draw in draws],
        [draw.embeddings for draw in draws],
        num_users=max(len(draw.split.known_users) for draw in draws),
        num_responses=len(draws[0].split.group),
        context=[draw.context for draw in draws],
        group=[draw.split.group for draw in draws],
    )

    def largest(of: Callable[[Draw], UserBatch]) -> tuple[int, int]:
        sizes = np.array([of(draw).label.shape for draw in draws])
        return int(sizes[:, 0].max()), int(sizes[:, 1].max())

    answers, tests = largest(lambda draw: draw.answers), largest(lambda draw: draw.tests)

    def case(number: int, source: Source, null: str = "") -> Case:
        draw = draws[number]
        people = None if draw is source.inner else source.people
        if people is not None and null == "shuffled-users":
            people = people._replace(dealt=True)
        problem = jax.tree.map(lambda leaf: leaf[number], data)
        if draw.embeddings is None:
            inputs = np.eye(len(draw.split.group), dtype=np.float32)
        else:
            inputs = standardize(problem.standardizer, draw.embeddings)
        part = partial(gather, inputs, context=draw.context)
        return Case(
            data=problem,
            inputs=inputs,
            context=draw.context,
            answers=part(pad_batch(draw.answers, *answers)),
            tests=part(pad_batch(draw.tests, *tests)),
            num_users=len(draw.split.new_users),
            votes=source.votes,
            people=people,
        )

    size = 2 + len(names)
    cases = []
    for start, source in zip(range(0, len(draws), size), sources, strict=True):
        outer, inner = (case(start + place, source) for place in range(2))
        nulls = [case(start + 2 + place, source, name) for place, name in enumerate(names)]
        cases.append(Cases(outer, inner, dict(zip(names, nulls, strict=True))))
    return cases
