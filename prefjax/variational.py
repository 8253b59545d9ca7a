"""Expectations of the logistic loss when its logit is Gaussian.

A row has logit ``z ~ N(mean, variance)``. Fits that integrate a user out need, of every row,

    value      = E[softplus(z)], or an upper bound of it,
    slope      = d value / d mean,
    curvature  = 2 d value / d variance,

of which ``quadrature`` gives the exact ones (Bonnet and Price: slope = E[σ(z)],
curvature = E[σ'(z)]) and ``jaakkola`` those of the tangent quadratic

    softplus(z) ≤ softplus(ξ) + (z − ξ)/2 + κ(ξ)/2·(z² − ξ²),  κ(ξ) = tanh(ξ/2) / (2ξ)

at its best ξ = √(mean² + variance). The quadratic majorizes the loss, so steps computed from it
never decrease the bound; with variance 0 it is tangent to the loss itself.

References:
    Jaakkola and Jordan (2000), Bayesian parameter estimation via variational methods, eq. 7–12.
    Polson, Scott and Windle (arXiv 1205.0310): the same updates by Pólya–Gamma augmentation.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.numerics import gauss_hermite
from prefjax.types import Array

Bound = Literal["jaakkola", "quadrature"]

NUM_NODES = 12


class Expectation(NamedTuple):
    """What a fit needs of one row; see the module's equations."""

    value: Float[Array, "*rows"]
    slope: Float[Array, "*rows"]
    curvature: Float[Array, "*rows"]


def jaakkola(mean: Float[Array, "*rows"], variance: Float[Array, "*rows"]) -> Expectation:
    """Tangent quadratic bound at its best ξ; closed form."""
    xi = jnp.sqrt(jnp.square(mean) + variance + 1e-12)
    curvature = jnp.where(xi < 1e-2, 0.25 - jnp.square(xi) / 48, jnp.tanh(xi / 2) / (2 * xi))
    return Expectation(
        value=jax.nn.softplus(xi) + (mean - xi) / 2,
        slope=0.5 + curvature * mean,
        curvature=curvature,
    )


def quadrature(mean: Float[Array, "*rows"], variance: Float[Array, "*rows"]) -> Expectation:
    """Exact expectations by Gauss–Hermite quadrature with `NUM_NODES` nodes."""
    rule = gauss_hermite(NUM_NODES)
    nodes, weights = jnp.asarray(rule.node, mean.dtype), jnp.asarray(rule.weight, mean.dtype)
    scale = jnp.sqrt(variance + 1e-12)
    logit = mean[..., None] + scale[..., None] * nodes.reshape((1,) * mean.ndim + (-1,))
    probability = jax.nn.sigmoid(logit)
    return Expectation(
        value=jax.nn.softplus(logit) @ weights,
        slope=probability @ weights,
        curvature=(probability * (1 - probability)) @ weights,
    )


def expect(
    mean: Float[Array, "*rows"], variance: Float[Array, "*rows"], bound: Bound
) -> Expectation:
    """The expectation that ``bound`` names."""
    return jaakkola(mean, variance) if bound == "jaakkola" else quadrature(mean, variance)
