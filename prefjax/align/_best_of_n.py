"""Best-of-N for many people at once: of N responses to a prompt each person gets their best.

With features φ and utility t of every response, weights w and covariance C of every user, and the
mean response of the prompt's pool as reference (δφ, δt and δψ are differences from it)

    mean    m = w·δφ + δt
    lcb     m − c √(v + ‖δψ‖²),        v = δφᵀ C δφ
    pwin    σ(m / √(1 + π s v / 8)),   the probability to beat the reference

where ψ is how uncertain φ and t are themselves and s the posterior scale of the basis: a lower
limit and a probability as `prefjax.person.inference` has them. All users are scored by one matrix
product, ``(prompt·response, J) @ (J, user)``, and ``v`` by a second one over the J(J+1)/2 products
of features, in blocks of users, so that memory does not grow with their number. On an accelerator
a short sum is written out instead and computed where the maximum is: no score is stored, and there
are no blocks. The best of N samples of a policy π0 has ``KL(π ‖ π0) ≤ log N − (N−1)/N``.

References:
    arXiv 2503.06358, section 4 (responses for a user); KL of best-of-N: arXiv 2112.09332 and, as a
    bound, arXiv 2401.01879; pwin: MacKay (1992), "The evidence framework".
"""

import functools
import math
import operator
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaln

from prefjax.parallel import platform
from prefjax.person import ResponsePool
from prefjax.person.laplace import moderated_logit
from prefjax.settings import check_settings
from prefjax.types import Array, Gaussian


@dataclass(frozen=True)
class BestOfNConfig:
    """How the best response of a pool is chosen.

    Attributes:
        rule: ``mean``, ``lcb`` or ``pwin`` of the module's equations.
        caution: c of ``lcb``, in standard deviations.
        block_size: Users scored at a time; memory is ``prompt · response · block_size`` numbers. By
            default 128 on a CPU; on an accelerator all, or if scores are stored 2²⁶ of them.

    Raises:
        ValueError: If the rule is unknown, or a number is out of range.
    """

    rule: Literal["mean", "lcb", "pwin"] = "mean"
    caution: float = 1.0
    block_size: int | None = None

    def __post_init__(self):
        if self.rule not in ("mean", "lcb", "pwin"):
            raise ValueError(f"rule must be mean, lcb or pwin, got {self.rule!r}")
        check_settings(self, *(() if self.block_size is None else ("block_size",)))


DEFAULT = BestOfNConfig()
_CPU_BLOCK = 128
_STORED_SCORES = 1 << 26
_MOST_TERMS = 64
"""Of a sum that is written out on an accelerator."""


class BestOfNResult(NamedTuple):
    """What every user gets for every prompt.

    Attributes:
        index: The chosen response; the lowest index wins a tie.
        score: Its score under the rule.
    """

    index: Int[Array, "user prompt"]
    score: Float[Array, "user prompt"]


