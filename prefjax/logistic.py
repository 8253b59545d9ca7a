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

Many users: ``jax.vmap(fit)`` carries its own batching rule. Users lie side by side in the last axis
of blocks that fit in the cache, the algebra over factors is unrolled, and a block stops when its
last user has. Not differentiable; differentiate the optimality condition ``g = 0`` instead.

References:
    PReF, arXiv 2503.06358, Eq. 5. The step: Bach, arXiv 0910.4627, Proposition 2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax.numerics import solve_positive
from prefjax.types import Array, GaussianPrior


@dataclass(frozen=True)
class NewtonConfig:
    """When to stop.

    Attributes:
        max_steps: Most evaluations of gradient and Hessian.
        tolerance: Stop when every ``|g_j| ≤ tolerance · (Σ_i w_i |f_ij| + Σ_k |P_jk (λ-μ)_k|)``,
            the size of the terms that must cancel; never below eight units of rounding.
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

_BLOCK = 256  # measured best of 128 ... 2048 at 20 answers and 6 factors on two x86 cores
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
        weight: λ̂; the last, unevaluated Newton step is included.
        hessian: H at the last evaluated point.
        gradient_norm: ‖g‖∞ there.
        num_steps: Evaluations of gradient and Hessian.
        converged: Whether the tolerance was met at a minimum.
        status: A ``Status``.
    """

    weight: Float[Array, " factor"]
    hessian: Float[Array, "factor factor"]
    gradient_norm: Float[Array, ""]
    num_steps: Int[Array, ""]
    converged: Bool[Array, ""]
    status: Int[Array, ""]


def fit(
    features: Float[Array, "pair factor"],
    label: Float[Array, " pair"],
    weight: Float[Array, " pair"],
    *,
    prior: GaussianPrior,
    offset: Float[Array, " pair"] | None = None,
    config: NewtonConfig = DEFAULT,
) -> LogisticFit:
    """Minimize ``Σ_i w_i ℓ(λ·f_i + o_i, y_i) + ½ (λ-μ)ᵀ P (λ-μ)`` over the weights λ of one user.

    Use ``jax.vmap`` for many users; the prior, features or labels may be shared (``in_axes=None``).

    Args:
        features: f, first minus second response of each answer.
        label: y in [0, 1], the probability that the first is preferred.
        weight: w ≥ 0; 2 means the answer given twice, 0 that it is absent, whatever it contains.
        prior: μ and P. P may be singular or zero, then separable answers end as ``SEPARABLE``, and
            directions in which there is neither data nor prior stay at μ.
        offset: o, logit before λ enters; default 0.
        config: When to stop.

    Returns:
        The fit; its fields are finite for finite input. Without answers the weight is exactly μ.

    References:
        arXiv 2503.06358, Eq. 5.

    Examples:
        >>> prior = GaussianPrior(jnp.zeros(1), jnp.eye(1))
        >>> answer = fit(jnp.ones((1, 1)), jnp.ones(1), jnp.ones(1), prior=prior)
        >>> round(float(answer.weight[0]), 4)  # solves λ = σ(-λ)
        0.4011
    """
    dtype = jnp.result_type(features, prior.mean)
    kept = weight > 0
    return _make_solver(config)(
        jnp.where(kept[:, None], features, 0).astype(dtype),
        jnp.where(kept, label, 0.5).astype(dtype),
        jnp.where(kept, weight, 0).astype(dtype),
        (jnp.zeros(1) if offset is None else jnp.where(kept, offset, 0)).astype(dtype),
        prior.mean.astype(dtype),
        prior.precision.astype(dtype),
    )


