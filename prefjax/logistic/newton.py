r"""One user's weights from their answers: the MAP of a logistic model under a Gaussian prior.

.. math::

    F(λ) = Σ_i w_i ℓ(λ·f_i + o_i, y_i) + ½ (λ-μ)ᵀ P (λ-μ),   ℓ(s, y) = softplus(s) - y s

``f_i`` is the feature gap of answer i, ``o_i`` its offset (the logit that everybody shares),
``y_i`` ∈ [0, 1] its label, ``w_i`` ≥ 0 its weight, ``N(μ, P⁻¹)`` the prior. With p = σ(λ·f + o),

.. math:: g = Fᵀ w (p - y) + P (λ - μ),   H = Fᵀ diag(w p (1-p)) F + P,   d = -H⁻¹ g.

The step is monotone without evaluating F. Along d the third derivative is at most D times the
second, D = max_i |f_i·d|, so a step of length a lowers F if a (exp(aD) - aD - 1) ≤ (aD)²; by
convexity any step at whose end the slope g·d is still negative lowers F too. The full step is
tried first; where neither holds, a = log(1 + D) / D, which is guaranteed, is taken instead.

The last gradient is bounded, not evaluated: with D ≤ ½ a full step leaves
``|g_j| ≤ max_i |f_ij| (exp(D) - 1 - D) / D² dᵀHd ≤ 0.6 max_i |f_ij| (-g·d)``: the Taylor remainder
of σ, since ``|σ'(s + t) - σ'(s)| ≤ σ'(s) (exp|t| - 1)``.

Users lie side by side in the last axis and the algebra over factors is unrolled.

References:
    PReF, arXiv 2503.06358, Eq. 5. The step: Bach, arXiv 0910.4627, the self-concordance
    inequality ``|σ''| ≤ σ'``; what follows from it is derived above.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax.numerics import solve_positive


@dataclass(frozen=True)
class NewtonConfig:
    """When to stop.

    Attributes:
        max_steps: Most evaluations of gradient and Hessian before the last one, at the result.
        tolerance: Stop when it is certain that every
            ``|g_j| ≤ tolerance · (Σ_i w_i |f_ij| + Σ_k |P_jk (λ-μ)_k|)``, the size of the terms
            that must cancel; never below eight units of rounding.
    """

    max_steps: int = 50
    tolerance: float = 1e-6

    def __post_init__(self):
        """Refuse settings under which no fit could end well."""
        if self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {self.max_steps}")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {self.tolerance}")


DEFAULT = NewtonConfig()


_UNROLL_PRODUCTS = 1152  # products f_i f_j summed in one compiled expression
_UNROLL_FACTORS = 12  # beyond, unrolling compiles for longer than it saves


class Status(IntEnum):
    """How a fit ended."""

    OK = 0
    NO_DATA = 1
    SEPARABLE = 2
    NOT_CONVERGED = 3


class LogisticFit(NamedTuple):
    """MAP estimate of one user's weights and the curvature there.

    Attributes:
        weights: λ̂.
        hessian: H at λ̂.
        gradient_norm: ‖g‖∞ at λ̂.
        num_steps: Newton steps.
        converged: Whether the tolerance was met at a minimum.
        status: A ``Status``.
    """

    weights: Float[jax.Array, " factor"]
    hessian: Float[jax.Array, "factor factor"]
    gradient_norm: Float[jax.Array, ""]
    num_steps: Int[jax.Array, ""]
    converged: Bool[jax.Array, ""]
    status: Int[jax.Array, ""]


class Block(NamedTuple):
    """Users side by side in the last axis, of length 1 in arrays that they share."""

    features: Float[jax.Array, "pair factor _"]
    label: Float[jax.Array, "pair user"]
    sample_weight: Float[jax.Array, "pair _"]
    offset: Float[jax.Array, "_ _"]
    mean: Float[jax.Array, "factor _"]
    precision: Float[jax.Array, "factor factor _"]
    posterior_scale: Float[jax.Array, " _"]


class _State(NamedTuple):
    point: jax.Array  # factor, user
    direction: jax.Array  # factor, user
    length: jax.Array
    reach: jax.Array
    num_steps: jax.Array
    active: jax.Array
    ended: jax.Array


def logit(features: jax.Array, weight: jax.Array) -> jax.Array:
    """``λ·f`` of every answer."""
    total = features[:, 0] * weight[0][None, :]
    for j in range(1, len(weight)):
        total = total + features[:, j] * weight[j][None, :]
    return total


def times(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    """One matrix times one vector for every user."""
    return jnp.sum(matrix * vector[None, :, :], axis=1)


def accumulate(
    block: Block, residual: jax.Array, curvature: jax.Array
) -> tuple[jax.Array, list[jax.Array]]:
    """Data part of the gradient, and the Hessian as `fill` reads it."""
    num_pairs, num_factors, _ = block.features.shape
    if num_factors > _UNROLL_FACTORS:
        features = jnp.broadcast_to(block.features, (*block.features.shape[:2], residual.shape[1]))
        gradient = jnp.einsum("pju,pu->ju", features, residual)
        return gradient, [jnp.einsum("piu,pju->iju", features, features * curvature[:, None, :])]

    def chunk(start, count):
        def rows(x):
            return jax.lax.dynamic_slice_in_dim(x, start, count)

        pairs = list(zip(rows(block.features), rows(residual), rows(curvature), strict=True))
        gradient = sum(r[None, :] * f for f, r, _ in pairs)
        hessian = [
            sum((c * f[i])[None, :] * f[: i + 1] for f, _, c in pairs) for i in range(num_factors)
        ]
        return gradient, hessian

    unroll = min(32, max(1, _UNROLL_PRODUCTS // num_factors**2))
    num_chunks, rest = divmod(num_pairs, unroll)
    zeros = jnp.zeros((num_factors, residual.shape[1]), residual.dtype)
    total = (zeros, [zeros[: i + 1] for i in range(num_factors)])

    def add(k, total):
        return jax.tree.map(jnp.add, total, chunk(k * unroll, unroll))

    if num_chunks:
        total = jax.lax.fori_loop(0, num_chunks, add, total)
    if rest:
        total = jax.tree.map(jnp.add, total, chunk(num_chunks * unroll, rest))
    return total


def _descend(hessian: list[jax.Array], jitter: jax.Array, gradient: jax.Array) -> jax.Array:
    """``-(H + diag(jitter))⁻¹ g``."""
    if len(gradient) <= _UNROLL_FACTORS:
        rows = [row.at[-1].add(jitter[i]) for i, row in enumerate(hessian)]
        return jnp.negative(solve_positive(rows, gradient))
    matrix = jnp.moveaxis(hessian[0], -1, 0) + jax.vmap(jnp.diag)(jitter.T)
    factor = jnp.linalg.cholesky(matrix)
    return -jax.scipy.linalg.cho_solve((factor, True), gradient.T[:, :, None])[:, :, 0].T


def fill(rows: list[jax.Array]) -> jax.Array:
    """Symmetric matrix from the rows of its lower triangle; one with many factors is whole."""
    size = len(rows)
    if rows[0].ndim == 3:
        return rows[0]
    return jnp.stack(
        [jnp.stack([rows[max(i, j)][min(i, j)] for j in range(size)]) for i in range(size)]
    )


def prior_rows(block: Block) -> list[jax.Array]:
    """P in the form of `accumulate`'s Hessian."""
    num_factors = block.features.shape[1]
    if num_factors > _UNROLL_FACTORS:
        return [block.precision]
    return [block.precision[i, : i + 1] for i in range(num_factors)]


