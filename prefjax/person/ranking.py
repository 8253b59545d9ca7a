"""Responses in the order that one person is expected to like them."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax.person import laplace
from prefjax.person.inference import limits, predict
from prefjax.person.items import bucket, pad_rows
from prefjax.types import Array, Gaussian, Items, RewardBasis

BATCHES = (1, 8, 64)
"""Numbers of lists that are ranked together: few, since each is a program of its own."""
MOST_ROWS = 16_384
"""Responses of all lists that are ranked together."""


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
@partial(jax.vmap, in_axes=(0, 0, 0, None))
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
    return rank_many(basis, [belief], [items])[0]


def rank_many(
    basis: RewardBasis, beliefs: Sequence[Gaussian], items: Sequence[Items]
) -> list[Ranking]:
    """Orders several lists of responses, each for its own person, in one program where they fit.

    Args:
        basis: As in `rank`.
        beliefs: What is known of the person of each list.
        items: φ and t of the responses of each list.
    """
    found: dict[int, Ranking] = {}
    sizes = [bucket(len(one.utility)) for one in items]
    for size in dict.fromkeys(sizes):
        alike = [place for place, other in enumerate(sizes) if other == size]
        most = max(batch for batch in BATCHES if batch == 1 or batch * size <= MOST_ROWS)
        for start in range(0, len(alike), most):
            some = alike[start : start + most]
            rankings = _rank_alike(basis, [beliefs[i] for i in some], [items[i] for i in some])
            found |= zip(some, rankings, strict=True)
    return [found[place] for place in range(len(items))]


def _rank_alike(
    basis: RewardBasis, beliefs: Sequence[Gaussian], items: Sequence[Items]
) -> list[Ranking]:
    """Lists of one padded length, in one call; few numbers of lists are compiled."""
    counts = [len(one.utility) for one in items]
    size, mean = bucket(max(counts)), np.asarray(basis.population.mean)
    batch = min(batch for batch in BATCHES if batch >= len(items))
    references = np.zeros(batch, np.int32)
    for place, one in enumerate(items):
        references[place] = np.argmax(one.utility + one.features @ mean)

    def stacked(parts: Sequence[Array], rows: int) -> np.ndarray:
        whole = np.zeros((batch, rows, *np.shape(parts[0])[1:]), np.float32)
        for place, part in enumerate(parts):
            whole[place, : len(part)] = part
        return whole

    features = stacked([one.features for one in items], size)
    utility = stacked([one.utility for one in items], size)
    spreads = [one.spread for one in items if one.spread is not None]
    spread = stacked(spreads, size) if spreads else None
    belief = Gaussian(*(stacked(part, len(mean)) for part in zip(*beliefs, strict=True)))
    numbers = _compare(Items(features, utility, spread), belief, references, basis.posterior_scale)
    table = [np.asarray(part) for part in numbers]
    rankings = []
    for place, count in enumerate(counts):
        reward, probability, low, high = (part[place, :count] for part in table)
        order = np.argsort(-reward, kind="stable")
        rankings.append(Ranking(order, reward, probability, low, high, int(references[place])))
    return rankings
