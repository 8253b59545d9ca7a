"""Pools of questions and the exact choice of the best one for one user.

A `PairPool` lists its questions. A `ResponsePool` holds the responses of each prompt and means
every pair of two responses of one prompt, each pair once with the lower response id first. With
``z`` a prompt's features centered over its responses, ``G = z H⁻¹ zᵀ`` and ``s = F λ̂ + t``, all
pairs follow from one matrix product,

    v_ab = G_aa + G_bb − 2 G_ab,    m_ab = s_a − s_b,

and in the same way ``fᵀH⁻¹CH⁻¹f`` from ``z H⁻¹CH⁻¹ zᵀ`` and the two draws of ``thompson`` from two
score vectors. Prompts are visited one after the other with the best pair so far in hand, so that
``response²`` numbers per user exist at a time, whatever the number of prompts.

A question is named by one integer: the row of a `PairPool`, ``(prompt·N + first)·N + second`` in a
`ResponsePool` with ``N`` responses a prompt. The lowest index wins a tie; −1 means no question.

References:
    PReF, arXiv 2503.06358, Eq. 8 and § 4.
"""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Int

from prefjax.numerics import logit_shrinkage
from prefjax.person.acquisition import Moments, Rule, moments_of, sample_weights
from prefjax.types import Array, FeatureGap, Gaussian, PRNGKey


class PairPool(NamedTuple):
    """Questions listed one by one.

    Attributes:
        features: φ(first) − φ(second).
        offset: t(first) − t(second).
        mask: False for questions that cannot be asked, such as padding or pairs nobody answered.
        variance: Variance of the logit that no answer of the person removes; None for none.
    """

    features: Float[Array, "candidate factor"]
    offset: Float[Array, " candidate"]
    mask: Bool[Array, " candidate"]
    variance: Float[Array, " candidate"] | None = None


class ResponsePool(NamedTuple):
    """Every pair of two responses of one prompt.

    Attributes:
        features: φ of each response.
        utility: t of each response.
        mask: False for padded responses.
        spread: ψ of each response; see `Items`.
    """

    features: Float[Array, "prompt response factor"]
    utility: Float[Array, "prompt response"]
    mask: Bool[Array, "prompt response"]
    spread: Float[Array, "prompt response column"] | None = None


Pool: TypeAlias = PairPool | ResponsePool


class PoolQuestion(NamedTuple):
    """The best question of a pool.

    Attributes:
        index: Name of the question, −1 when every question is masked, asked or scored NaN.
        score: Its score, −∞ when there is none.
    """

    index: Int[jax.Array, ""]
    score: Float[jax.Array, ""]


def num_candidates(pool: Pool) -> int:
    """One more than the largest question index; counts masked and mirrored pairs."""
    if isinstance(pool, PairPool):
        return pool.mask.shape[0]
    num_prompts, num_responses = pool.mask.shape
    return num_prompts * num_responses * num_responses


def gap_at(pool: Pool, index: Int[Array, ""]) -> FeatureGap:
    """Feature gap ``[factor]`` and offset ``[]`` of one question; zero for index −1."""
    exists = jnp.asarray(index >= 0)
    index = jnp.where(exists, index, 0)
    if isinstance(pool, PairPool):
        features, offset = jnp.asarray(pool.features)[index], jnp.asarray(pool.offset)[index]
        variance = 0.0 if pool.variance is None else jnp.asarray(pool.variance)[index]
    else:
        prompt, first, second = split_index(pool, index)
        response, utility = jnp.asarray(pool.features), jnp.asarray(pool.utility)
        features = response[prompt, first] - response[prompt, second]
        offset = utility[prompt, first] - utility[prompt, second]
        variance = 0.0
        if pool.spread is not None:
            spread = jnp.asarray(pool.spread)
            variance = jnp.sum(jnp.square(spread[prompt, first] - spread[prompt, second]))
    return FeatureGap(*(jnp.where(exists, part, 0) for part in (features, offset, variance)))


def split_index(
    pool: ResponsePool, index: Int[Array, "*question"]
) -> tuple[Int[jax.Array, "*question"], ...]:
    """Prompt, first and second response of questions of a `ResponsePool`."""
    num_responses = pool.mask.shape[1]
    rest, second = jnp.divmod(jnp.asarray(index), num_responses)
    prompt, first = jnp.divmod(rest, num_responses)
    return prompt, first, second