@lru_cache(maxsize=32)
def _make_solver(config: NewtonConfig) -> Callable[..., LogisticFit]:
    """The solve for one user, with the rule that turns ``vmap`` into blocks of users."""

    @jax.custom_batching.custom_vmap
    def one(*user):
        fits = many(*(x[None] for x in user))
        return jax.tree.map(lambda x: x[0], fits)

    @one.def_vmap
    def _(size, batched, *user):
        users = [x if is_batched else x[None] for x, is_batched in zip(user, batched, strict=True)]
        users[1] = jnp.broadcast_to(users[1], (size, *users[1].shape[1:]))
        return many(*users), LogisticFit(*(True for _ in LogisticFit._fields))

    @jax.custom_batching.custom_vmap
    def many(*users):
        return _solve_blocks(users, config)

    @many.def_vmap
    def _(size, batched, *users):
        num_users = users[1].shape[1 if batched[1] else 0]

        def merge(x, is_batched, spread):
            if not is_batched and x.shape[0] == 1 and not spread:
                return x
            x = x if is_batched else x[None]
            return jnp.broadcast_to(x, (size, num_users, *x.shape[2:])).reshape(-1, *x.shape[2:])

        merged = [merge(x, b, i == 1) for i, (x, b) in enumerate(zip(users, batched, strict=True))]
        fits = many(*merged)
        split = jax.tree.map(lambda x: x.reshape(size, num_users, *x.shape[1:]), fits)
        return split, LogisticFit(*(True for _ in LogisticFit._fields))

    return one


class _Block(NamedTuple):
    """Users side by side in the last axis, of length 1 in arrays that they share."""

    features: Float[Array, "pair factor _"]
    label: Float[Array, "pair user"]
    weight: Float[Array, "pair _"]
    offset: Float[Array, "_ _"]
    mean: Float[Array, "factor _"]
    precision: Float[Array, "factor factor _"]


class _State(NamedTuple):
    point: Float[Array, "factor user"]
    direction: Float[Array, "factor user"]
    length: Float[Array, " user"]
    reach: Float[Array, " user"]
    gradient: Float[Array, "factor user"]
    hessian: list[jax.Array]
    num_steps: Int[Array, " user"]
    active: Bool[Array, " user"]
    ended: Bool[Array, " user"]


def _solve_blocks(users: Sequence[jax.Array], config: NewtonConfig) -> LogisticFit:
    """Split users into blocks, put them last, and solve block after block."""
    num_users = users[1].shape[0]
    size = min(num_users, _BLOCK) if jax.default_backend() == "cpu" else num_users
    num_blocks = -(-num_users // size)
    own = [x.shape[0] == num_users for x in users]

    def split(x):
        padding = [(0, num_blocks * size - num_users)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, padding).reshape(num_blocks, size, *x.shape[1:])

    def solve(blocked):
        given = iter(blocked)
        arrays = (next(given) if o else x for x, o in zip(users, own, strict=True))
        return _solve_block(_Block(*(jnp.moveaxis(x, 0, -1) for x in arrays)), config)

    fits = jax.lax.map(solve, [split(x) for x, o in zip(users, own, strict=True) if o])
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:num_users], fits)


def _logit(features: jax.Array, weight: jax.Array) -> jax.Array:
    return sum(features[:, j] * weight[j][None, :] for j in range(1, len(weight))) + (
        features[:, 0] * weight[0][None, :]
    )


