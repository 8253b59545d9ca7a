"""The fits of one user, and the batching rule by which ``jax.vmap`` of them solves users in blocks.

On a CPU a block of users fits in the first-level cache and stops when its last user has; on an
accelerator all users are one block. Each fit is a compiled program with its settings static, so
that a second call from the host compiles nothing. Not differentiable: differentiate the optimality
condition ``g = 0`` instead.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.logistic import gaussian, newton, one_pass
from prefjax.logistic.gaussian import GaussianConfig
from prefjax.logistic.newton import Block, LogisticFit, NewtonConfig
from prefjax.numerics import logit_shrinkage
from prefjax.parallel import platform
from prefjax.types import Array

_BLOCK_ENTRIES = 7680  # numbers in the features of one block, 30 KB in single precision
_MIN_BLOCK = 32


Solver: TypeAlias = NewtonConfig | GaussianConfig
"""Settings of `solve`, which say by their type which posterior is meant."""


@partial(jax.jit, static_argnames="config")
def fit(
    features: Float[Array, "pair factor"],
    label: Float[Array, " pair"],
    sample_weight: Float[Array, " pair"],
    *,
    mean: Float[Array, " factor"],
    precision: Float[Array, "factor factor"],
    offset: Float[Array, " pair"] | None = None,
    config: NewtonConfig = newton.DEFAULT,
) -> LogisticFit:
    """Minimize ``Σ_i w_i ℓ(λ·f_i + o_i, y_i) + ½ (λ-μ)ᵀ P (λ-μ)`` over the weights λ of one user.

    Use ``jax.vmap`` for many users; prior, features or labels may be shared (``in_axes=None``).

    Args:
        features: f, first minus second response of each answer.
        label: y in [0, 1], the probability that the first is preferred.
        sample_weight: w ≥ 0; 2 means the answer given twice, 0 that it is absent, whatever it
            contains.
        mean: μ.
        precision: P, the inverse covariance of the prior. It may be singular or zero, then
            separable answers end as ``SEPARABLE``, and directions in which there is neither data
            nor prior stay at μ.
        offset: o, logit before λ enters; default 0.
        config: When to stop.

    Returns:
        The fit; its fields are finite for finite input. Without answers the weight is exactly μ.

    References:
        arXiv 2503.06358, Eq. 5.

    Examples:
        >>> prior = {"mean": jnp.zeros(1), "precision": jnp.eye(1)}
        >>> answer = fit(jnp.ones((1, 1)), jnp.ones(1), jnp.ones(1), **prior)
        >>> round(float(answer.weights[0]), 4)  # solves λ = σ(-λ)
        0.4011
    """
    user = features, label, sample_weight, offset, mean, precision
    if platform() != "cpu" and one_pass.fits(*features.shape):
        return _make_solver(one_pass.solve_block, config)(*_clean(*user, 0.0, as_they_lie=True))
    return _make_solver(newton.solve_block, config)(*_clean(*user, 0.0))


@partial(jax.jit, static_argnames="config")
def fit_gaussian(
    features: Float[Array, "pair factor"],
    label: Float[Array, " pair"],
    sample_weight: Float[Array, " pair"],
    *,
    mean: Float[Array, " factor"],
    precision: Float[Array, "factor factor"],
    offset: Float[Array, " pair"] | None = None,
    variance: Float[Array, " pair"] | None = None,
    posterior_scale: Float[Array, ""] | float = 1.0,
    config: GaussianConfig = gaussian.DEFAULT,
) -> LogisticFit:
    """The Gaussian N(m, S) closest to the posterior of one user's weights; see its module.

    Use ``jax.vmap`` for many users, as of `fit`.

    Args:
        features: f, first minus second response of each answer.
        label: y in [0, 1], the probability that the first is preferred.
        sample_weight: w ≥ 0; 2 means the answer given twice, 0 that it is absent, whatever it
            contains.
        mean: μ.
        precision: P, the inverse covariance of the prior, positive definite.
        offset: o, logit before λ enters; default 0.
        variance: c ≥ 0, variance of the logit in which λ has no part, default 0. The answer to
            ``z + N(0, c)`` is nearly that to ``κ z``, ``κ = 1 / √(1 + π c / 8)``, and is read so.
        posterior_scale: s, that of the `RewardBasis` with whose features people are described.
        config: When to stop.

    Returns:
        m as ``weights`` and S⁻¹ as ``hessian``; the gradient is that before the last step. Without
        answers exactly μ and P.

    Examples:
        >>> prior = {"mean": jnp.zeros(1), "precision": jnp.eye(1)}
        >>> answer = fit_gaussian(jnp.ones((1, 1)), jnp.ones(1), jnp.ones(1), **prior)
        >>> round(float(answer.weights[0]), 2)
        0.41
    """
    if variance is not None:
        kappa = logit_shrinkage(variance).astype(jnp.result_type(features))
        features = kappa[:, None] * features
        offset = None if offset is None else kappa * offset
    user = features, label, sample_weight, offset, mean, precision
    return _make_solver(gaussian.solve_block, config)(*_clean(*user, posterior_scale))


@partial(jax.jit, static_argnames="config")
def solve(
    features: Float[Array, "pair factor"],
    label: Float[Array, " pair"],
    sample_weight: Float[Array, " pair"],
    *,
    mean: Float[Array, " factor"],
    precision: Float[Array, "factor factor"],
    offset: Float[Array, " pair"] | None = None,
    variance: Float[Array, " pair"] | None = None,
    posterior_scale: Float[Array, ""] | float = 1.0,
    config: Solver = gaussian.DEFAULT,
) -> LogisticFit:
    """`fit_gaussian`, or under a `NewtonConfig` `fit`, which knows no variance and no scale.

    Args:
        features: As in `fit_gaussian`.
        label: As in `fit_gaussian`.
        sample_weight: As in `fit_gaussian`.
        mean: As in `fit_gaussian`.
        precision: As in `fit_gaussian`.
        offset: As in `fit_gaussian`.
        variance: As in `fit_gaussian`.
        posterior_scale: As in `fit_gaussian`.
        config: Says by its type which of the two posteriors is meant.
    """
    prior = {"mean": mean, "precision": precision, "offset": offset}
    if isinstance(config, NewtonConfig):
        return fit(features, label, sample_weight, **prior, config=config)
    return fit_gaussian(
        features,
        label,
        sample_weight,
        **prior,
        variance=variance,
        posterior_scale=posterior_scale,
        config=config,
    )


def _clean(
    features, label, sample_weight, offset, mean, precision, posterior_scale, as_they_lie=False
):
    """Arrays of one dtype in the order of `Block`; rows of weight 0 hold zeros.

    With ``as_they_lie`` labels and weights are not copied, and the solve leaves such rows out.
    """
    dtype = jnp.result_type(features, mean)
    counted = jnp.asarray(sample_weight) > 0
    arrays = (
        jnp.where(counted[:, None], features, 0),
        label if as_they_lie else jnp.where(counted, label, 0.5),
        sample_weight if as_they_lie else jnp.where(counted, sample_weight, 0),
        jnp.zeros(1) if offset is None else jnp.where(counted, offset, 0),
        mean,
        precision,
        posterior_scale,
    )
    return (jnp.asarray(array, dtype) for array in arrays)


@lru_cache(maxsize=32)
def _make_solver(solve_block: Callable[..., LogisticFit], config: Any) -> Callable:
    """A solve for one user, with the rule that turns ``vmap`` into blocks of users."""

    @jax.custom_batching.custom_vmap
    def one(*user):
        fits = many(*(x[None] for x in user))
        return jax.tree.map(lambda x: x[0], fits)

    @one.def_vmap
    def _(size, batched, *user):
        users = [x if is_batched else x[None] for x, is_batched in zip(user, batched, strict=True)]
        users[1] = jnp.broadcast_to(users[1], (size, *users[1].shape[1:]))
        fits = many(*users)
        return fits, jax.tree.map(lambda _: True, fits)

    @jax.custom_batching.custom_vmap
    def many(*users):
        return _solve_blocks(users, partial(solve_block, config=config))

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
        return split, jax.tree.map(lambda _: True, split)

    return one


def _solve_blocks(
    users: Sequence[jax.Array], solve_block: Callable[[Block], LogisticFit]
) -> LogisticFit:
    """Split users into blocks, put them last, and solve block after block."""
    num_users = users[1].shape[0]
    size = num_users
    if platform() == "cpu":
        size = min(num_users, max(_MIN_BLOCK, _BLOCK_ENTRIES // max(1, users[0][0].size)))
    num_blocks = -(-num_users // size)
    own = [x.shape[0] == num_users for x in users]

    def split(x):
        padding = [(0, num_blocks * size - num_users)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, padding).reshape(num_blocks, size, *x.shape[1:])

    def solve(blocked):
        given = iter(blocked)
        arrays = (next(given) if o else x for x, o in zip(users, own, strict=True))
        # Without the barrier the transposition is repeated wherever the arrays are read.
        block = Block(*(jnp.moveaxis(x, 0, -1) for x in arrays))
        if platform() == "cpu":
            return solve_block(jax.lax.optimization_barrier(block))
        # On an accelerator only that of the features is worth a copy.
        features = jax.lax.optimization_barrier(block.features)
        return solve_block(block._replace(features=features))

    fits = jax.lax.map(solve, [split(x) for x, o in zip(users, own, strict=True) if o])
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:num_users], fits)