def second_moment(pool: Pool) -> Float[jax.Array, "factor factor"]:
    """C, the mean of ``f fᵀ`` over the unmasked questions of a pool.

    For the pairs of ``n`` responses with centered features z, ``Σ_{a<b} f fᵀ = n Σ z zᵀ``.
    """
    if isinstance(pool, PairPool):
        features, weight = _cleared(pool.features, pool.mask), jnp.ones(())
        count = jnp.sum(pool.mask)
    else:
        features, size = _centered(pool.features, pool.mask)
        weight = size[:, None, None]
        count = jnp.sum(size * (size - 1)) / 2
    rows = (features * jnp.sqrt(weight)).reshape(-1, features.shape[-1])
    return rows.T @ rows / jnp.maximum(count, 1)


def select(
    key: PRNGKey,
    pool: Pool,
    belief: Gaussian,
    asked: Int[Array, " asked"],
    rule: Rule,
    target: Float[Array, "factor factor"] | None = None,
) -> PoolQuestion:
    """Best question of the pool for one user, exactly.

    ``vmap`` over ``belief`` and ``asked`` with the pool shared; memory is ``candidate`` numbers a
    user for a `PairPool` and ``response²`` for a `ResponsePool`.

    Args:
        key: Drives ``thompson`` and ``random``.
        pool: The questions.
        belief: What is known of the user.
        asked: Questions that may not be asked again; entries of −1 say nothing.
        rule: An entry of `RULES`, or ``Rule(function)`` for any elementwise function of `Moments`.
        target: C of ``v_optimal``; by default that of the pool.
    """
    target = second_moment(pool) if target is None else target
    # Negative indices would wrap around; past the end they are dropped.
    asked = jnp.where(asked < 0, num_candidates(pool), asked)
    search = _search_pairs if isinstance(pool, PairPool) else _search_responses
    best = search(key, pool, belief, asked, rule, target)
    return best._replace(
        score=jnp.where(best.index < 0, -jnp.inf, rule.finish(jnp.asarray(best.score)))
    )


def update_covariance(belief: Gaussian, gap: FeatureGap) -> Gaussian:
    """Belief after the curvature of one more answer, by the Sherman–Morrison formula.

    ``H ← H + σ'(m) f fᵀ``, so ``H⁻¹ ← H⁻¹ − σ' g gᵀ / (1 + σ' fᵀg)`` with ``g = H⁻¹f``. The answer
    is not known yet, so the weight stays. With ``c = gap.variance``, f and m are smaller by
    ``κ = 1 / √(1 + π c / 8)``.
    """
    kappa = logit_shrinkage(gap.variance)
    features = kappa * jnp.asarray(gap.features)
    logit = belief.mean @ features + kappa * gap.offset
    slope = jax.nn.sigmoid(logit) * jax.nn.sigmoid(-logit)
    spread = belief.covariance @ features
    shrink = slope / (1 + slope * (features @ spread))
    return belief._replace(
        covariance=belief.covariance - shrink * spread[:, None] * spread[None, :]
    )


def select_batch(
    key: PRNGKey,
    pool: Pool,
    belief: Gaussian,
    asked: Int[Array, " asked"],
    rule: Rule,
    num_questions: int,
    target: Float[Array, "factor factor"] | None = None,
) -> PoolQuestion:
    """Choose several questions to be asked together, greedily.

    After each choice the covariance takes a rank-1 update as if the question had been answered, so
    that the next one asks about something else. A batch of one is `select` with
    ``jax.random.split(key, 1)[0]``.

    Returns:
        `PoolQuestion` with fields of shape ``[num_questions]`` in the order of choice.
    """
    target = second_moment(pool) if target is None else target

    def step(carry, inputs):
        belief, asked = carry
        key, slot = inputs
        question = select(key, pool, belief, asked, rule, target)
        belief = update_covariance(belief, gap_at(pool, question.index))
        return (belief, asked.at[slot].set(question.index)), question

    num_asked = asked.shape[0]
    unasked = jnp.full((num_questions,), -1, dtype=jnp.int32)
    start = (belief, jnp.concatenate([jnp.asarray(asked, jnp.int32), unasked]))
    slots = num_asked + jnp.arange(num_questions)
    _, questions = lax.scan(step, start, (jax.random.split(key, num_questions), slots))
    return questions


