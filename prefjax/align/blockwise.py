"""Blockwise best-of-K: draw K continuations of a few tokens, keep the one with the largest value.

    repeat: y^1 … y^K ~ π0(· | s),  b tokens each;   s ← s·y^c,  c = argmax_k w·V(s·y^k)

Between best-of-N (one block as long as the response) and value-augmented decoding (blocks of one
token); it needs the same value head. Each block can move the policy by ``log K − (K−1)/K`` nats at
most, so ``kl`` counts that for every block that was begun: a bound, not an estimate.

References:
    Controlled decoding, arXiv 2310.17022, section 3.2.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax import lm
from prefjax.align.best_of_n import kl_bound
from prefjax.align.decode import DEFAULT_SAMPLING, Steered, put
from prefjax.align.heads import ValueHead, increment, summary, value
from prefjax.lm import Cache, SamplingConfig
from prefjax.types import Array, Params, PRNGKey


class _Rows(NamedTuple):
    """All continuations: ``batch · K`` rows, those of one prompt together."""

    cache: Cache
    hidden: Float[Array, "row feature"]
    total: Float[Array, "row summand"]
    tokens: Int[Array, "row token"]
    mask: Bool[Array, "row token"]
    ended: Bool[Array, " row"]


def decode_blockwise(
    key: PRNGKey,
    params: Params,
    config: lm.QwenConfig,
    head: ValueHead,
    tokens: Int[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    weights: Float[Array, "batch factor"],
    *,
    max_new_tokens: int,
    block_length: int = 8,
    num_continuations: int = 4,
    sampling: SamplingConfig = DEFAULT_SAMPLING,
    num_ids: int | None = None,
) -> Steered:
    """Decode by blocks; pure, for use inside ``jit`` with all but arrays static.

    Args:
        key: Random key; continuation k of row i draws as row ``i·K + k`` of ``lm.generate``.
        params: Parameters of the language model.
        config: Its configuration.
        head: The value head.
        tokens: Prompts, padded on the left.
        mask: True at real tokens.
        weights: Weights of the user of each row. With w = 0 the first continuation is kept.
        max_new_tokens: Most tokens to draw, a multiple of ``block_length``.
        block_length: b, tokens in a block.
        num_continuations: K.
        sampling: Temperature, top-k and top-p of π0.
        num_ids: Length of the tokenizer.

    Raises:
        ValueError: If blocks do not fill ``max_new_tokens``.
    """
    num_blocks, rest = divmod(max_new_tokens, block_length)
    if rest or num_blocks < 1:
        raise ValueError(
            f"max_new_tokens {max_new_tokens} is no multiple of block_length {block_length}"
        )
    batch, width = tokens.shape
    num_rows, embedding = batch * num_continuations, params["embedding"]
    known = jnp.arange(config.vocab_size) < (config.vocab_size if num_ids is None else num_ids)
    end_ids = jnp.array(config.eos_ids, jnp.int32)
    row_keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(num_rows))

    def draw(step, rows: _Rows) -> _Rows:
        scores = jnp.where(known[None], lm.logits(params, config, rows.hidden), -jnp.inf)
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(row_keys, step)
        token = jax.vmap(partial(lm.sample, config=sampling))(keys, scores)
        going = ~rows.ended
        token = jnp.where(going, token, 0)
        states, cache = lm.extend(params, config, rows.cache, token[:, None], going[:, None])
        return _Rows(
            cache,
            # A row that has ended keeps the state after its end token.
            jnp.where(going[:, None], states[:, 0], rows.hidden),
            rows.total + jnp.where(going[:, None], increment(states[:, 0], embedding[token]), 0),
            put(rows.tokens, token, step),
            put(rows.mask, going, step),
            rows.ended | (going & jnp.any(token[:, None] == end_ids[None], axis=1)),
        )

    def choose(rows: _Rows) -> _Rows:
        """Give the best continuation of each prompt to all its rows."""
        scores = jnp.einsum(
            "bkj,bj->bk",
            value(head, summary(rows.hidden, rows.total)).reshape(batch, num_continuations, -1),
            weights,
        )
        best = jnp.arange(batch) * num_continuations + jnp.argmax(scores, axis=1)
        best = jnp.repeat(best, num_continuations)
        return _Rows(lm.take_rows(rows.cache, best), *(array[best] for array in rows[1:]))

    def block(carry):
        index, rows, begun = carry
        begun = begun + ~rows.ended[::num_continuations]
        start = index * block_length
        rows = jax.lax.fori_loop(start, start + block_length, draw, rows)
        return index + 1, choose(rows), begun

    hidden, cache = lm.prefill(params, config, tokens, mask, width + max_new_tokens)
    own = jnp.repeat(jnp.arange(batch), num_continuations)
    hidden = hidden[own, -1]
    start = _Rows(
        lm.take_rows(cache, own),
        hidden,
        increment(hidden, embedding[tokens[own, -1]]),
        jnp.zeros((num_rows, max_new_tokens), jnp.int32),
        jnp.zeros((num_rows, max_new_tokens), bool),
        jnp.zeros(num_rows, bool),
    )
    _, rows, begun = jax.lax.while_loop(
        lambda carry: (carry[0] < num_blocks) & ~jnp.all(carry[1].ended),
        block,
        (jnp.int32(0), start, jnp.zeros(batch, jnp.int32)),
    )
    first = slice(None, None, num_continuations)
    kl = begun * kl_bound(num_continuations)
    return Steered(rows.tokens[first], rows.mask[first], rows.ended[first], kl)
