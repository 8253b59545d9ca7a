"""What a person is asked next, and what each arm shows them: from stored answers, bit for bit.

A person is a `prefjax.person.Person` that has observed the stored answers in order; nothing is kept
between questions, so that a restart, a replay and an undisturbed run compute the same.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from prefjax.align import best_of_n_checked
from prefjax.person import Person
from prefjax.study.design import ARMS, Design
from prefjax.study.materials import Materials
from prefjax.types import Gaussian, Items

LABELS = {"A": 1.0, "B": 0.0, "N": 0.5}
"""Probability that the left response is preferred, by the button."""


class Asked(NamedTuple):
    """An answered adaptive trial.

    Attributes:
        prompt: Its prompt.
        first: The response with the lower number.
        second: The other one.
        label: 1 if the first was preferred, 0 if the second, ½ for no preference.
    """

    prompt: int
    first: int
    second: int
    label: float


class Chosen(NamedTuple):
    """The next question, and what was known before it.

    Attributes:
        prompt: Its prompt.
        first: The response with the lower number.
        second: The other one.
        belief: N(λ̂, H⁻¹) before the answer.
    """

    prompt: int
    first: int
    second: int
    belief: Gaussian


def label_of(choice: str, swapped: bool) -> float:
    """Probability that the first response is preferred, by the button and the sides."""
    return 1.0 - LABELS[choice] if swapped else LABELS[choice]


def know(
    materials: Materials,
    prior_mean: Float[np.ndarray, " factor"],
    asked: Sequence[Asked],
    seed: int,
) -> Person:
    """A person who has given some answers.

    Args:
        materials: The study.
        prior_mean: Mean of the prior; its covariance is the population's.
        asked: The answers in order.
        seed: Of the rule that chooses questions.
    """
    prior = Gaussian(prior_mean, np.asarray(materials.model.basis.population.covariance))
    person = Person(
        materials.model.basis,
        belief=prior,
        rule=materials.config.phases.rule,
        seed=seed,
        reader=_Lookup(materials.items),
    )
    for answer in asked:
        person.observe(np.array([answer.first]), np.array([answer.second]), answer.label)
    return person


def choose_question(
    materials: Materials,
    prior_mean: Float[np.ndarray, " factor"],
    asked: Sequence[Asked],
    seed: int,
) -> Chosen:
    """The pair that tells most, among the prompts that were not asked yet.

    Args:
        materials: The study.
        prior_mean: Mean of the prior.
        asked: The answers so far.
        seed: Of rules that draw.
    """
    person = know(materials, prior_mean, asked, seed)
    prompts, response, pool = (getattr(materials.adaptive, name) for name in _POOL)
    is_new = ~np.isin(prompts, [answer.prompt for answer in asked])
    question = person.ask(pool._replace(mask=pool.mask & is_new[:, None]))
    pair = response[question.prompt, [question.first, question.second]].tolist()
    return Chosen(int(prompts[question.prompt]), *pair, belief=person.belief)


_POOL = ("prompt", "response", "pool")


def choose_responses(
    materials: Materials, design: Design, belief: Gaussian
) -> dict[str, dict[int, int]]:
    """The response that each arm would show, by test prompt.

    Args:
        materials: The study.
        design: The person's plan, which says who the other person is.
        belief: What is known of the person after the adaptive phase.
    """
    prompts, response, pool = (getattr(materials.tested, name) for name in _POOL)
    others = _other(materials, design)
    people = Gaussian(
        np.stack([belief.mean, others.mean]), np.stack([belief.covariance, others.covariance])
    )
    index = np.asarray(best_of_n_checked(people, pool).index)
    personal, other = np.take_along_axis(response[None], index[:, :, None], axis=2)[:, :, 0]
    shown = dict(zip(ARMS, (personal, other, np.array(design.random)), strict=True))
    return {
        arm: dict(zip(prompts.tolist(), rows.tolist(), strict=True)) for arm, rows in shown.items()
    }


def _other(materials: Materials, design: Design) -> Gaussian:
    """A training user, or somebody drawn from the population where there are none."""
    people, population = materials.model.people, materials.model.basis.population
    if design.other >= 0:
        return Gaussian(*(np.asarray(part)[design.other] for part in people))
    rng = np.random.default_rng([materials.config.seed, design.seed])
    drawn = rng.multivariate_normal(population.mean, population.covariance).astype(np.float32)
    return Gaussian(drawn, np.asarray(population.covariance))


class _Lookup:
    """Reads the numbers of responses."""

    fingerprint: str | None = None

    def __init__(self, items: Items):
        self._items = items

    def __call__(self, responses: Any, prompts: Sequence[str] | None = None) -> Items:
        """See `prefjax.person.Reader`."""
        del prompts
        place = np.asarray(responses)[..., 0].astype(int)
        return self._items.at(place)