def _cleared(
    features: Float[Array, "*rows factor"], mask: Bool[Array, "*rows"]
) -> Float[jax.Array, "*rows factor"]:
    return jnp.where(jnp.asarray(mask)[..., None], features, 0)


def _centered(
    features: Float[Array, "*prompt response factor"], mask: Bool[Array, "*prompt response"]
) -> tuple[Float[jax.Array, "*prompt response factor"], Float[jax.Array, "*prompt"]]:
    """Features minus the prompt's mean, zero where masked, and the number of responses."""
    cleared = _cleared(features, mask)
    size = jnp.sum(jnp.asarray(mask), axis=-1).astype(cleared.dtype)
    mean = jnp.sum(cleared, axis=-2) / jnp.maximum(size, 1)[..., None]
    return _cleared(cleared - mean[..., None, :], mask), size


def _search_pairs(key, pool, belief, asked, rule, target) -> PoolQuestion:
    gap = FeatureGap(
        features=_cleared(pool.features, pool.mask),
        offset=jnp.where(pool.mask, pool.offset, 0),
        variance=0.0 if pool.variance is None else jnp.where(pool.mask, pool.variance, 0),
    )
    scores = rule.rank_of(moments_of(key, gap, belief, target), gap.variance)
    usable = jnp.asarray(pool.mask).at[asked].set(False, mode="drop") & ~jnp.isnan(scores)
    scores = jnp.where(usable, scores, -jnp.inf)
    index = jnp.argmax(scores).astype(jnp.int32)
    best = scores[index]
    return PoolQuestion(index=jnp.where(best > -jnp.inf, index, -1), score=best)


def _search_responses(key, pool, belief, asked, rule, target) -> PoolQuestion:
    num_prompts, size = pool.mask.shape
    key_sample, key_noise = jax.random.split(key)
    samples = sample_weights(key_sample, belief)
    curvature = belief.covariance @ target @ belief.covariance
    upper = jnp.triu(jnp.ones((size, size), bool), k=1)

    def visit(best: PoolQuestion, inputs):
        prompt, features, utility, mask, *spread = inputs
        centered, _ = _centered(features, mask)
        utility = jnp.where(mask, utility, 0)
        rewards = [centered @ weight + utility for weight in (belief.mean, *samples)]
        logit, first_sample, second_sample = (r[:, None] - r[None, :] for r in rewards)
        moments = Moments(
            logit=logit,
            variance=_pairwise(centered, belief.covariance),
            reduction=_pairwise(centered, curvature),
            first_sample=first_sample,
            second_sample=second_sample,
            noise=jax.random.uniform(
                jax.random.fold_in(key_noise, prompt), (size, size), logit.dtype
            ),
        )
        learned = 0.0
        if spread:
            eye = jnp.eye(spread[0].shape[-1], dtype=logit.dtype)
            learned = _pairwise(_cleared(spread[0], mask), eye)
        scores = rule.rank_of(moments, learned)
        usable = upper & mask[:, None] & mask[None, :] & ~jnp.isnan(scores)
        scores = jnp.where(usable, scores, -jnp.inf).reshape(-1)
        start = prompt * size * size
        # Below the start the difference is negative and would wrap around.
        local = jnp.where(asked < start, size * size, asked - start)
        scores = scores.at[local].set(-jnp.inf, mode="drop")
        index = jnp.argmax(scores)
        better = scores[index] > best.score
        return PoolQuestion(
            index=jnp.where(better, (start + index).astype(jnp.int32), best.index),
            score=jnp.where(better, scores[index], best.score),
        ), None

    prompts = jnp.arange(num_prompts, dtype=jnp.int32)
    inputs = (prompts, *(jnp.asarray(x) for x in pool if x is not None))
    dtype = jnp.result_type(pool.features, belief.covariance)
    none = PoolQuestion(index=jnp.int32(-1), score=jnp.asarray(-jnp.inf, dtype))
    best, _ = lax.scan(visit, none, inputs)
    return best


def _pairwise(
    features: Float[Array, "response factor"], metric: Float[Array, "factor factor"]
) -> Float[jax.Array, "response response"]:
    """``(f_a − f_b)ᵀ M (f_a − f_b)`` for all pairs, by one matrix product."""
    gram = features @ metric @ features.T
    square = jnp.diagonal(gram)
    return jnp.maximum(square[:, None] + square[None, :] - 2 * gram, 0)
