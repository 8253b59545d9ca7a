"""Responses in the order that one person is expected to like them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax import variational
from prefjax.person import laplace
from prefjax.person.items import bucket, pad_rows
from prefjax.types import Array, Gaussian, Items, RewardBasis

LIMIT = 1.959964
"""Standard deviations of the limits of a 95 % interval."""


class Ranking(NamedTuple):
    """Responses in the order one person is expected to like them.

    Attributes:
        order: Places of the responses, best first.
        reward: Expected reward of each response.
        win_probability: Probability that the person prefers it to ``reference``: E σ over the
            weights, their covariance times the posterior scale of the basis.
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
    features = items.features - items.features[reference][None]
    offset = items.utility - items.utility[reference]
    mean, variance = laplace.predict_logit(belief, features, offset)
    shared = learned_variance(items.spread, reference)
    # The scale was chosen for probabilities without what φ and t leave open; limits have it.
    probability = variational.quadrature(mean, posterior_scale * variance).slope
    deviation = jnp.sqrt(variance + shared)
    limits = (jax.nn.sigmoid(mean + sign * LIMIT * deviation) for sign in (-1, 1))
    return items.features @ belief.mean + items.utility, probability, *limits


@jax.jit
def _predict(items, belief):
    mean, variance = laplace.predict_logit(belief, items.features, items.utility)
    shared = 0.0 if items.spread is None else jnp.sum(jnp.square(items.spread), axis=1)
    return mean, jnp.sqrt(variance + shared)


def learned_variance(
    spread: Float[Array, "response column"] | None, reference: Int[Array, ""]
) -> Float[Array, "*response"]:
    """``‖ψ − ψ_reference‖²`` of every response, 0 where φ and t are taken as known."""
    if spread is None:
        return jnp.zeros(())
    return jnp.sum(jnp.square(spread - spread[reference][None]), axis=1)


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
