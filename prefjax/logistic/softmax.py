r"""One user's weights from choices of one among several: the softmax likelihood.

.. math::

    log P(choose j) = z_j - log Σ_{k shown} exp z_k,    z_k = λ·φ_k + t_k

A choice is one observation: the pairs of the chosen with each of the others are k − 1 statements of
one choice, and to count them as independent makes a person surer than they said. With
p = softmax(z) and y the label, one-hot or any distribution over what was shown,

.. math:: g = Fᵀ w (p - y) + P (λ - μ),   H = Σ_choices w Fᵀ (diag p - p pᵀ) F + P,

so that the problem is concave, and with two shown it is `prefjax.logistic.newton` to rounding. A
ranking is a row of choices, of the best, of the next among the rest, and so on (Plackett–Luce).

The variational posterior N(m, S) needs expectations under z ~ N(F m + t, s F S Fᵀ), which are those
of `prefjax.logistic.softmax_expectation`.

Steps are shortened as in `prefjax.logistic.newton`: along d the third derivative is at most
max_choices (max_k - min_k) F d times the second.

References:
    Luce (1959), Individual choice behavior; Plackett (1975). The third derivative: Sun and
    Tran-Dinh, arXiv 1703.04599, Example 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from prefjax.logistic import gaussian
from prefjax.logistic.gaussian import PATIENCE, GaussianConfig
from prefjax.logistic.newton import LogisticFit, NewtonConfig, Status
from prefjax.logistic.softmax_expectation import expect
from prefjax.numerics import logit_shrinkage, positive_inverse
from prefjax.types import Array

LONGEST = 1.79
"""Solves exp(x) − x − 1 = x²: a Newton step that moves no gap further is safe."""


class _State(NamedTuple):
    point: jax.Array
    covariance: jax.Array
    gradient: jax.Array
    hessian: jax.Array
    num_steps: jax.Array
    active: jax.Array


def fit_choices(
    features: Float[Array, "choice shown factor"],
    label: Float[Array, "choice shown"],
    mask: Bool[Array, "choice shown"],
    sample_weight: Float[Array, " choice"],
    *,
    mean: Float[Array, " factor"],
    precision: Float[Array, "factor factor"],
    offset: Float[Array, "choice shown"] | None = None,
    variance: Float[Array, " choice"] | None = None,
    posterior_scale: Float[Array, ""] | float = 1.0,
    config: NewtonConfig | GaussianConfig = gaussian.DEFAULT,
) -> LogisticFit:
    """The weights of one user from choices among several, as `prefjax.logistic.solve` from pairs.

    Use ``jax.vmap`` for many users.

    Args:
        features: φ of everything that was shown; only differences within a choice count.
        label: y, the probability that each is chosen, summing to 1: one-hot, or less sure.
        mask: False marks padding, whose features may hold anything.
        sample_weight: w ≥ 0 of each choice, 0 for padding.
        mean: μ.
        precision: P, the inverse covariance of the prior, positive definite.
        offset: t of everything that was shown; default 0.
        variance: c ≥ 0 of each choice, mean variance of a gap of two rewards in which λ has no
            part; read by the Gaussian posterior as in `prefjax.logistic.fit_gaussian`.
        posterior_scale: s; not read by a `NewtonConfig`.
        config: Its type says which posterior: a `NewtonConfig` means the MAP with its curvature.

    Returns:
        As `prefjax.logistic.solve`. Without choices exactly μ and P.

    Examples:
        >>> prior = {"mean": jnp.zeros(1), "precision": jnp.eye(1)}
        >>> features, shown = jnp.array([[[1.0], [0.0]]]), jnp.ones((1, 2), bool)
        >>> said = jnp.array([[1.0, 0.0]]), shown, jnp.ones(1)
        >>> said = fit_choices(features, *said, **prior, config=NewtonConfig())
        >>> round(float(said.weights[0]), 4)  # solves λ = σ(-λ), as the pair
        0.4011
    """
    is_map = isinstance(config, NewtonConfig)
    dtype = jnp.result_type(features, mean)
    weight = jnp.asarray(sample_weight, dtype)
    counted = weight > 0
    mask = jnp.asarray(mask) | ~counted[:, None]
    here = mask & counted[:, None]
    table = jnp.where(here[..., None], features, 0).astype(dtype)
    offset = jnp.zeros(label.shape, dtype) if offset is None else jnp.where(here, offset, 0)
    label = jnp.where(here, label, 0).astype(dtype)
    if variance is not None and not is_map:
        kappa = logit_shrinkage(jnp.where(counted, variance, 0)).astype(dtype)
        table, offset = kappa[:, None, None] * table, kappa[:, None] * offset
    scale = jnp.asarray(posterior_scale, dtype)
    num_factors = len(mean)

    def evaluate(point, covariance):
        rewards = table @ point + offset
        spread = None
        if not is_map:
            spread = scale * jnp.einsum("cki,ij,clj->klc", table, covariance, table)
        row = expect(rewards.T, spread, mask.T)
        residual = weight[:, None] * jnp.where(here, row.probability.T - label, 0)
        gradient = jnp.einsum("ck,ckj->j", residual, table) + precision @ (point - mean)
        curved = weight[None, None] * row.curvature
        hessian = jnp.einsum("cki,klc,clj->ij", table, curved, table) + precision
        return gradient, (hessian + hessian.T) / 2

    def reach_of(direction):
        moved = table @ direction
        low = jnp.where(mask, moved, jnp.inf).min(axis=1, initial=jnp.inf)
        high = jnp.where(mask, moved, -jnp.inf).max(axis=1, initial=-jnp.inf)
        return jnp.max(high - low, initial=0)

    def step(state):
        gradient, hessian = evaluate(state.point, state.covariance)
        covariance = positive_inverse(hessian)
        direction = -covariance @ gradient
        reach = reach_of(direction)
        length = jnp.where(reach <= LONGEST, 1, jnp.log1p(reach) / jnp.maximum(reach, LONGEST))
        change = jnp.sum(jnp.abs((covariance - state.covariance) * hessian)) / num_factors
        change = jnp.where((scale > 0) & (not is_map), change, 0)
        finite = jnp.all(jnp.isfinite(direction)) & jnp.all(jnp.isfinite(covariance))
        limit = min(config.tolerance, 1e-4) if is_map else config.tolerance
        ended = (reach <= limit) & (change <= config.tolerance) & finite
        part = 1 / (1 + jnp.maximum(0, state.num_steps - PATIENCE) / 4)
        stepped = _State(
            point=state.point + jnp.where(finite, length * direction, 0),
            covariance=jnp.where(
                finite, state.covariance + part * (covariance - state.covariance), state.covariance
            ),
            gradient=gradient,
            hessian=hessian,
            num_steps=state.num_steps + 1,
            active=~ended,
        )
        return jax.tree.map(lambda new, old: jnp.where(state.active, new, old), stepped, state)

    no_data = ~jnp.any(counted)
    mean, precision = jnp.asarray(mean, dtype), jnp.asarray(precision, dtype)
    start = _State(
        point=mean,
        covariance=positive_inverse(precision),
        gradient=jnp.zeros(num_factors, dtype),
        hessian=precision,
        num_steps=jnp.zeros((), jnp.int32),
        active=~no_data,
    )
    state = jax.lax.while_loop(
        lambda state: state.active & (state.num_steps < config.max_steps), step, start
    )
    gradient, hessian = state.gradient, state.hessian
    if is_map:  # the curvature at the result itself
        gradient, hessian = evaluate(state.point, state.covariance)
        hessian = jnp.where(no_data, precision, hessian)
    status = jnp.where(state.active, Status.NOT_CONVERGED, Status.OK)
    return LogisticFit(
        weights=state.point,
        hessian=hessian,
        gradient_norm=jnp.max(jnp.abs(gradient)),
        num_steps=state.num_steps,
        converged=~state.active,
        status=jnp.where(no_data, Status.NO_DATA, status).astype(jnp.int32),
    )
