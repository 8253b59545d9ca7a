"""What a language model computes to embed texts, on all devices of a mesh at once.

    whole texts       read(texts) → vectors
    after a prompt    read_prompts(prompts) → keys and values, join, take those of each response,
                      read_responses → vectors

A vector is made for each of several readings (a layer and a way of pooling) in one pass.

Every device has the whole model and reads its own rows, those after a prompt on the device that has
read it; none waits for another. A program is compiled once for each shape on one device.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Float32, Int

from prefjax import lm
from prefjax.parallel import Specs, data_parallel
from prefjax.types import Array

POOLINGS = ("last", "mean", "mean-all")
"""State of the last token; mean over the tokens of the response; mean over all tokens. The first
token of a text is in no mean, unless it is the only one: whatever it is, its state in the inner
layers is one huge vector that other tokens attend to when they have nothing to look for
(arXiv 2309.17453), 20 times as long as the mean of the others together in SmolLM2."""


class Reading(NamedTuple):
    """Which states make an embedding, and how.

    Attributes:
        layer: -1 for the last state, after the final norm; k for the state after block k.
        pooling: One of ``POOLINGS``.
    """

    layer: int
    pooling: str


class Prompts(NamedTuple):
    """Prompts that were read, one a row.

    Attributes:
        layers: Keys and values of each layer.
        mask: Slots that hold a real token.
        num_tokens: Real tokens of each row.
        totals: Sum of the states of the prompt for each reading of all tokens.
    """

    layers: Any
    mask: Bool[Array, "row slot"]
    num_tokens: Int[Array, " row"]
    totals: Float32[Array, "row whole feature"]


class Programs(NamedTuple):
    """Compiled functions of global arrays, cut along their rows; ``params`` is whole everywhere.

    Attributes:
        read: ``(params, tokens, mask, counted) -> vectors``; the response is what is counted.
        read_prompts: ``(params, tokens, mask) -> Prompts``.
        join: ``list of Prompts -> Prompts``, those of each device one after the other.
        take: ``(Prompts, slots, tokens) -> Prompts`` at these rows of the device, with free slots
            for the tokens.
        read_responses: ``(params, Prompts, tokens, mask) -> vectors``.
    """

    read: Callable[..., jax.Array]
    read_prompts: Callable[..., Prompts]
    join: Callable[[list[Prompts]], Prompts]
    take: Callable[..., Prompts]
    read_responses: Callable[..., jax.Array]


@cache
def make_programs(config: lm.QwenConfig, readings: tuple[Reading, ...], mesh: Mesh) -> Programs:
    """The programs of a model; the layers of its parameters are a list.

    Args:
        config: Static configuration of the model.
        readings: What is made of each text, along the second axis of the vectors.
        mesh: The devices, each of which reads its own rows.
    """
    layers = tuple(reading.layer for reading in readings)
    is_whole = [reading.pooling == "mean-all" for reading in readings]

    def inner(mask, counted):
        """Counted tokens but the first of a text, which stays if it is the only one."""
        rest = counted & (lm.positions_of(mask) > 0)
        return jnp.where(jnp.any(rest, axis=1, keepdims=True), rest, counted)

    def read(params, tokens, mask, counted):
        states = lm.forward_layers(params, config, tokens, mask, layers)
        return jnp.stack(
            [
                _pool(hidden, mask, inner(mask, mask if whole else counted), pooling)
                for hidden, (_, pooling), whole in zip(states, readings, is_whole, strict=True)
            ],
            axis=1,
        )

    def read_prompts(params, tokens, mask):
        states, past = lm.prefill_layers(params, config, tokens, mask, tokens.shape[1], layers)
        rest = mask & (lm.positions_of(mask) > 0)
        totals = [_total(h, rest) for h, whole in zip(states, is_whole, strict=True) if whole]
        none = jnp.zeros((len(tokens), 0, config.hidden_size), jnp.float32)
        return Prompts(
            past.layers, past.mask, past.num_tokens, jnp.stack(totals, axis=1) if totals else none
        )

    def join(parts):
        return jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)

    def take(prompts, slots, tokens):
        past, mask, num_tokens, totals = jax.tree.map(lambda array: array[slots], prompts)
        free = (0, tokens.shape[1])

        def widen(array):
            return jnp.pad(array, [(0, 0), (0, 0), free, (0, 0)])

        return Prompts(jax.tree.map(widen, past), jnp.pad(mask, [(0, 0), free]), num_tokens, totals)

    def read_responses(params, prompts, tokens, mask):
        used = jnp.int32(prompts.mask.shape[1] - tokens.shape[1])
        past = lm.Cache(prompts.layers, prompts.mask, used, prompts.num_tokens)
        states, _ = lm.extend_layers(params, config, past, tokens, mask, layers)
        vectors = [
            _pool(hidden, mask, mask, "mean" if whole else pooling)
            for hidden, (_, pooling), whole in zip(states, readings, is_whole, strict=True)
        ]
        # The mean over prompt and response from the two sums.
        num_own = jnp.sum(mask, axis=1)
        num_all = jnp.maximum(num_own + prompts.num_tokens - 1, 1)[:, None]
        for place, index in enumerate(i for i, whole in enumerate(is_whole) if whole):
            total = vectors[index] * num_own[:, None] + prompts.totals[:, place]
            vectors[index] = total / num_all
        return jnp.stack(vectors, axis=1)

    def on_all(step, *inputs):
        return data_parallel(
            lambda *arguments, axis: step(*arguments),
            Specs(inputs, "sharded"),
            backend="shard_map",
            mesh=mesh,
        )

    whole, cut = "replicated", "sharded"
    return Programs(
        read=on_all(read, whole, cut, cut, cut),
        read_prompts=on_all(read_prompts, whole, cut, cut),
        join=on_all(join, cut),
        take=on_all(take, cut, cut, cut),
        read_responses=on_all(read_responses, whole, cut, cut, cut),
    )


def _pool(
    hidden: Float[Array, "batch token feature"],
    mask: Bool[Array, "batch token"],
    counted: Bool[Array, "batch token"],
    pooling: str,
) -> Float32[Array, "batch feature"]:
    if pooling == "last":
        return lm.last_token(hidden.astype(jnp.float32), mask)
    return _total(hidden, counted) / jnp.maximum(jnp.sum(counted, axis=1), 1)[:, None]


def _total(
    hidden: Float[Array, "batch token feature"], counted: Bool[Array, "batch token"]
) -> Float32[Array, "batch feature"]:
    return jnp.sum(jnp.where(counted[:, :, None], hidden.astype(jnp.float32), 0.0), axis=1)