def _times(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    return jnp.sum(matrix * vector[None, :, :], axis=1)


def _accumulate(
    block: _Block, residual: jax.Array, curvature: jax.Array
) -> tuple[jax.Array, list[jax.Array]]:
    """Data part of the gradient, and the Hessian as `_fill` reads it."""
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
        return -solve_positive(rows, gradient)
    matrix = jnp.moveaxis(hessian[0], -1, 0) + jax.vmap(jnp.diag)(jitter.T)
    factor = jnp.linalg.cholesky(matrix)
    return -jax.scipy.linalg.cho_solve((factor, True), gradient.T[:, :, None])[:, :, 0].T


def _fill(rows: list[jax.Array]) -> jax.Array:
    """Symmetric matrix from the rows of its lower triangle; one with many factors is whole."""
    size = len(rows)
    if rows[0].ndim == 3:
        return rows[0]
    return jnp.stack(
        [jnp.stack([rows[max(i, j)][min(i, j)] for j in range(size)]) for i in range(size)]
    )


def _solve_block(block: _Block, config: NewtonConfig) -> LogisticFit:
    num_factors, num_users = block.features.shape[1], block.label.shape[1]
    dtype = block.features.dtype
    eps = float(jnp.finfo(dtype).eps)
    tolerance = max(config.tolerance, 8 * eps)
    diagonal = jnp.moveaxis(jnp.diagonal(block.precision), -1, 0)
    size = jnp.abs(block.precision)
    unrolled = num_factors <= _UNROLL_FACTORS
    prior_rows = (
        [block.precision[i, : i + 1] for i in range(num_factors)] if unrolled else [block.precision]
    )
    weight = block.weight[:, None, :]
    load = jnp.sum(weight * jnp.abs(block.features), axis=0)
    bound = diagonal + jnp.sum(weight * block.features**2, axis=0) / 4
    jitter = jnp.broadcast_to(jnp.where(bound > 0, 8 * eps * bound, 1), (num_factors, num_users))

    def step(state: _State) -> _State:
        trial = state.point + state.length[None, :] * state.direction
        shift = trial - block.mean
        p = jax.nn.sigmoid(_logit(block.features, trial) + block.offset)
        gradient, hessian = _accumulate(
            block, block.weight * (p - block.label), block.weight * p * (1 - p)
        )
        gradient = gradient + _times(block.precision, shift)
        hessian = jax.tree.map(jnp.add, hessian, prior_rows)
        direction = _descend(hessian, jitter, gradient)
        reach = jnp.max(jnp.abs(_logit(block.features, direction)), axis=0, initial=0)
        finite = jnp.isfinite(reach) & jnp.all(jnp.isfinite(direction), axis=0)
        direction = jnp.where(finite[None, :], direction, 0)

        # 1.79 solves exp(x) - x - 1 = x²; a shortened step is safe by construction.
        safe = (state.length * state.reach <= 1.79) | (state.length < 1)
        accept = state.active & (safe | (jnp.sum(gradient * state.direction, axis=0) <= 0))
        terms = load + _times(size, jnp.abs(shift))
        small = jnp.all(jnp.abs(gradient) <= tolerance * terms, axis=0)
        # A gradient that vanishes while steps stay long: a minimum only if the prior bounds it.
        held = jnp.sum(direction * _times(block.precision, direction), axis=0)
        free = held <= -1e-3 * jnp.sum(direction * gradient, axis=0)
        ended = accept & finite & small & ((reach <= 0.5) | free)

        def pick(new, old):
            return jnp.where(accept.reshape((1,) * (new.ndim - 1) + (-1,)), new, old)

        shorter = jnp.log1p(state.reach) / jnp.maximum(state.reach, 1)
        return _State(
            point=pick(trial, state.point),
            direction=pick(direction, state.direction),
            length=pick(jnp.ones_like(reach), shorter),
            reach=pick(reach, state.reach),
            gradient=pick(gradient, state.gradient),
            hessian=jax.tree.map(pick, hessian, state.hessian),
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
        gradient=zeros,
        hessian=[jnp.zeros((*row.shape[:-1], num_users), dtype) for row in prior_rows],
        num_steps=jnp.zeros(num_users, jnp.int32),
        active=jnp.ones(num_users, bool),
        ended=jnp.zeros(num_users, bool),
    )
    _, state = jax.lax.while_loop(unfinished, lambda c: (c[0] + 1, step(c[1])), (0, start))
    hessian = _fill(state.hessian)
    curvature = jnp.moveaxis(jnp.diagonal(hessian), -1, 0)
    flat = jnp.any((curvature <= jitter) & (bound > 0), axis=0)
    separable = state.ended & ((state.reach > 0.5) | flat)
    converged = state.ended & ~separable
    no_data = jnp.broadcast_to(~jnp.any(block.weight > 0, axis=0), (num_users,))
    status = jnp.where(separable, Status.SEPARABLE, Status.NOT_CONVERGED)
    status = jnp.where(converged, Status.OK, status)
    status = jnp.where(no_data, Status.NO_DATA, status)
    point = state.point + jnp.where(converged[None, :], state.direction, 0)
    return LogisticFit(
        weight=point.T,
        hessian=jnp.moveaxis(hessian, -1, 0),
        gradient_norm=jnp.max(jnp.abs(state.gradient), axis=0),
        num_steps=state.num_steps,
        converged=converged | no_data,
        status=status.astype(jnp.int32),
    )
