"""Responses in the order that one person is expected to like them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax.person import laplace
from prefjax.person.items import bucket, pad_rows
from prefjax.types import Gaussian, Items, RewardBasis

LIMIT = 1.959964
"""Standard deviations of the limits of a 95 % interval."""


class Ranking(NamedTuple):
    """Responses in the order one person is expected to like them.

    Attributes:
        order: Places of the responses, best first.
        reward: Expected reward of each response.
        win_probability: Probability that the person prefers it to ``reference``.
        low: Lower limit of a 95 % interval of that probability, as the weights are uncertain.
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
    features = items.features - items.features[reference][None]
    offset = items.utility - items.utility[reference]
    mean, variance = laplace.predict_logit(belief, features, offset)
    probability = jax.vmap(laplace.win_probability)(mean, posterior_scale * variance)
    deviation = jnp.sqrt(variance)
    limits = (jax.nn.sigmoid(mean + sign * LIMIT * deviation) for sign in (-1, 1))
    return items.features @ belief.mean + items.utility, probability, *limits


def rank(basis: RewardBasis, belief: Gaussian, items: Items) -> Ranking:
    """Orders responses for one person, with win probabilities and their uncertainty.

    Args:
        basis: Whose population names the reference, and whose posterior scale moderates.
        belief: What is known of the person.
        items: φ and t of the responses.
    """
    count, utility = len(items.utility), np.asarray(items.utility)
    reference = int(np.argmax(utility + items.features @ np.asarray(basis.population.mean)))
    size = bucket(count)
    padded = Items(pad_rows(items.features, size), pad_rows(utility, size))
    parts = _compare(padded, belief, reference, basis.posterior_scale)
    reward, probability, low, high = (np.asarray(part)[:count] for part in parts)
    return Ranking(
        order=np.argsort(-reward, kind="stable"),
        reward=reward,
        win_probability=probability,
        low=low,
        high=high,
        reference=reference,
    )
