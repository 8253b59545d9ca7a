"""Generation: read the prompts once, then draw a token at a time until every row has ended.

Prompts are padded on the left. A row ends with one of ``config.eos_ids`` and stands still from then
on; the loop ends with the last row. What a row draws depends on the key, its index and its tokens,
not on its padding or on the other rows.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax.lm.cache import Cache, extend_layers, prefill_layers
from prefjax.lm.config import QwenConfig
from prefjax.lm.model import logits
from prefjax.lm.sampling import DEFAULT, SamplingConfig, sample
from prefjax.types import Array, Params, PRNGKey

Hook: TypeAlias = Callable[
    [
        Any,
        Float[Array, "batch feature"],
        Int[Array, " batch"],
        Int[Array, "batch candidate"],
        Float[Array, "batch vocab"],
    ],
    tuple[Float[Array, "batch vocab"], Any],
]
"""``hook(state, hidden, last, top_ids, logits) -> (logits, state)``, pure, traced inside the loop.

``hidden`` is the state that the logits were computed from, or that of ``hook_layer``, ``last`` the
token read there, ``top_ids`` the most likely tokens, falling. ``state`` is any pytree whose shapes
stay the same.
"""


class Generation(NamedTuple):
    """What was drawn.

    Attributes:
        tokens: Drawn tokens, the one that ended a row included; 0 where ``mask`` is False.
        mask: True at tokens that were drawn before the row's end.
        ended: The row ended by itself, not at the limit.
        hook_state: The last state of the hook.
    """

    tokens: Int[Array, "batch token"]
    mask: Bool[Array, "batch token"]
    ended: Bool[Array, " batch"]
    hook_state: Any


class _Loop(NamedTuple):
    step: Int[Array, ""]
    cache: Cache
    last: Int[Array, " batch"]
    tokens: Int[Array, "batch token"]
    mask: Bool[Array, "batch token"]
    ended: Bool[Array, " batch"]
    hook_state: Any


def generate(
    key: PRNGKey,
    params: Params,
    config: QwenConfig,
    tokens: Int[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    *,
    max_new_tokens: int,
    sampling: SamplingConfig = DEFAULT,
    num_ids: int | None = None,
    hook: Hook | None = None,
    hook_state: Any = None,
    num_candidates: int = 0,
    hook_layer: int = -1,
) -> Generation:
    """Continue prompts; pure, for use inside ``jit`` with everything but arrays static.

    Args:
        key: Random key; row i draws its token s with ``fold_in(fold_in(key, i), s)``.
        params: Parameters of the decoder, as ``load`` gives them.
        config: Static configuration; its ``eos_ids`` end a row.
        tokens: Prompts, padded on the left.
        mask: True at real tokens.
        max_new_tokens: Most tokens to draw.
        sampling: Temperature, top-k, top-p.
        num_ids: Length of the tokenizer; ids from there to ``vocab_size`` are never drawn.
        hook: Changes the logits before a token is drawn, as ``Hook`` says.
        hook_state: Its first state.
        num_candidates: Number of ``top_ids`` it gets.
        hook_layer: Layer of the state it gets; -1 for that of the logits.

    Raises:
        ValueError: ``max_new_tokens`` is below 1, ``num_ids`` does not fit the vocabulary, or a
            hook has no candidates.
    """
    batch, width = tokens.shape
    num_ids = config.vocab_size if num_ids is None else num_ids
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    if not 1 <= num_ids <= config.vocab_size:
        raise ValueError(f"num_ids must lie in [1, {config.vocab_size}], got {num_ids}")
    if hook is not None and not 1 <= num_candidates <= num_ids:
        raise ValueError(f"a hook needs num_candidates in [1, {num_ids}], got {num_candidates}")
    row_keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(batch))
    eos = jnp.array(config.eos_ids, jnp.int32)

    layers = (-1, hook_layer)

    def draw(step, hidden, last, ended, state):
        hidden, read = hidden
        scores = logits(params, config, hidden)
        known = jnp.arange(config.vocab_size) < num_ids
        scores = jnp.where(known[None], scores, -jnp.inf)
        if hook is not None:
            top_ids = jax.lax.top_k(scores, num_candidates)[1]
            scores, state = hook(state, read, last, top_ids, scores)
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(row_keys, step)
        token = jax.vmap(partial(sample, config=sampling))(keys, scores)
        token = jnp.where(ended, 0, token)
        return token, ended | jnp.any(token[:, None] == eos[None], axis=1) & ~ended, state

    def put(loop: _Loop, token, drawn) -> tuple[Array, Array]:
        return (
            jax.lax.dynamic_update_slice_in_dim(loop.tokens, token[:, None], loop.step, axis=1),
            jax.lax.dynamic_update_slice_in_dim(loop.mask, drawn[:, None], loop.step, axis=1),
        )

    def body(loop: _Loop) -> _Loop:
        going = ~loop.ended
        states, cache = extend_layers(
            params, config, loop.cache, loop.last[:, None], going[:, None], layers
        )
        hidden = [state[:, 0] for state in states]
        token, ended, state = draw(loop.step, hidden, loop.last, loop.ended, loop.hook_state)
        drawn_tokens, drawn_mask = put(loop, token, going)
        return _Loop(loop.step + 1, cache, token, drawn_tokens, drawn_mask, ended, state)

    num_slots = width + max_new_tokens - 1
    states, cache = prefill_layers(params, config, tokens, mask, num_slots, layers)
    hidden = [state[:, -1] for state in states]
    going = jnp.ones(batch, bool)
    token, ended, state = draw(jnp.int32(0), hidden, tokens[:, -1], ~going, hook_state)
    loop = _Loop(
        step=jnp.int32(0),
        cache=cache,
        last=token,
        tokens=jnp.zeros((batch, max_new_tokens), jnp.int32),
        mask=jnp.zeros((batch, max_new_tokens), bool),
        ended=ended,
        hook_state=state,
    )
    drawn_tokens, drawn_mask = put(loop, token, going)
    loop = loop._replace(step=jnp.int32(1), tokens=drawn_tokens, mask=drawn_mask)
    loop = jax.lax.while_loop(
        lambda loop: (loop.step < max_new_tokens) & ~jnp.all(loop.ended), body, loop
    )
    return Generation(loop.tokens, loop.mask, loop.ended, loop.hook_state)
