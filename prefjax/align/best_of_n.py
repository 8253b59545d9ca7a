"""Best-of-N for many people at once: of N responses to a prompt each person gets their best.

With features φ and utility t of every response, weights w and covariance C of every user, and the
mean response of the prompt's pool as reference (δφ, δt are differences from it)

    mean    m = w·δφ + δt
    lcb     m − c √v,                v = δφᵀ C δφ
    pwin    σ(m / √(1 + π v / 8)),   the probability to beat the reference

All users are scored by one matrix product, ``(prompt·response, J) @ (J, user)``, and ``v`` by a
second one over the J(J+1)/2 products of features, in blocks of users, so that memory does not grow
with their number. The best of N samples of a policy π0 has ``KL(π ‖ π0) ≤ log N − (N−1)/N``.

References:
    arXiv 2503.06358, section 4 (responses for a user); KL of best-of-N: arXiv 2112.09332 and, as a
    bound, arXiv 2401.01879; pwin: MacKay (1992), "The evidence framework".
"""

import math
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaln

from prefjax.person import ResponsePool
from prefjax.types import Array

Rule: TypeAlias = Literal["mean", "lcb", "pwin"]


class Choice(NamedTuple):
    """What every user gets for every prompt.

    Attributes:
        index: The chosen response; the lowest index wins a tie.
        score: Its score under the rule.
    """

    index: Int[Array, "user prompt"]
    score: Float[Array, "user prompt"]


