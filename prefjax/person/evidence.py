r"""How well a population explains one person's answers, and each answer the others.

For answers y to feature gaps f and shared offsets o,

.. math::
    \mathrm{evidence} = \log \int \prod_i σ(λ·f_i + o_i)^{y_i} (1 − σ)^{1 − y_i}\, N(λ; μ, Σ)\, dλ
                        − n \log ½

is by how many nats the population explains them better than a coin (Laplace). An answer given the
others takes one Newton step from the optimum of all:

.. math:: w_{−i} = w + H_{−i}^{−1} f_i (σ_i − y_i),   H_{−i} = H − σ_i (1 − σ_i) f_i f_iᵀ.

References:
    D. MacKay, "The evidence framework applied to classification networks" (1992).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax import logistic
from prefjax.numerics import precision
from prefjax.person.laplace import probit_win_probability
from prefjax.types import Array, Gaussian, PRNGKey


class Judged(NamedTuple):
    """One person judged by one basis.

    Attributes:
        evidence: In nats, over a coin.
        rank: Rank of the evidence among simulated people of the population, in (0, 1).
        coin_rank: The same of simulated coins with less evidence than ``most``; 1 of the others.
        probability: Probability of each label given the other answers.
    """

    evidence: Float[Array, ""]
    rank: Float[Array, ""]
    coin_rank: Float[Array, " simulation"]
    probability: Float[Array, " pair"]


def judge_person(
    key: PRNGKey,
    features: Float[Array, "pair factor"],
    offset: Float[Array, " pair"],
    label: Float[Array, " pair"],
    sample_weight: Float[Array, " pair"],
    *,
    population: Gaussian,
    num_simulations: int,
    most: Float[Array, ""] | float = 0.0,
) -> Judged:
    """One person against a population and against a coin.

    Args:
        key: Seed of the simulated people.
        features: Feature gaps of the answers.
        offset: Difference of the shared utilities.
        label: The answers.
        sample_weight: Weight of each, 0 for padding.
        population: N(μ, Σ).
        num_simulations: Simulated people, and simulated coins.
        most: Evidence from which on a coin is not taken for one.

    Returns:
        The evidence and what it means.
    """
    prior = precision(population)
    draw_weights, draw_answers, toss = jax.random.split(key, 3)
    root = jnp.linalg.cholesky(population.covariance)
    drawn = jax.random.normal(draw_weights, (num_simulations, len(root))) @ root.T
    chance = jax.nn.sigmoid((population.mean[None] + drawn) @ features.T + offset[None])
    alike = jax.random.bernoulli(draw_answers, chance)
    coins = jax.random.bernoulli(toss, 0.5, alike.shape)
    every = jnp.concatenate([label[None], *(part.astype(label.dtype) for part in (alike, coins))])
    solve = partial(logistic.fit, mean=population.mean, precision=prior, offset=offset)
    fits = jax.vmap(lambda answers: solve(features, answers, sample_weight))(every)

    def evidence_of(answers, fit):
        logit = features @ fit.weights + offset
        loss = jnp.sum(sample_weight * (jax.nn.softplus(logit) - answers * logit))
        away = fit.weights - population.mean
        curvature = jnp.linalg.slogdet(fit.hessian)[1] - jnp.linalg.slogdet(prior)[1]
        log_coin = jnp.sum(sample_weight) * jnp.log(2.0)
        return log_coin - loss - (away @ prior @ away + curvature) / 2

    evidence = jax.vmap(evidence_of)(every, fits)
    own, by_people, by_coins = jnp.split(evidence, [1, 1 + num_simulations])

    def rank(value):
        return (1 + jnp.sum(by_people <= value)) / (2 + num_simulations)

    return Judged(
        evidence=own[0],
        rank=rank(own[0]),
        coin_rank=jnp.where(by_coins < most, jax.vmap(rank)(by_coins), 1.0),
        probability=_without_each(
            jax.tree.map(lambda leaf: leaf[0], fits), features, offset, label, sample_weight
        ),
    )


def _without_each(fit, features, offset, label, sample_weight) -> Float[jax.Array, " pair"]:
    """Probability of each label given the other answers, by one Newton step without the answer."""

    def one(gap, shared, said, weight):
        chance = jax.nn.sigmoid(gap @ fit.weights + shared)
        hessian = fit.hessian - weight * chance * (1 - chance) * jnp.outer(gap, gap)
        step = jnp.linalg.solve(hessian, gap)
        weights = fit.weights + step * weight * (chance - said)
        win = probit_win_probability(gap @ weights + shared, jnp.maximum(gap @ step, 0.0))
        return jnp.where(said > 0.5, win, 1 - win)

    return jax.vmap(one)(features, offset, label, sample_weight)
