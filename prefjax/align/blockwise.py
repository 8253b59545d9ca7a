"""Blockwise best-of-K: draw K continuations of a few tokens, go on from the best by the value head.

    repeat: y^1 … y^K ~ π0(· | s),  b tokens each;   s ← s·y^c,  c = argmax_k w·V(s·y^k)

Between best-of-N (one block as long as the response) and value-augmented decoding (blocks of one
token); it needs the same value head. Each block can move the policy by ``log K − (K−1)/K`` nats at
most, so ``kl`` counts that for every block that was started: a bound, not an estimate.

References:
    Controlled decoding, arXiv 2310.17022, section 3.2.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax import lm
from prefjax.align._best_of_n import kl_bound
from prefjax.align.decode import Steered, put
from prefjax.align.heads import ValueHead, increment, summary, value
from prefjax.align.samples import DecodeConfig, Prompts
from prefjax.lm import Cache
from prefjax.types import Array, Params, PRNGKey


class _Rows(NamedTuple):
    """All continuations: ``batch · K`` rows, those of one prompt together.

    Attributes:
        cache: What was read.
        hidden: State from which the next token is drawn.
        read: State that the head reads.
        total: Sums that it reads.
        tokens: Drawn tokens.
        mask: True at drawn tokens.
        ended: Rows that have ended.
    """

    cache: Cache
    hidden: Float[Array, "row feature"]
    read: Float[Array, "row feature"]
    total: Float[Array, "row summand"]
    tokens: Int[Array, "row token"]
    mask: Bool[Array, "row token"]
    ended: Bool[Array, " row"]


@partial(jax.jit, static_argnames=("config", "block_length", "num_continuations", "decoding"))
def decode_blockwise(
    key: PRNGKey,
    params: Params,
    config: lm.QwenConfig,
    head: ValueHead,
    prompts: Prompts,
    weights: Float[Array, "prompt factor"],
    *,
    block_length: int = 8,
    num_continuations: int = 4,
    decoding: DecodeConfig,
) -> Steered:
    """Decode by blocks, each prompt for its own user; compiled once for each shape.

    Args:
        key: Random key; continuation k of row i draws as row ``i·K + k`` of ``lm.generate``.
        params: Parameters of the language model.
        config: Its configuration, static.
        head: The value head.
        prompts: What is continued.
        weights: Weights of the user of each row. With w = 0 the first continuation is chosen.
        block_length: b, tokens in a block, static.
        num_continuations: K, static.
        decoding: How many tokens are drawn, a multiple of ``block_length``, and how; static.

    Raises:
        ValueError: If blocks do not fill ``max_new_tokens``.
    """
    max_new_tokens = decoding.max_new_tokens
    num_blocks, rest = divmod(max_new_tokens, block_length)
    if rest or num_blocks < 1:
        raise ValueError(
            f"max_new_tokens {max_new_tokens} is no multiple of block_length {block_length}"
        )
    tokens, mask = map(jnp.asarray, prompts)
    num_ids = config.vocab_size if decoding.num_ids is None else decoding.num_ids
    batch, width = tokens.shape
    num_rows, embedding = batch * num_continuations, params["embedding"]
    known = jnp.arange(config.vocab_size) < num_ids
    end_ids = jnp.array(config.eos_ids, jnp.int32)
    row_keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(num_rows))

    def draw(step, rows: _Rows) -> _Rows:
        scores = jnp.where(known[None], lm.logits(params, config, rows.hidden), -jnp.inf)
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(row_keys, step)
        token = jax.vmap(partial(lm.sample, config=decoding.sampling))(keys, scores)
        going = ~rows.ended
        token = jnp.where(going, token, 0)
        (last, read), cache = lm.extend_layers(
            params, config, rows.cache, token[:, None], going[:, None], layers
        )
        return _Rows(
            cache,
            # A row that has ended keeps the state after its end token.
            jnp.where(going[:, None], last[:, 0], rows.hidden),
            jnp.where(going[:, None], read[:, 0], rows.read),
            rows.total + jnp.where(going[:, None], increment(read[:, 0], embedding[token]), 0),
            put(rows.tokens, token, step),
            put(rows.mask, going, step),
            rows.ended | (going & jnp.any(token[:, None] == end_ids[None], axis=1)),
        )

    def choose(rows: _Rows) -> _Rows:
        """Give the best continuation of each prompt to all its rows."""
        scores = jnp.einsum(
            "bkj,bj->bk",
            value(head, summary(rows.read, rows.total)).reshape(batch, num_continuations, -1),
            weights,
        )
        best = jnp.arange(batch) * num_continuations + jnp.argmax(scores, axis=1)
        best = jnp.repeat(best, num_continuations)
        return _Rows(lm.take_rows(rows.cache, best), *(array[best] for array in rows[1:]))

    def block(carry):
        index, rows, num_used = carry
        num_used = num_used + ~rows.ended[::num_continuations]
        start = index * block_length
        rows = jax.lax.fori_loop(start, start + block_length, draw, rows)
        return index + 1, choose(rows), num_used

    layers = -1, decoding.head_layer
    num_slots = width + max_new_tokens
    (hidden, read), cache = lm.prefill_layers(params, config, tokens, mask, num_slots, layers)
    own = jnp.repeat(jnp.arange(batch), num_continuations)
    hidden, read = hidden[own, -1], read[own, -1]
    start = _Rows(
        lm.take_rows(cache, own),
        hidden,
        read,
        increment(read, embedding[tokens[own, -1]]),
        jnp.zeros((num_rows, max_new_tokens), jnp.int32),
        jnp.zeros((num_rows, max_new_tokens), bool),
        jnp.zeros(num_rows, bool),
    )
    _, rows, num_used = jax.lax.while_loop(
        lambda carry: (carry[0] < num_blocks) & ~jnp.all(carry[1].ended),
        block,
        (jnp.int32(0), start, jnp.zeros(batch, jnp.int32)),
    )
    first = slice(None, None, num_continuations)
    kl = num_used * kl_bound(num_continuations)
    return Steered(rows.tokens[first], rows.mask[first], rows.ended[first], kl)
