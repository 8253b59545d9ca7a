"""Keys and values of tokens already read, so that further tokens cost only themselves.

A cache has a fixed number of slots. ``extend`` reads tokens into the next free slots, as a rule the
same for every row; a slot is not a position: the position of a token is the count of real tokens
before it in its row, so left and right padding and rows of different length all work.

What can be built from it:

    generation      prefill(prompts), then extend by one sampled token at a time
    shared prompt   prefill(prompts), take_rows(cache, prompt of each response), extend(responses)
    candidates      try_candidates(k tokens for one position), then keep(cache, k, the chosen one)

Every function is pure; donate the cache to the jitted outermost function and it is updated in
place. Slots beyond the last are not checked inside ``jit`` (JAX clamps): make enough of them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax.lm.config import QwenConfig
from prefjax.lm.layers import KeyValue, rotary
from prefjax.lm.model import (
    block,
    causal_mask,
    embed,
    first_layers,
    layer_index,
    positions_of,
    states_of,
    through_layers,
    write_at,
)
from prefjax.types import Array, Params


class Cache(NamedTuple):
    """What was read so far.

    Attributes:
        layers: A ``KeyValue`` of each layer, or one with a leading layer axis if the parameters
            are stacked.
        mask: Slots that hold a real token.
        used: Number of slots written, masked ones included; one for all rows, or one of each where
            rows begin and end by themselves (``draw_samples``).
        num_tokens: Real tokens of each row: the position of the next one.
    """

    layers: Any
    mask: Bool[Array, "batch slot"]
    used: Int[Array, "*row"]
    num_tokens: Int[Array, " batch"]


def prefill(
    params: Params,
    config: QwenConfig,
    tokens: Int[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    num_slots: int,
) -> tuple[Float[Array, "batch token feature"], Cache]:
    """Read prompts into a new cache.

    Args:
        params: Parameters of the decoder, as ``load`` gives them.
        config: Static configuration.
        tokens: Token ids, padded on either side; the left for generation, so that the last column
            holds the last token of every row.
        mask: True at real tokens.
        num_slots: Slots of the cache, those of further tokens included.

    Returns:
        The states after the final norm, as ``forward`` gives them, and the cache.

    Raises:
        ValueError: The cache would be smaller than the prompts.
    """
    states, cache = prefill_layers(params, config, tokens, mask, num_slots, (-1,))
    return states[0], cache


def prefill_layers(
    params: Params,
    config: QwenConfig,
    tokens: Int[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    num_slots: int,
    layers: tuple[int, ...],
) -> tuple[tuple[Float[Array, "batch token feature"], ...], Cache]:
    """``prefill`` that returns states of several layers; the cache ends with the last of them.

    Args:
        params: Parameters of the decoder.
        config: Static configuration.
        tokens: Token ids, as for ``prefill``.
        mask: True at real tokens.
        num_slots: Slots of the cache.
        layers: Layers, numbered as for ``forward``.

    Raises:
        ValueError: The cache would be smaller than the prompts, or the model has no such layer.
    """
    free = num_slots - tokens.shape[1]
    if free < 0:
        raise ValueError(f"num_slots {num_slots} is less than the {tokens.shape[1]} tokens")
    wanted = tuple(layer_index(config, layer) for layer in layers)
    visible = causal_mask(mask)
    angles = rotary(positions_of(mask), config)

    def step(x, layer, _):
        y, own = block(x, layer, config, angles, visible)
        room = [(0, 0), (0, 0), (0, free), (0, 0)]
        return y, (x, KeyValue(jnp.pad(own.key, room), jnp.pad(own.value, room)))

    some = first_layers(params["layers"], max(wanted))
    after, outs = through_layers(step, embed(params, tokens), some)
    before, past = _parts(outs)
    cache = Cache(
        layers=past,
        mask=jnp.pad(mask, [(0, 0), (0, free)]),
        used=jnp.int32(tokens.shape[1]),
        num_tokens=jnp.sum(mask, axis=1, dtype=jnp.int32),
    )
    return states_of(params, config, wanted, after, before), cache


def extend(
    params: Params,
    config: QwenConfig,
    cache: Cache,
    tokens: Int[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    *,
    positions: Int[Array, "batch token"] | None = None,
    among: Bool[Array, "batch token token"] | None = None,
) -> tuple[Float[Array, "batch token feature"], Cache]:
    """Read further tokens into the next free slots.

    Args:
        params: Parameters of the decoder, as ``load`` gives them.
        config: Static configuration.
        cache: What was read so far; must have as many free slots as there are tokens.
        tokens: Token ids.
        mask: True at real tokens.
        positions: Position of each token; those that continue the row by default.
        among: Which of the new tokens each new token sees, beside all that was read before: a tree
            mask. Causal by default; a token always sees itself.

    Returns:
        The states of the new tokens after the final norm, and the cache with them.
    """
    states, cache = extend_layers(
        params, config, cache, tokens, mask, (-1,), positions=positions, among=among
    )
    return states[0], cache


def extend_layers(
    params: Params,
    config: QwenConfig,
    cache: Cache,
    tokens: Int[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    layers: tuple[int, ...],
    *,
    positions: Int[Array, "batch token"] | None = None,
    among: Bool[Array, "batch token token"] | None = None,
) -> tuple[tuple[Float[Array, "batch token feature"], ...], Cache]:
    """``extend`` that returns states of several layers; blocks after the last are left out.

    Args:
        params: Parameters of the decoder.
        config: Static configuration.
        cache: What was read so far, by as many blocks as the last of the layers.
        tokens: Token ids.
        mask: True at real tokens.
        layers: Layers, numbered as for ``forward``.
        positions: Position of each token, as for ``extend``.
        among: A tree mask, as for ``extend``.

    Raises:
        ValueError: The model has no such layer.
    """
    if positions is None:
        positions = cache.num_tokens[:, None] + positions_of(mask)
    wanted = tuple(layer_index(config, layer) for layer in layers)
    own = causal_mask(mask) if among is None else (among & mask[:, None, :])
    own = own | jnp.eye(tokens.shape[1], dtype=bool)[None]
    before = jnp.broadcast_to(cache.mask[:, None], (*tokens.shape, cache.mask.shape[1]))
    visible = write_at(before, own, cache.used, axis=2)
    angles = rotary(positions, config)

    def step(x, layer, past):
        y, own = block(x, layer, config, angles, visible, past, cache.used)
        return y, (x, own)

    some = first_layers(params["layers"], max(wanted))
    after, outs = through_layers(step, embed(params, tokens), some, cache.layers)
    entering, past = _parts(outs)
    cache = Cache(
        layers=past,
        mask=write_at(cache.mask, mask, cache.used, axis=1),
        used=cache.used + tokens.shape[1],
        num_tokens=cache.num_tokens + jnp.sum(mask, axis=1, dtype=jnp.int32),
    )
    return states_of(params, config, wanted, after, entering), cache


def _parts(outs: Any) -> tuple[Any, Any]:
    """What came into each block, and its keys and values, in the form of the layers."""
    if isinstance(outs, list):
        return [x for x, _ in outs], [own for _, own in outs]
    return outs


def take_rows(cache: Cache, rows: Int[Array, " row"]) -> Cache:
    """The cache of these rows, repeated as they are: one prompt read once for many responses."""

    def take(array: jax.Array) -> jax.Array:
        # Batch is the first axis of a layer, the second one of stacked layers.
        return jnp.take(array, rows, axis=array.ndim - 4, mode="clip")

    return Cache(
        layers=jax.tree.map(take, cache.layers),
        mask=jnp.take(cache.mask, rows, axis=0, mode="clip"),
        used=cache.used,
        num_tokens=jnp.take(cache.num_tokens, rows, mode="clip"),
    )


def try_candidates(
    params: Params,
    config: QwenConfig,
    cache: Cache,
    tokens: Int[Array, "batch candidate"],
    mask: Bool[Array, " batch"],
) -> tuple[Float[Array, "batch candidate feature"], Cache]:
    """Read several candidates for the next token of each row, none of which sees another.

    Args:
        params: Parameters of the decoder, as ``load`` gives them.
        config: Static configuration.
        cache: What was read so far; must have as many free slots as there are candidates.
        tokens: Candidates for the next position of the row.
        mask: Rows that go on; in the others the candidates are not counted as read.

    Returns:
        The state of each candidate as if it alone continued its row, and the cache with all of
        them, for ``keep``.
    """
    states, cache = try_candidates_layers(params, config, cache, tokens, mask, (-1,))
    return states[0], cache


def try_candidates_layers(
    params: Params,
    config: QwenConfig,
    cache: Cache,
    tokens: Int[Array, "batch candidate"],
    mask: Bool[Array, " batch"],
    layers: tuple[int, ...],
) -> tuple[tuple[Float[Array, "batch candidate feature"], ...], Cache]:
    """``try_candidates`` that returns states of several layers.

    Args:
        params: Parameters of the decoder.
        config: Static configuration.
        cache: What was read so far, by as many blocks as the last of the layers.
        tokens: Candidates for the next position of the row.
        mask: Rows that go on.
        layers: Layers, numbered as for ``forward``.
    """
    batch, candidate = tokens.shape
    alone = jnp.zeros((batch, candidate, candidate), bool)  # `extend` adds that each sees itself
    positions = jnp.broadcast_to(cache.num_tokens[:, None], tokens.shape)
    rows = jnp.broadcast_to(mask[:, None], tokens.shape)
    return extend_layers(
        params, config, cache, tokens, rows, layers, positions=positions, among=alone
    )


def keep(cache: Cache, num_candidates: int, choice: Int[Array, " batch"]) -> Cache:
    """Keep one candidate of each row and forget the others, as if it alone had been read.

    Args:
        cache: As returned by ``try_candidates``.
        num_candidates: How many candidates were tried.
        choice: Index of the one to keep, below ``num_candidates``.
    """
    first = cache.used - num_candidates

    def move(array: jax.Array) -> jax.Array:
        axis = array.ndim - 2
        index = jnp.expand_dims(choice, [i for i in range(array.ndim) if i != array.ndim - 4])
        tried = jax.lax.dynamic_slice_in_dim(array, first, num_candidates, axis)
        kept = jnp.take_along_axis(tried, index, axis=axis)
        return jax.lax.dynamic_update_slice_in_dim(array, kept, first, axis)

    tried = jax.lax.dynamic_slice_in_dim(cache.mask, first, num_candidates, axis=1)
    kept = jnp.take_along_axis(tried, choice[:, None], axis=1)
    only = jnp.pad(kept, [(0, 0), (0, num_candidates - 1)])
    return Cache(
        layers=jax.tree.map(move, cache.layers),
        mask=jax.lax.dynamic_update_slice_in_dim(cache.mask, only, first, axis=1),
        used=first + 1,
        num_tokens=cache.num_tokens + jnp.sum(only, axis=1) - jnp.sum(tried, axis=1),
    )
