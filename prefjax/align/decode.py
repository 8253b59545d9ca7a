r"""Value-augmented decoding: one language model, each row of a batch steered for its own user.

With the k most likely next tokens a ∈ top and one number for each, ``q(a) = w·V(s·a)`` from a value
head after the token, or ``w·A(s, a)`` from an advantage head,

    logit(a) += β (q(a) − mean_top q)    for a ∈ top,        KL_t = E_π[log π − log π0]

The value head reads all k candidates in one call of the model, none of which sees another, and the
cache keeps the entry of the chosen one: there is no second call. A token outside the k may be drawn
as well; by the Gumbel trick the only one that can be is known beforehand, and is read along as
candidate k + 1, so that nothing is cut off. The advantage head needs no further call at all.

``kl`` sums the exact divergence of every step along the drawn response; its mean over responses
estimates KL(π ‖ π0) of whole responses. With β = 0 or w = 0 the samples are those of
``lm.generate`` with the same key, token by token, and kl is 0.

References:
    Value-augmented sampling, arXiv 2405.06639.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax import lm
from prefjax.align.heads import (
    AdvantageHead,
    ValueHead,
    increment,
    steered_advantage,
    summary,
    value,
)
from prefjax.align.samples import DecodeConfig, Prompts
from prefjax.lm import Cache
from prefjax.types import Array, Params, PRNGKey


class Steered(NamedTuple):
    """Responses to each row of a batch.

    Attributes:
        tokens: Drawn tokens, the one that ended a row included; 0 where ``mask`` is False.
        mask: True at drawn tokens.
        ended: The row ended by itself, not at the limit.
        kl: Sum over the row's tokens of KL(π ‖ π0), in nats.
    """

    tokens: Int[Array, "batch token"]
    mask: Bool[Array, "batch token"]
    ended: Bool[Array, " batch"]
    kl: Float[Array, " batch"]


class _Loop(NamedTuple):
    step: Int[Array, ""]
    cache: Cache
    hidden: Float[Array, "batch feature"]
    total: Float[Array, "batch summand"]
    out: Steered


def step_kl(
    log_prob: Float[Array, " candidate"], gain: Float[Array, " candidate"]
) -> Float[jax.Array, ""]:
    """KL(π ‖ π0) of one step in which ``gain`` is added to some of the logits.

    With p the probabilities of these tokens, ``Z = 1 + Σ p (e^g − 1)``, it is
    ``Σ p e^g g / Z − log Z``: exactly 0 if every gain is.

    Args:
        log_prob: log π0 of the tokens.
        gain: What is added to their logits.
    """
    p = jnp.exp(log_prob)
    total = 1 + jnp.sum(p * jnp.expm1(gain))
    return jnp.maximum(jnp.sum(p * jnp.exp(gain) * gain) / total - jnp.log(total), 0)


def gains(
    scores: Float[Array, " candidate"],
    allowed: Bool[Array, " candidate"],
    beta: Float[Array, ""] | float,
) -> Float[jax.Array, " candidate"]:
    """β (q − mean q) over the candidates that may be drawn, 0 for the others.

    Args:
        scores: q, one number for each candidate.
        allowed: Whether the candidate may be drawn.
        beta: β, how strongly a row is steered.
    """
    scores = jnp.where(allowed, scores, 0)
    mean = scores.sum() / jnp.maximum(allowed.sum(), 1)
    return jnp.where(allowed, beta * (scores - mean), 0)


@partial(jax.jit, static_argnames=("config", "decoding"))
def decode_value(
    key: PRNGKey,
    params: Params,
    config: lm.QwenConfig,
    head: ValueHead,
    prompts: Prompts,
    weights: Float[Array, "prompt factor"],
    beta: Float[Array, ""] | float,
    *,
    decoding: DecodeConfig,
) -> Steered:
    """Decode with a value head, each row for its own user; compiled once for each shape.

    Args:
        key: Random key; rows draw as in ``lm.generate``.
        params: Parameters of the language model.
        config: Its configuration, static.
        head: The value head.
        prompts: What is continued.
        weights: Weights of the user of each row.
        beta: β, how strongly rows are steered.
        decoding: How many tokens are drawn and how, and k; static.
    """

    def plain(key, params, head, prompts, weights, beta) -> Steered:
        del head, weights, beta
        drawn = lm.generate(key, params, config, *prompts, **decoding.arguments)
        return Steered(drawn.tokens, drawn.mask, drawn.ended, jnp.zeros(len(drawn.tokens)))

    # Reading k tokens rounds otherwise than reading one; a batch without steering must not.
    is_steered = jnp.any(beta * weights != 0)
    steer = partial(_decode_value, config=config, decoding=decoding)
    return jax.lax.cond(is_steered, steer, plain, key, params, head, prompts, weights, beta)


def _decode_value(
    key: PRNGKey,
    params: Params,
    head: ValueHead,
    prompts: Prompts,
    weights: Array,
    beta: Array,
    *,
    config: lm.QwenConfig,
    decoding: DecodeConfig,
) -> Steered:
    tokens, mask = map(jnp.asarray, prompts)
    num_candidates, max_new_tokens = decoding.num_candidates, decoding.max_new_tokens
    num_ids = config.vocab_size if decoding.num_ids is None else decoding.num_ids
    batch, width = tokens.shape
    num_read, embedding = num_candidates + 1, params["embedding"]
    layers = -1, decoding.head_layer
    row_keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(batch))
    end_ids = jnp.array(config.eos_ids, jnp.int32)
    known = jnp.arange(config.vocab_size) < num_ids

    def candidates(row_key, step, hidden):
        """Ids of k + 1 candidates of one row, log π0 of the first k, and all with their noise."""
        scores = jnp.where(known, lm.logits(params, config, hidden), -jnp.inf)
        noisy = scores = jnp.asarray(lm.restrict(scores, decoding.sampling))
        if decoding.sampling.temperature > 0:
            noise_key = jax.random.fold_in(row_key, step)
            noisy = jax.random.gumbel(noise_key, scores.shape, scores.dtype) + scores
        top, ids = jax.lax.top_k(scores, num_candidates)
        outside = jnp.argmax(noisy.at[ids].set(-jnp.inf))
        ids = jnp.append(ids, outside).astype(jnp.int32)
        return ids, top - jax.nn.logsumexp(scores), noisy[ids]

    def body(loop: _Loop) -> _Loop:
        going = ~loop.out.ended
        ids, log_prob, noisy = jax.vmap(candidates, in_axes=(0, None, 0))(
            row_keys, loop.step, loop.hidden
        )
        (last, states), cache = lm.try_candidates_layers(
            params, config, loop.cache, ids, going, layers
        )
        totals = loop.total[:, None] + increment(states, embedding[ids])
        values = value(head, summary(states, totals))
        scores = jnp.einsum("bkj,bj->bk", values, weights)[:, :-1]
        gain = jax.vmap(gains, in_axes=(0, 0, None))(scores, log_prob > -jnp.inf, beta)
        choice = jnp.argmax(noisy.at[:, :-1].add(gain), axis=1)
        cache = lm.keep(cache, num_read, choice)
        token = jnp.take_along_axis(ids, choice[:, None], axis=1)[:, 0]
        hidden, total = (
            jnp.take_along_axis(array, choice[:, None, None], axis=1)[:, 0]
            for array in (last, totals)
        )
        kl = loop.out.kl + jnp.where(going, jax.vmap(step_kl)(log_prob, gain), 0)
        token = jnp.where(going, token, 0)
        out = Steered(
            put(loop.out.tokens, token, loop.step),
            put(loop.out.mask, going, loop.step),
            ~going | jnp.any(token[:, None] == end_ids[None], axis=1),
            kl,
        )
        return _Loop(loop.step + 1, cache, hidden, total, out)

    # After t steps t slots are in use, and a step needs room for all its candidates.
    num_slots = width + max_new_tokens + num_candidates
    (hidden, read), cache = lm.prefill_layers(params, config, tokens, mask, num_slots, layers)
    shape = (batch, max_new_tokens)
    empty = Steered(
        jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool), jnp.zeros(batch, bool),
        jnp.zeros(batch),
    )  # fmt: skip
    hidden = hidden[:, -1]
    total = increment(read[:, -1], embedding[tokens[:, -1]])
    loop = jax.lax.while_loop(
        lambda loop: (loop.step < max_new_tokens) & ~jnp.all(loop.out.ended),
        body,
        _Loop(jnp.int32(0), cache, hidden, total, empty),
    )
    return loop.out


def put(array: Array, column: Array, step: Array) -> jax.Array:
    """The array with its column ``step`` replaced."""
    return jax.lax.dynamic_update_slice_in_dim(array, column[:, None], step, axis=1)


@partial(jax.jit, static_argnames=("config", "decoding"))
def decode_advantage(
    key: PRNGKey,
    params: Params,
    config: lm.QwenConfig,
    head: AdvantageHead,
    token_rows: Float[Array, "vocab rank"],
    prompts: Prompts,
    weights: Float[Array, "prompt factor"],
    beta: Float[Array, ""] | float,
    *,
    decoding: DecodeConfig,
) -> Steered:
    """Decode with an advantage head, each row for its own user; compiled once for each shape.

    Temperature, top-k and top-p come after the steering here: at temperature T the gains are
    divided by T like the logits. ``kl`` is that of the policies before.

    Args:
        key: Random key; rows draw as in ``lm.generate``.
        params: Parameters of the language model.
        config: Its configuration, static.
        head: The advantage head.
        token_rows: ``project_tokens`` of the whole embedding, computed once.
        prompts: What is continued.
        weights: Weights of the user of each row.
        beta: β, how strongly rows are steered.
        decoding: How many tokens are drawn and how, and k; static.
    """

    def one(x, ids, scores, weights):
        top = scores[ids]
        score = steered_advantage(head, x, token_rows[ids], weights)
        gain = gains(score, top > -jnp.inf, beta)
        return scores.at[ids].add(gain), step_kl(top - jax.nn.logsumexp(scores), gain)

    def hook(state, hidden, last, ids, scores):
        step, total, kl = state
        total = total + increment(hidden, params["embedding"][last])
        scores, now = jax.vmap(one)(summary(hidden, total), ids, scores, weights)
        return scores, (step + 1, total, put(kl, now, step))

    num_rows = len(prompts.tokens)
    sums = jnp.zeros((num_rows, 2 * config.hidden_size))
    drawn = lm.generate(
        key,
        params,
        config,
        *prompts,
        **decoding.arguments,
        hook=hook,
        hook_state=(jnp.int32(0), sums, jnp.zeros((num_rows, decoding.max_new_tokens))),
        num_candidates=decoding.num_candidates,
        hook_layer=decoding.head_layer,
    )
    kl = jnp.sum(jnp.where(drawn.mask, drawn.hook_state[2], 0), axis=1)
    return Steered(drawn.tokens, drawn.mask, drawn.ended, kl)
