r"""One user's weights and how uncertain they are from one optimum: the variational posterior.

.. math::

    \min_{m, S}\; Σ_i w_i E[softplus(z_i) - y_i z_i] + KL(N(m, S) ‖ N(μ, P⁻¹)),
    \qquad z_i ~ N(m·f_i + o_i,\; s f_iᵀ S f_i)

with ``f_i`` the feature gap of answer i, ``o_i`` its offset, ``y_i`` ∈ [0, 1] its label, ``w_i``
its weight; the posterior scale s is 1, or 0 for a basis that was fitted with people's weights as
known. The minimum at s = 1 satisfies

.. math:: g = Σ w (E[σ(z)] - y) f + P (m - μ) = 0,   S⁻¹ = H = Σ w E[σ'(z)] f fᵀ + P,

and a step takes m to ``m − H⁻¹ g`` and S to ``H⁻¹``; at s = 0 that is the MAP with the curvature at
it. In m it is Newton's at fixed S, shortened as in `prefjax.logistic.newton`, whose inequality
``|σ''| ≤ σ'`` holds of expectations too. S may swing about where answers are sure of more than the
prior allows, and then takes half steps. A MAP whose logit is moderated where it predicts is shrunk
twice; here the mean is the mean. The expectations are `prefjax.variational.quadrature`.

References:
    Opper and Archambeau (2009), The variational Gaussian approximation revisited, eq. 11–13.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from prefjax import variational
from prefjax.logistic import newton
from prefjax.logistic.newton import Block, LogisticFit, Status
from prefjax.numerics import inverse_root


@dataclass(frozen=True)
class GaussianConfig:
    """When the steps stop.

    Attributes:
        max_steps: Most evaluations of gradient and Hessian.
        tolerance: Stop when a step moves no answered logit's mean by more than this and its
            variance by no more than this part of ``1 + variance``; what is left after the step is a
            small part of it.
    """

    max_steps: int = 60
    tolerance: float = 0.05

    def __post_init__(self):
        """Refuse settings under which no fit could end well."""
        if self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {self.max_steps}")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {self.tolerance}")


DEFAULT = GaussianConfig()
PATIENCE = 8
"""Steps after which those in S grow shorter; where nothing swings, fewer are taken."""


class _State(NamedTuple):
    point: jax.Array  # factor, user
    variance: jax.Array  # pair, user
    gradient: jax.Array  # factor, user, before the last step
    hessian: list[jax.Array]
    num_steps: jax.Array
    active: jax.Array


def _root(hessian: list[jax.Array]) -> list[list[jax.Array]] | jax.Array:
    """T with ``TᵀT = H⁻¹``; one array ``[row, column, user]`` for many factors."""
    if hessian[0].ndim < 3:
        # Without the barrier the factor is computed anew for every answer.
        return jax.lax.optimization_barrier(inverse_root(hessian))
    matrix = jnp.moveaxis(hessian[0], -1, 0)
    lower = jnp.linalg.cholesky(matrix)
    eye = jnp.broadcast_to(jnp.eye(matrix.shape[1], dtype=matrix.dtype), matrix.shape)
    inverse = jax.scipy.linalg.solve_triangular(lower, eye, lower=True)
    return jnp.moveaxis(inverse, 0, -1)


def _raised(hessian: list[jax.Array]) -> list[jax.Array]:
    """The Hessian with eight roundings of its trace on the diagonal, so that it has a root."""
    eps = 8 * float(jnp.finfo(hessian[0].dtype).eps)
    if hessian[0].ndim < 3:
        bound = eps * sum(row[-1] for row in hessian)
        return [row.at[-1].add(bound) for row in hessian]
    matrix = hessian[0]
    eye = jnp.eye(matrix.shape[0], dtype=matrix.dtype)[:, :, None]
    return [matrix + eps * jnp.trace(matrix)[None, None, :] * eye]


def _spread(root: list[list[jax.Array]] | jax.Array, features: jax.Array) -> jax.Array:
    """``‖T f‖²`` of every answer."""
    if not isinstance(root, list):
        return jnp.sum(jnp.square(jnp.einsum("iju,pju->piu", root, features)), axis=1)
    total = jnp.zeros(())
    for row in root:
        total = total + jnp.square(sum(c[None, :] * features[:, j] for j, c in enumerate(row)))
    return total


def _descend(root: list[list[jax.Array]] | jax.Array, gradient: jax.Array) -> jax.Array:
    """``−TᵀT g``."""
    if not isinstance(root, list):
        half = jnp.einsum("iju,ju->iu", root, gradient)
        return -jnp.einsum("iju,iu->ju", root, half)
    half = [sum(c * gradient[j] for j, c in enumerate(row)) for row in root]
    size = len(root)
    return -jnp.stack([sum(root[i][j] * half[i] for i in range(j, size)) for j in range(size)])


def solve_block(block: Block, config: GaussianConfig) -> LogisticFit:
    """Fit the users of one block; the result has the user axis first."""
    num_factors, num_users = block.features.shape[1], block.label.shape[1]
    prior = newton.prior_rows(block)

    def evaluate(state: _State) -> tuple[jax.Array, list[jax.Array]]:
        logit = newton.logit(block.features, state.point) + block.offset
        variance = block.posterior_scale[None, :] * state.variance
        row = variational.quadrature(logit, variance)
        residual = block.sample_weight * (row.slope - block.label)
        gradient, hessian = newton.accumulate(block, residual, block.sample_weight * row.curvature)
        gradient = gradient + newton.times(block.precision, state.point - block.mean)
        return gradient, jax.tree.map(jnp.add, hessian, prior)

    def step(state: _State) -> _State:
        gradient, hessian = evaluate(state)
        root = _root(_raised(hessian))
        direction = _descend(root, gradient)
        reach = jnp.max(jnp.abs(newton.logit(block.features, direction)), axis=0, initial=0)
        # 1.79 solves exp(x) - x - 1 = x²; a shortened step is safe by construction.
        length = jnp.where(reach <= 1.79, 1, jnp.log1p(reach) / jnp.maximum(reach, 1.79))
        variance = jax.lax.optimization_barrier(_spread(root, block.features))
        change = jnp.abs(variance - state.variance) / (1 + variance)
        change = jnp.max(change, axis=0, initial=0)
        # Without a part in any expectation S needs no more steps than m.
        change = jnp.where(block.posterior_scale > 0, change, 0)
        ended = (reach <= config.tolerance) & (change <= config.tolerance)
        part = 1 / (1 + jnp.maximum(0, state.num_steps - PATIENCE) / 4)[None, :]
        finite = jnp.isfinite(reach) & jnp.all(jnp.isfinite(variance), axis=0)
        finite = finite & jnp.all(jnp.isfinite(direction), axis=0)
        ended = ended & finite
        direction = jnp.where(finite[None, :], direction, 0)
        variance = jnp.where(finite[None, :], variance, state.variance)
        length = jnp.where(finite, length, 0)
        stepped = _State(
            point=state.point + length[None, :] * direction,
            variance=state.variance + part * (variance - state.variance),
            gradient=gradient,
            hessian=hessian,
            num_steps=state.num_steps + 1,
            active=~ended,
        )
        return jax.tree.map(lambda new, old: jnp.where(state.active, new, old), stepped, state)

    def unfinished(carry):
        count, state = carry
        return (count < config.max_steps) & jnp.any(state.active)

    shape = (num_factors, num_users)
    wide = jax.tree.map(lambda row: jnp.broadcast_to(row, (*row.shape[:-1], num_users)), prior)
    variance = _spread(_root(prior), block.features)
    no_data = jnp.broadcast_to(~jnp.any(block.sample_weight > 0, axis=0), (num_users,))
    start = _State(
        point=jnp.broadcast_to(block.mean, shape),
        variance=jnp.broadcast_to(variance, block.label.shape),
        gradient=jnp.zeros(shape, block.features.dtype),
        hessian=wide,
        num_steps=jnp.zeros(num_users, jnp.int32),
        active=~no_data,
    )
    _, state = jax.lax.while_loop(unfinished, lambda c: (c[0] + 1, step(c[1])), (0, start))
    status = jnp.where(state.active, Status.NOT_CONVERGED, Status.OK)
    status = jnp.where(no_data, Status.NO_DATA, status)
    return LogisticFit(
        weights=state.point.T,
        hessian=jnp.moveaxis(newton.fill(state.hessian), -1, 0),
        gradient_norm=jnp.max(jnp.abs(state.gradient), axis=0),
        num_steps=state.num_steps,
        converged=~state.active,
        status=status.astype(jnp.int32),
    )
