"""Fixes the gauge: the axes along which people disagree, largest first.

For any invertible R, weights ``Λ R`` and features ``Φ R⁻ᵀ`` are the same model. With Σ_w the
population covariance of the weights and Σ_φ that of the centred features,

    Σ_w^½ Σ_φ Σ_w^½ = Q D Qᵀ,    φ' = Qᵀ Σ_w^½ φ,    λ' = Qᵀ Σ_w^-½ λ

gives cov(λ') = I and cov(φ') = D. The entry D_j is the variance of reward that comes from people
disagreeing along axis j; it does not depend on the gauge the fit ended in. Each axis points to
where its features have positive skew.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis.state import Factorization
from prefjax.types import Array, GaussianPrior


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
    centred = features - features.mean(0, keepdims=True)
    feature_covariance = centred.T @ centred / features.shape[0]
    values, vectors = jnp.linalg.eigh(weight_covariance)
    values = jnp.maximum(values, jnp.finfo(features.dtype).eps * values[-1])
    root = (vectors * jnp.sqrt(values)[None]) @ vectors.T
    inverse_root = (vectors / jnp.sqrt(values)[None]) @ vectors.T
    variance, axes = jnp.linalg.eigh(root @ feature_covariance @ root)
    variance, axes = variance[::-1], axes[:, ::-1]
    skew = jnp.mean((centred @ root @ axes) ** 3, axis=0)
    axes = axes * jnp.where(skew < 0, -1.0, 1.0)[None]
    return Gauge(features=root @ axes, weights=inverse_root @ axes, variance=variance)


def canonicalize(fitted: Factorization) -> tuple[Factorization, Gauge]:
    """The same model on canonical axes; predictions do not change."""
    covariance = jnp.linalg.inv(fitted.prior.precision)
    gauge = canonical(fitted.items.features, covariance)
    features, utility = fitted.head[:, :-1] @ gauge.features, fitted.head[:, -1:]
    turned = fitted._replace(
        items=fitted.items._replace(features=fitted.items.features @ gauge.features),
        head=jnp.concatenate([features, utility], axis=1),
        weights=fitted.weights @ gauge.weights,
        covariance=jnp.einsum("ia,uij,jb->uab", gauge.weights, fitted.covariance, gauge.weights),
        prior=GaussianPrior(
            mean=fitted.prior.mean @ gauge.weights,
            precision=gauge.features.T @ fitted.prior.precision @ gauge.features,
        ),
    )
    return turned, gauge
