"""Responses in the order that one person is expected to like them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax.person import laplace
from prefjax.person.inference import limits, predict
from prefjax.person.items import bucket, pad_rows
from prefjax.types import Gaussian, Items, RewardBasis


class Ranking(NamedTuple):
    """Responses in the order one person is expected to like them.

    Attributes:
        order: Places of the responses, best first.
        reward: Expected reward of each response.
        win_probability: Probability that the person prefers it to ``reference``, from `predict`.
        low: Lower limit of a 95 % interval of σ(reward gap), as weights, φ and t are uncertain.
        high: Upper limit.
        reference: The response that the population likes best.
    """

    order: Int[np.ndarray, " response"]
    reward: Float[np.ndarray, " response"]
    win_probability: Float[np.ndarray, " response"]
    low: Float[np.ndarray, " response"]
    high: Float[np.ndarray, " response"]
    reference: int


@jax.jit
def _compare(items, belief, reference, posterior_scale):
    gap = items.gap_to(items.at(reference[None]))
    parts = predict(belief, gap, posterior_scale), *limits(belief, gap)
    return items.features @ belief.mean + items.utility, *map(jax.nn.sigmoid, parts)


@jax.jit
def _predict(items, belief):
    gap = items.gap_to()
    mean, variance = laplace.predict_logit(belief, gap.features, gap.offset)
    return mean, jnp.sqrt(variance + gap.variance)


def reward(
    belief: Gaussian, items: Items
) -> tuple[Float[np.ndarray, " response"], Float[np.ndarray, " response"]]:
    """Expected reward of responses and its standard deviation.

    Args:
        belief: What is known of the person.
        items: φ and t of the responses.
    """
    mean, deviation = _predict(_padded(items), belief)
    count = len(items.utility)
    return np.asarray(mean)[:count], np.asarray(deviation)[:count]


def _padded(items: Items) -> Items:
    size = bucket(len(items.utility))
    return jax.tree.map(lambda part: pad_rows(part, size), items)


def rank(basis: RewardBasis, belief: Gaussian, items: Items) -> Ranking:
    """Orders responses for one person, with win probabilities and their uncertainty.

    Args:
        basis: Whose population names the reference, and whose posterior scale moderates.
        belief: What is known of the person.
        items: φ and t of the responses.
    """
    count, utility = len(items.utility), np.asarray(items.utility)
    reference = int(np.argmax(utility + items.features @ np.asarray(basis.population.mean)))
    parts = _compare(_padded(items), belief, np.int32(reference), basis.posterior_scale)
    reward, probability, low, high = (np.asarray(part)[:count] for part in parts)
    return Ranking(
        order=np.argsort(-reward, kind="stable"),
        reward=reward,
        win_probability=probability,
        low=low,
        high=high,
        reference=reference,
    )