def best_of_n(
    people: Gaussian,
    pool: ResponsePool,
    *,
    posterior_scale: Float[Array, ""] | float = 1.0,
    config: BestOfNConfig = DEFAULT,
) -> BestOfNResult:
    """Best response of every prompt for every user; pure, for use inside ``jit``.

    Args:
        people: Weights of the users, one each along the leading axis. The population's mean gives
            the population's best. The rule ``mean`` does not read the covariance.
        pool: Responses of each prompt; masked ones are never chosen, whatever they contain.
        posterior_scale: That of the basis; only ``pwin`` reads it.
        config: Rule and block size, static.
    """
    rule = config.rule
    weights, covariance = people
    mask = jnp.asarray(pool.mask)
    size = jnp.maximum(mask.sum(1), 1)

    def centered(values: Array) -> jax.Array:
        values = jnp.where(mask[:, :, None], values, 0)
        return values - (values.sum(1) / size[:, None])[:, None, :]

    features = centered(pool.features)
    utility = centered(jnp.asarray(pool.utility)[:, :, None])[:, :, 0]
    learned = jnp.zeros(utility.shape)
    if pool.spread is not None:
        learned = jnp.sum(jnp.square(centered(pool.spread)), axis=2)
    num_users, num_factors = weights.shape
    row, column = np.triu_indices(num_factors)
    spread = products = jnp.zeros((num_users, 0))
    if rule != "mean":
        # Off the diagonal each product stands for two equal terms of the quadratic form.
        spread = covariance[:, row, column] * jnp.where(row == column, 1.0, 2.0)[None]
        products = features[:, :, row] * features[:, :, column]

    def one_block(block) -> BestOfNResult:
        weights, spread = block
        score = _products(features, weights) + utility[:, :, None]
        if rule != "mean":
            variance = jnp.maximum(_products(products, spread), 0)
            if rule == "lcb":
                score = score - config.caution * jnp.sqrt(variance + learned[:, :, None])
            else:
                score = jax.nn.sigmoid(moderated_logit(score, posterior_scale * variance))
        score = jnp.where(mask[:, :, None], score, -jnp.inf)
        if platform() != "cpu":
            return BestOfNResult(jnp.argmax(score, axis=1).astype(jnp.int32).T, score.max(1).T)
        best = score.max(1)
        place = jnp.arange(score.shape[1])[None, :, None]
        index = jnp.where(score == best[:, None], place, score.shape[1]).min(1)
        return BestOfNResult(index.astype(jnp.int32).T, best.T)

    num_terms = max(num_factors, spread.shape[1])
    block_size = config.block_size or _default_block(num_users, utility.size, num_terms)
    block_size = min(block_size, num_users)
    num_blocks = -(-num_users // block_size)
    padded = [
        jnp.pad(jnp.asarray(array), [(0, num_blocks * block_size - num_users), (0, 0)])
        for array in (weights, spread)
    ]
    blocks = tuple(array.reshape(num_blocks, block_size, array.shape[1]) for array in padded)
    results = jax.lax.map(one_block, blocks)
    return BestOfNResult(*(array.reshape(-1, array.shape[2])[:num_users] for array in results))


def _is_written_out(num_terms: int) -> bool:
    """Whether a sum is computed in the kernel of the maximum, rather than by a matrix product."""
    return platform() != "cpu" and num_terms <= _MOST_TERMS


def _default_block(num_users: int, num_responses: int, num_terms: int) -> int:
    if platform() == "cpu":
        return _CPU_BLOCK
    return num_users if _is_written_out(num_terms) else max(1, _STORED_SCORES // num_responses)


def _products(
    features: Float[Array, "prompt response term"], weights: Float[Array, "user term"]
) -> Float[Array, "prompt response user"]:
    """``Σ_k features[p, n, k] weights[u, k]``."""
    num_terms = weights.shape[1]
    if not _is_written_out(num_terms):
        return jnp.einsum("pnk,uk->pnu", features, weights)
    terms = (features[:, :, None, k] * weights[None, None, :, k] for k in range(num_terms))
    return functools.reduce(operator.add, terms)


_best_of_n_jit = jax.jit(best_of_n, static_argnames="config")


def best_of_n_checked(
    people: Gaussian,
    pool: ResponsePool,
    *,
    posterior_scale: Float[Array, ""] | float = 1.0,
    config: BestOfNConfig = DEFAULT,
) -> BestOfNResult:
    """`best_of_n` from the host: compiled once for each shape, its input checked before.

    Args:
        people: Weights of the users, one each along the leading axis.
        pool: Responses of each prompt, at least one of which is not masked.
        posterior_scale: That of the basis; only ``pwin`` reads it.
        config: Rule and block size.

    Raises:
        ValueError: If features, utilities, a spread, weights or a covariance that is read are not
            finite, a prompt has no response, or there is no user or one with another number of
            weights than there are features. The user, or the prompt and response, are named.
    """
    weights, num_features = people.mean, np.shape(pool.features)[-1]
    if np.ndim(weights) != 2 or not len(weights) or np.shape(weights)[1] != num_features:
        raise ValueError(
            f"The responses have {num_features} features; the weights must be one row of as many "
            f"for each user, got shape {np.shape(weights)}."
        )
    mask = np.asarray(pool.mask, bool)
    empty = np.flatnonzero(~mask.any(axis=1))
    if empty.size:
        raise ValueError(f"Prompt {empty[0]} has no response ({empty.size} prompts in all).")
    finite = np.isfinite(pool.features).all(axis=-1) & np.isfinite(pool.utility)
    if pool.spread is not None:
        finite = finite & np.isfinite(pool.spread).all(axis=-1)
    bad = np.argwhere(mask & ~np.asarray(finite))
    if len(bad):
        raise ValueError(
            f"The reward of response {bad[0][1]} to prompt {bad[0][0]} is not finite "
            f"({len(bad)} responses in all)."
        )
    is_read = {"weights": True, "covariance": config.rule != "mean"}
    for (name, read), array in zip(is_read.items(), people, strict=True):
        bad = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
        if read and bad.size:
            raise ValueError(f"The {name} of user {bad[0]} are not finite ({bad.size} users).")
    scale = np.asarray(posterior_scale, np.float32)
    pool = pool._replace(mask=mask)
    return _best_of_n_jit(people, pool, posterior_scale=scale, config=config)


def kl_bound(num_responses: int) -> float:
    """``log N − (N−1)/N``, nats by which the best of N samples can differ from one sample.

    Args:
        num_responses: N.

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