def choose(
    pool: ResponsePool,
    weights: Float[Array, "user factor"],
    covariance: Float[Array, "user factor factor"] | None = None,
    *,
    rule: Rule = "mean",
    caution: float = 1.0,
    block_size: int = 128,
) -> Choice:
    """Best response of every prompt for every user; pure, for use inside ``jit``.

    Args:
        pool: Responses of each prompt; masked ones are never chosen, whatever they contain.
        weights: Weights of each user. Those of a user without answers are the prior mean, which
            gives the population's best.
        covariance: Posterior covariance of each user, for ``lcb`` and ``pwin``.
        rule: ``mean``, ``lcb`` or ``pwin``.
        caution: c of ``lcb``.
        block_size: Users scored at a time; memory is ``prompt · response · block_size`` numbers.

    Raises:
        ValueError: If the rule is unknown or lacks the covariance.
    """
    if rule not in ("mean", "lcb", "pwin"):
        raise ValueError(f"rule must be mean, lcb or pwin, got {rule!r}")
    mask = jnp.asarray(pool.mask)
    size = jnp.maximum(mask.sum(1), 1)
    features = jnp.where(mask[:, :, None], pool.features, 0)
    features -= (features.sum(1) / size[:, None])[:, None, :]
    utility = jnp.where(mask, pool.utility, 0)
    utility -= (utility.sum(1) / size)[:, None]
    num_users, num_factors = weights.shape
    row, column = np.triu_indices(num_factors)
    spread = products = jnp.zeros((num_users, 0))
    if rule != "mean":
        if covariance is None:
            raise ValueError(f"the rule {rule} needs the covariance of the weights")
        # Off the diagonal each product stands for two equal terms of the quadratic form.
        spread = covariance[:, row, column] * jnp.where(row == column, 1.0, 2.0)[None]
        products = features[:, :, row] * features[:, :, column]

    def one_block(block) -> Choice:
        weights, spread = block
        score = jnp.einsum("pnj,uj->pnu", features, weights) + utility[:, :, None]
        if rule != "mean":
            variance = jnp.maximum(jnp.einsum("pnk,uk->pnu", products, spread), 0)
            if rule == "lcb":
                score = score - caution * jnp.sqrt(variance)
            else:
                score = jax.nn.sigmoid(score / jnp.sqrt(1 + math.pi / 8 * variance))
        score = jnp.where(mask[:, :, None], score, -jnp.inf)
        best = score.max(1)
        place = jnp.arange(score.shape[1])[None, :, None]
        index = jnp.where(score == best[:, None], place, score.shape[1]).min(1)
        return Choice(index.astype(jnp.int32).T, best.T)

    block_size = min(block_size, num_users)
    num_blocks = -(-num_users // block_size)
    padded = [
        jnp.pad(jnp.asarray(array), [(0, num_blocks * block_size - num_users), (0, 0)])
        for array in (weights, spread)
    ]
    blocks = tuple(array.reshape(num_blocks, block_size, array.shape[1]) for array in padded)
    found = jax.lax.map(one_block, blocks)
    return Choice(*(array.reshape(-1, array.shape[2])[:num_users] for array in found))


_choose_jit = jax.jit(choose, static_argnames=("rule", "caution", "block_size"))


def best_of_n(
    pool: ResponsePool,
    weights: Float[Array, "user factor"],
    covariance: Float[Array, "user factor factor"] | None = None,
    *,
    rule: Rule = "mean",
    caution: float = 1.0,
    block_size: int = 128,
) -> Choice:
    """``choose`` from the host: the input is checked before.

    Args:
        pool: See ``choose``, as are ``weight``, ``covariance``, ``rule``, ``caution`` and
            ``block_size``.
        weights: See ``choose``.
        covariance: See ``choose``.
        rule: See ``choose``.
        caution: See ``choose``.
        block_size: See ``choose``.

    Raises:
        ValueError: If features, utilities or weights are not finite, a prompt has no response, or
            there is no user or one with another number of weights than there are features; and as
            ``choose``.
    """
    if np.ndim(weights) != 2 or not len(weights) or len(weights[0]) != np.shape(pool.features)[-1]:
        raise ValueError(
            f"The responses have {np.shape(pool.features)[-1]} features; the weights must be one "
            f"row of as many for each user, got shape {np.shape(weights)}."
        )
    mask = np.asarray(pool.mask, bool)
    empty = np.flatnonzero(~mask.any(axis=1))
    if empty.size:
        raise ValueError(f"Prompt {empty[0]} has no response ({empty.size} prompts in all).")
    finite = np.isfinite(pool.features).all(axis=-1) & np.isfinite(pool.utility)
    bad = np.argwhere(mask & ~np.asarray(finite))
    if len(bad):
        raise ValueError(
            f"The reward of response {bad[0][1]} to prompt {bad[0][0]} is not finite "
            f"({len(bad)} responses in all)."
        )
    for name, array in (("weights", weights), ("covariance", covariance)):
        if array is not None:
            bad = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
            if bad.size:
                raise ValueError(f"The {name} of user {bad[0]} are not finite ({bad.size} users).")
    return _choose_jit(
        pool._replace(mask=mask),
        weights,
        covariance,
        rule=rule,
        caution=caution,
        block_size=block_size,
    )


def kl_bound(num_responses: int) -> float:
    """``log N − (N−1)/N``, nats by which the best of N samples can differ from one sample.

    >>> round(kl_bound(16), 3)
    1.835

    References:
        arXiv 2401.01879: the expression is an upper bound, tight for small N.
    """
    return math.log(num_responses) - (num_responses - 1) / num_responses


def regret(
    truth: Float[Array, "user prompt response"],
    index: Int[Array, "user prompt"],
    mask: jax.Array | np.ndarray,
) -> Float[jax.Array, "user prompt"]:
    """True reward of the best response of the pool minus that of the chosen one.

    Args:
        truth: True reward of every response for every user.
        index: Chosen responses.
        mask: ``[prompt, response]``, False for padding.
    """
    truth = jnp.where(jnp.asarray(mask)[None], truth, -jnp.inf)
    return truth.max(2) - jnp.take_along_axis(truth, index[:, :, None], axis=2)[:, :, 0]


@partial(jax.jit, static_argnames="sizes")
def over_optimization(
    proxy: Float[Array, "*rest response"],
    reward: Float[Array, "*rest response"],
    sizes: tuple[int, ...],
) -> Float[jax.Array, "*rest size"]:
    """Expected reward of the best of n by a proxy, for each n, without drawing subsets.

    Of M samples sorted by the proxy, falling, the one at place i is the best of a random subset of
    size n with probability ``C(M−1−i, n−1) / C(M, n)``. With the proxy itself as reward this is
    what the proxy promises; with the true reward what is had.

    Args:
        proxy: What is maximized.
        reward: What is reported.
        sizes: Each n, between 1 and M.

    Raises:
        ValueError: If a size is not between 1 and M.

    >>> over_optimization(jnp.array([3.0, 1.0, 2.0]), jnp.array([1.0, 0.0, 0.0]), (1, 3)).tolist()
    [0.3333333432674408, 1.0]
    """
    num = proxy.shape[-1]
    if not all(1 <= n <= num for n in sizes):
        raise ValueError(f"sizes must lie in [1, {num}], got {sizes}")
    place = np.arange(num)

    def log_choose(a, b):
        return gammaln(a + 1) - gammaln(b + 1) - gammaln(a - b + 1)

    chance = np.zeros((num, len(sizes)))
    for k, n in enumerate(sizes):
        able = place <= num - n
        chance[able, k] = np.exp(log_choose(num - 1 - place[able], n - 1) - log_choose(num, n))
    order = jnp.argsort(proxy, axis=-1, descending=True)
    return jnp.take_along_axis(reward, order, axis=-1) @ jnp.asarray(chance, reward.dtype)
