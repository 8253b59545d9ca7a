"""The fit of one user, and the batching rule by which ``jax.vmap(fit)`` solves users in blocks.

On a CPU a block of users fits in the first-level cache and stops when its last user has; on an
accelerator all users are one block. Not differentiable: differentiate the optimality condition
``g = 0`` instead.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.logistic.newton import DEFAULT, Block, LogisticFit, NewtonConfig, solve_block
from prefjax.types import Array

_BLOCK_ENTRIES = 7680  # numbers in the features of one block, 30 KB in single precision
_MIN_BLOCK = 32


def fit(
    features: Float[Array, "pair factor"],
    label: Float[Array, " pair"],
    sample_weight: Float[Array, " pair"],
    *,
    mean: Float[Array, " factor"],
    precision: Float[Array, "factor factor"],
    offset: Float[Array, " pair"] | None = None,
    config: NewtonConfig = DEFAULT,
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
    dtype = jnp.result_type(features, mean)
    counted = jnp.asarray(sample_weight) > 0
    return _make_solver(config)(
        jnp.where(counted[:, None], features, 0).astype(dtype),
        jnp.where(counted, label, 0.5).astype(dtype),
        jnp.where(counted, sample_weight, 0).astype(dtype),
        (jnp.zeros(1) if offset is None else jnp.where(counted, offset, 0)).astype(dtype),
        jnp.asarray(mean, dtype),
        jnp.asarray(precision, dtype),
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
        fits = many(*users)
        return fits, jax.tree.map(lambda _: True, fits)

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
        return split, jax.tree.map(lambda _: True, split)

    return one


def _solve_blocks(users: Sequence[jax.Array], config: NewtonConfig) -> LogisticFit:
    """Split users into blocks, put them last, and solve block after block."""
    num_users = users[1].shape[0]
    size = num_users
    if jax.default_backend() == "cpu":
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
        block = jax.lax.optimization_barrier(Block(*(jnp.moveaxis(x, 0, -1) for x in arrays)))
        return solve_block(block, config)

    fits = jax.lax.map(solve, [split(x) for x, o in zip(users, own, strict=True) if o])
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:num_users], fits)
