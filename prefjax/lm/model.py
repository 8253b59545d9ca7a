"""The whole decoder: tokens to hidden states, hidden states to logits.

State 0 is the embedding of the tokens, state k the residual stream after block k, and the last one
(``layer=-1`` or ``num_layers``) has passed the final norm: the numbering of transformers'
``hidden_states``. Padding may lie on either side: positions count the real tokens, masked tokens
are seen by themselves only, so their states are finite and nobody else's depend on them.

References:
    Qwen2, arXiv 2407.10671; Qwen3, arXiv 2505.09388.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Shaped

from prefjax.lm.config import QwenConfig
from prefjax.lm.layers import (
    KeyValue,
    Rotary,
    attend,
    feed_forward,
    linear,
    project,
    rms_norm,
    rotary,
)
from prefjax.parallel import platform
from prefjax.types import Array, Params

_TOKENS_AT_ONCE = 8192
"""Tokens that go through the layers of ``forward`` together on a GPU: enough to fill its units, and
their states inside a layer take a quarter of the memory of those of a batch of 32,768."""


def positions_of(mask: Bool[Array, "batch token"]) -> Int[Array, "batch token"]:
    """Position of each token among the real tokens of its row: ``max(cumsum(mask) - 1, 0)``."""
    return jnp.maximum(jnp.cumsum(mask, axis=1, dtype=jnp.int32) - 1, 0)


def causal_mask(mask: Bool[Array, "batch token"]) -> Bool[Array, "batch token token"]:
    """Each token sees the real tokens before it, and itself."""
    size = mask.shape[1]
    before = jnp.tril(jnp.ones((size, size), bool), -1)
    return (before[None] & mask[:, None, :]) | jnp.eye(size, dtype=bool)[None]


def embed(params: Params, tokens: Int[Array, "batch token"]) -> Float[Array, "batch token feature"]:
    """State 0: rows of the embedding."""
    return jnp.asarray(params["embedding"])[tokens]


def through_layers(
    block: Callable[[Array, Any, Any], tuple[Array, Any]],
    x: Float[Array, "batch token feature"],
    layers: Any,
    extra: Any = None,
) -> tuple[Float[Array, "batch token feature"], Any]:
    """Apply ``block(x, layer, extra) -> (x, out)`` layer after layer.

    Args:
        block: One block.
        x: Residual stream at the first layer.
        layers: A list of layers, unrolled, or one dict with a leading layer axis, scanned.
        extra: Something more for each layer, as a list or with a leading layer axis.

    Returns:
        The residual stream after the last layer, and the outputs of the blocks in the same form.
    """
    if isinstance(layers, list | tuple):
        outs = []
        for index, layer in enumerate(layers):
            x, out = block(x, layer, None if extra is None else extra[index])
            outs.append(out)
        return x, outs
    return jax.lax.scan(lambda x, row: block(x, *row), x, (layers, extra))


def write_at(
    old: Shaped[Array, "batch *axes"],
    new: Shaped[Array, "batch *_"],
    slot: Int[Array, "*row"] | int,
    axis: int,
) -> Shaped[Array, "batch *axes"]:
    """An array with others written into it.

    Args:
        old: The array.
        new: What is written, of the same shape but for the axis.
        slot: Where along the axis it begins, one for all rows or one of each.
        axis: The axis, not that of the rows.
    """
    if jnp.ndim(slot) == 0:
        return jax.lax.dynamic_update_slice_in_dim(old, new, slot, axis=axis)
    return jax.vmap(partial(jax.lax.dynamic_update_slice_in_dim, axis=axis - 1))(old, new, slot)


def block(
    x: Float[Array, "batch token feature"],
    layer: Params,
    config: QwenConfig,
    angles: Rotary,
    visible: Bool[Array, "batch token slot"],
    past: KeyValue | None = None,
    slot: Int[Array, "*row"] | int = 0,
) -> tuple[Float[Array, "batch token feature"], KeyValue]:
    """One block, the equations of ``prefjax.lm.layers``.

    Args:
        x: Residual stream.
        layer: Parameters of the layer.
        config: Static configuration.
        angles: Rotary angles of the positions of the tokens.
        visible: Which slots each token sees.
        past: Keys and values of earlier tokens; the own ones are written into it at ``slot``.
        slot: First slot of the tokens, one for all rows or one of each.

    Returns:
        The residual stream after the block, and the keys and values attended to.
    """
    query, own = project(
        rms_norm(x, layer["attention_norm"], config.norm_eps), layer, angles, config
    )
    if past is not None:
        own = KeyValue(
            *(write_at(old, new, slot, axis=2) for old, new in zip(past, own, strict=True))
        )
    h = _summed_once(x + linear(attend(query, own, visible), layer["output"]))
    y = h + feed_forward(rms_norm(h, layer["feedforward_norm"], config.norm_eps), layer)
    return _summed_once(y), own


def _summed_once(x: Float[Array, "batch token feature"]) -> Float[Array, "batch token feature"]:
    """The residual stream, of single tokens written out on a GPU.

    There XLA splits a product of few rows into sixteen parts, and would sum these in float32 anew
    wherever the result is read.
    """
    if x.shape[1] == 1 and platform() == "cuda":
        return jax.lax.optimization_barrier(x)
    return x


def first_layers(layers: Any, count: int) -> Any:
    """The first layers, of a list or of one dict with a leading layer axis."""
    if isinstance(layers, list | tuple):
        return layers[:count]
    return jax.tree.map(lambda stacked: stacked[:count], layers)


def states_of(
    params: Params,
    config: QwenConfig,
    wanted: tuple[int, ...],
    after: Float[Array, "batch token feature"],
    before: Any,
) -> tuple[Float[Array, "batch token feature"], ...]:
    """Hidden states of some layers, counted from 0.

    Args:
        params: Parameters of the decoder.
        config: Static configuration.
        wanted: Layers.
        after: Residual stream after the last block that was computed, block ``max(wanted)``.
        before: Residual stream before each of the blocks.
    """
    states = (after if index == max(wanted) else before[index] for index in wanted)
    return tuple(
        rms_norm(x, params["norm"], config.norm_eps) if index == config.num_layers else x
        for index, x in zip(wanted, states, strict=True)
    )


def layer_index(config: QwenConfig, layer: int) -> int:
    """The layer counted from 0; negative ones count from the last.

    Raises:
        ValueError: The model has no such layer.
    """
    index = layer + config.num_layers + 1 if layer < 0 else layer
    if not 0 <= index <= config.num_layers:
        raise ValueError(f"layer {layer} does not exist: the states are 0 to {config.num_layers}")
    return index


def forward_layers(
    params: Params,
    config: QwenConfig,
    tokens: Int[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    layers: tuple[int, ...],
) -> tuple[Float[Array, "batch token feature"], ...]:
    """Hidden states of several layers in one pass; blocks after the last of them are left out.

    Args:
        params: Parameters of the decoder, as ``load`` gives them.
        config: Static configuration.
        tokens: Token ids, as for ``forward``.
        mask: True at real tokens.
        layers: Layers, numbered as for ``forward``.

    Raises:
        ValueError: The model has no such layer.
    """
    wanted = tuple(layer_index(config, layer) for layer in layers)
    some = first_layers(params["layers"], max(wanted))

    def read(tokens, mask):
        visible = causal_mask(mask)
        angles = rotary(positions_of(mask), config)

        def step(x, layer, _):
            return block(x, layer, config, angles, visible)[0], x

        after, before = through_layers(step, embed(params, tokens), some)
        return states_of(params, config, wanted, after, before)

    batch, token = tokens.shape
    num_rows = max(1, _TOKENS_AT_ONCE // token) if platform() == "cuda" else batch
    if num_rows >= batch or batch % num_rows:
        return read(tokens, mask)
    parts = (x.reshape(batch // num_rows, num_rows, token) for x in (tokens, mask))
    states = jax.lax.map(lambda part: read(*part), tuple(parts))
    return tuple(x.reshape(batch, token, -1) for x in states)


def forward(
    params: Params,
    config: QwenConfig,
    tokens: Int[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    *,
    layer: int = -1,
) -> Float[Array, "batch token feature"]:
    """Hidden states of one layer; pure, differentiable, for use inside ``jit``.

    Args:
        params: Parameters of the decoder, as ``load`` gives them.
        config: Static configuration.
        tokens: Token ids; what stands where the mask is False does not matter if it is legal.
        mask: True at real tokens; padding may lie left or right.
        layer: -1 for the last, after the final norm; k for the residual stream after block k,
            before any norm (0 the embedding). Later blocks are not computed.

    Raises:
        ValueError: The model has no such layer.
    """
    return forward_layers(params, config, tokens, mask, (layer,))[0]


def hidden_states(
    params: Params,
    config: QwenConfig,
    tokens: Int[Array, "batch token"],
    mask: Bool[Array, "batch token"],
) -> tuple[Float[Array, "batch token feature"], ...]:
    """All ``num_layers + 1`` hidden states, from the embedding to the one after the final norm."""
    return forward_layers(params, config, tokens, mask, tuple(range(config.num_layers + 1)))


def logits(
    params: Params, config: QwenConfig, hidden: Float[Array, "*axes feature"]
) -> Float[Array, "*axes vocab"]:
    """``W_head h`` in float32, of states after the final norm (``layer=-1``).

    Raises:
        ValueError: The parameters are those of a backbone, without a head.
    """
    head = params.get("embedding" if config.tied else "head")
    if head is None:
        raise ValueError(
            "The model has no lm_head.weight: it is a backbone, which can embed texts but not "
            "continue them."
        )
    return jax.lax.dot_general(
        hidden, head, (((hidden.ndim - 1,), (1,)), ((), ())), preferred_element_type=jnp.float32
    )


def last_token(
    hidden: Float[Array, "batch token feature"], mask: Bool[Array, "batch token"]
) -> Float[Array, "batch feature"]:
    """State of the last real token of each row, found by the mask and never by the token's id."""
    size = mask.shape[1]
    last = jnp.max(jnp.where(mask, jnp.arange(size)[None], 0), axis=1)
    return jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]
