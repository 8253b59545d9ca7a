"""What a language model computes to embed texts, on all devices of a mesh at once.

    whole texts       read(texts) → vectors
    after a prompt    read_prompts(prompts) → keys and values, join, take those of each response,
                      read_responses → vectors

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

POOLINGS = ("last", "mean")


class Prompts(NamedTuple):
    """Prompts that were read, one a row.

    Attributes:
        layers: Keys and values of each layer.
        mask: Slots that hold a real token.
        num_tokens: Real tokens of each row.
    """

    layers: Any
    mask: Bool[Array, "row slot"]
    num_tokens: Int[Array, " row"]


class Programs(NamedTuple):
    """Compiled functions of global arrays, cut along their rows; ``params`` is whole everywhere.

    Attributes:
        read: ``(params, tokens, mask, counted) -> vectors``; ``mean`` is over the counted tokens.
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
def make_programs(config: lm.QwenConfig, layer: int, pooling: str, mesh: Mesh) -> Programs:
    """The programs of a model; the layers of its parameters are a list.

    Args:
        config: Static configuration of the model.
        layer: Layer whose state is the embedding; -1 for the last, after the final norm.
        pooling: ``last`` token, or ``mean`` over the tokens of the response.
        mesh: The devices, each of which reads its own rows.
    """

    def read(params, tokens, mask, counted):
        return _pool(lm.forward(params, config, tokens, mask, layer=layer), mask, counted, pooling)

    def read_prompts(params, tokens, mask):
        past = lm.prefill(params, config, tokens, mask, tokens.shape[1])[1]
        return Prompts(past.layers, past.mask, past.num_tokens)

    def join(parts):
        return jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)

    def take(prompts, slots, tokens):
        layers, mask, num_tokens = jax.tree.map(lambda array: array[slots], prompts)
        free = (0, tokens.shape[1])

        def widen(array):
            return jnp.pad(array, [(0, 0), (0, 0), free, (0, 0)])

        return Prompts(jax.tree.map(widen, layers), jnp.pad(mask, [(0, 0), free]), num_tokens)

    def read_responses(params, prompts, tokens, mask):
        used = jnp.int32(prompts.mask.shape[1] - tokens.shape[1])
        past = lm.Cache(prompts.layers, prompts.mask, used, prompts.num_tokens)
        return _pool(lm.extend(params, config, past, tokens, mask)[0], mask, mask, pooling)

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
    hidden = hidden.astype(jnp.float32)
    if pooling == "last":
        return lm.last_token(hidden, mask)
    total = jnp.sum(jnp.where(counted[:, :, None], hidden, 0.0), axis=1)
    return total / jnp.maximum(jnp.sum(counted, axis=1), 1)[:, None]