def solve_block(block: Block, config: NewtonConfig) -> LogisticFit:
    """Fit the users of one block; the result has the user axis first."""
    num_factors, num_users = block.features.shape[1], block.label.shape[1]
    dtype = block.features.dtype
    eps = float(jnp.finfo(dtype).eps)
    tolerance = max(config.tolerance, 8 * eps)
    diagonal = jnp.moveaxis(jnp.diagonal(block.precision), -1, 0)
    size = jnp.abs(block.precision)
    prior = prior_rows(block)
    weight = block.sample_weight[:, None, :]
    load = jnp.sum(weight * jnp.abs(block.features), axis=0)
    bound = diagonal + jnp.sum(weight * block.features**2, axis=0) / 4
    jitter = jnp.broadcast_to(jnp.where(bound > 0, 8 * eps * bound, 1), (num_factors, num_users))
    widest = jnp.max(jnp.abs(block.features), axis=0, initial=0)

    def evaluate(point):
        p = jax.nn.sigmoid(logit(block.features, point) + block.offset)
        gradient, hessian = accumulate(
            block, block.sample_weight * (p - block.label), block.sample_weight * p * (1 - p)
        )
        gradient = gradient + times(block.precision, point - block.mean)
        return gradient, jax.tree.map(jnp.add, hessian, prior)

    def step(state: _State) -> _State:
        trial = state.point + state.length[None, :] * state.direction
        gradient, hessian = evaluate(trial)
        direction = _descend(hessian, jitter, gradient)
        reach = jnp.max(jnp.abs(logit(block.features, direction)), axis=0, initial=0)
        finite = jnp.isfinite(reach) & jnp.all(jnp.isfinite(direction), axis=0)
        direction = jnp.where(finite[None, :], direction, 0)

        # 1.79 solves exp(x) - x - 1 = x²; a shortened step is safe by construction.
        safe = (state.length * state.reach <= 1.79) | (state.length < 1)
        accept = state.active & (safe | (jnp.sum(gradient * state.direction, axis=0) <= 0))
        slope = jnp.sum(direction * gradient, axis=0)
        limit = tolerance * (load + times(size, jnp.abs(trial - block.mean)))
        small = jnp.all(jnp.abs(gradient) <= limit, axis=0)
        next_small = jnp.all(0.6 * widest * -slope[None, :] <= limit, axis=0)
        # A gradient that vanishes while steps stay long: a minimum only if the prior bounds it.
        held = jnp.sum(direction * times(block.precision, direction), axis=0)
        free = small & (held <= -1e-3 * slope)
        ended = accept & finite & (free | ((reach <= 0.5) & (small | next_small)))
        shorter = jnp.log1p(state.reach) / jnp.maximum(state.reach, 1)
        return _State(
            point=jnp.where(accept[None, :], trial, state.point),
            direction=jnp.where(accept[None, :], direction, state.direction),
            length=jnp.where(accept, 1, shorter),
            reach=jnp.where(accept, reach, state.reach),
            num_steps=state.num_steps + state.active,
            active=state.active & ~ended & (finite | ~accept),
            ended=state.ended | ended,
        )

    def unfinished(carry):
        count, state = carry
        return (count < config.max_steps) & jnp.any(state.active)

    zeros = jnp.zeros((num_factors, num_users), dtype)
    start = _State(
        point=jnp.broadcast_to(block.mean, zeros.shape),
        direction=zeros,
        length=jnp.ones(num_users, dtype),
        reach=jnp.zeros(num_users, dtype),
        num_steps=jnp.zeros(num_users, jnp.int32),
        active=jnp.ones(num_users, bool),
        ended=jnp.zeros(num_users, bool),
    )
    _, state = jax.lax.while_loop(unfinished, lambda c: (c[0] + 1, step(c[1])), (0, start))
    reached = state.ended & (state.reach <= 0.5)
    point = state.point + jnp.where(reached[None, :], state.direction, 0)
    # Apart from the loop, so that nothing is evaluated for a caller who reads only the weight.
    gradient, hessian = evaluate(point)
    hessian = fill(hessian)
    curvature = jnp.moveaxis(jnp.diagonal(hessian), -1, 0)
    flat = jnp.any((curvature <= jitter) & (bound > 0), axis=0)
    converged = reached & ~flat
    no_data = jnp.broadcast_to(~jnp.any(block.sample_weight > 0, axis=0), (num_users,))
    status = jnp.where(state.ended, Status.SEPARABLE, Status.NOT_CONVERGED)
    status = jnp.where(converged, Status.OK, status)
    status = jnp.where(no_data, Status.NO_DATA, status)
    return LogisticFit(
        weights=point.T,
        hessian=jnp.moveaxis(jnp.broadcast_to(hessian, (*hessian.shape[:2], num_users)), -1, 0),
        gradient_norm=jnp.max(jnp.abs(gradient), axis=0),
        num_steps=state.num_steps,
        converged=converged | no_data,
        status=status.astype(jnp.int32),
    )
