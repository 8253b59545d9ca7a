"""Fixes the gauge: the axes along which people disagree, largest first.

For any invertible R, weights ``Λ R`` and features ``Φ R⁻ᵀ`` are the same model. With Σ_w the
population covariance of the weights and Σ_φ that of the centered features,

    Σ_w^½ Σ_φ Σ_w^½ = Q D Qᵀ,    φ' = Qᵀ Σ_w^½ φ,    λ' = Qᵀ Σ_w^-½ λ

gives cov(λ') = I and cov(φ') = D. The entry D_j is the variance of reward that comes from people
disagreeing along axis j; it does not depend on the gauge the fit ended in. Each axis points to
where its features have positive skew.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import control
from prefjax.types import Array, Gaussian, Mixture, Population, RewardBasis


class Gauge(NamedTuple):
    """The map to canonical axes: φ' = φ @ features, λ' = λ @ weights.

    Attributes:
        features: Applied to rows of features.
        weights: Applied to rows of weights; ``features @ weights.T`` is the identity.
        variance: D, the reward variance of each axis; the values of a scree plot.
    """

    features: Float[Array, "factor axis"]
    weights: Float[Array, "factor axis"]
    variance: Float[Array, " axis"]


def canonical(
    features: Float[Array, "response factor"], weight_covariance: Float[Array, "factor factor"]
) -> Gauge:
    """The canonical gauge of features under a population covariance of weights."""
    centered = features - features.mean(0, keepdims=True)
    feature_covariance = centered.T @ centered / features.shape[0]
    values, vectors = jnp.linalg.eigh(weight_covariance)
    values = jnp.maximum(values, jnp.finfo(features.dtype).eps * values[-1])
    root = (vectors * jnp.sqrt(values)[None]) @ vectors.T
    inverse_root = (vectors / jnp.sqrt(values)[None]) @ vectors.T
    variance, axes = jnp.linalg.eigh(root @ feature_covariance @ root)
    variance, axes = variance[::-1], axes[:, ::-1]
    skew = jnp.mean((centered @ root @ axes) ** 3, axis=0)
    axes = axes * jnp.where(skew < 0, -1.0, 1.0)[None]
    return Gauge(features=root @ axes, weights=inverse_root @ axes, variance=variance)


def canonicalize(
    basis: RewardBasis, people: Gaussian, features: Float[Array, "response factor"]
) -> tuple[RewardBasis, Gaussian, Gauge]:
    """The same model on canonical axes; predictions do not change.

    Args:
        basis: In any gauge.
        people: Posteriors of the training users, in that gauge.
        features: φ of the responses by whose spread the axes are ordered.
    """
    gauge = canonical(features, basis.population.covariance)
    return *rotate(basis, people, gauge), gauge


def rotate(basis: RewardBasis, people: Gaussian, gauge: Gauge) -> tuple[RewardBasis, Gaussian]:
    """The same model on the axes of a gauge; predictions do not change.

    Args:
        basis: In the gauge from which ``gauge`` maps.
        people: Posteriors of the training users, in that gauge.
        gauge: A map to other axes, not necessarily the canonical ones.
    """
    out = {name: _rotate(leaf, gauge) for name, leaf in basis.params["out"].items()}
    basis = basis._replace(
        params={**basis.params, "out": out},
        population=_rotate_population(basis.population, gauge),
    )
    return basis, _rotate_people(people, gauge)


def _rotate(leaf, gauge: Gauge):
    """Factor columns of a kernel or a bias on the new axes; the utility column stays."""
    return jnp.concatenate([leaf[..., :-1] @ gauge.features, leaf[..., -1:]], axis=-1)


def _rotate_population(population: Population, gauge: Gauge) -> Population:
    if isinstance(population, Mixture):
        return population._replace(components=_rotate_people(population.components, gauge))
    return _rotate_people(population, gauge)


def _rotate_people(people: Gaussian, gauge: Gauge) -> Gaussian:
    covariance = gauge.weights.T @ people.covariance @ gauge.weights
    return Gaussian(
        mean=people.mean @ gauge.weights,
        covariance=(covariance + jnp.swapaxes(covariance, -1, -2)) / 2,
    )


canonicalize_program = control.program(canonicalize, light=True)
