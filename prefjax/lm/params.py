"""Parameters of the decoder: a plain dict of arrays, each weight stored ``(out, in)``.

    {"embedding": (vocab, d), "layers": [{name: array}, ...], "norm": (d,), "head": (vocab, d)}

``head`` is absent when the embedding is tied to it, and in a backbone. A list of layers is unrolled
by the compiler (fastest on a CPU); ``stack_layers`` makes one dict of arrays with a leading layer
axis, which every function of this package scans over (a short compilation on accelerators).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import DTypeLike

from prefjax.lm.config import QwenConfig
from prefjax.types import Params, PRNGKey

GAINS = ("attention_norm", "feedforward_norm", "query_norm", "key_norm")


def layer_shapes(config: QwenConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each array of one layer, by name."""
    d, ff, dim = config.hidden_size, config.intermediate_size, config.head_dim
    queries, keys = config.num_heads * dim, config.num_kv_heads * dim
    shapes: dict[str, tuple[int, ...]] = {
        "attention_norm": (d,),
        "query": (queries, d),
        "key": (keys, d),
        "value": (keys, d),
        "output": (d, queries),
        "feedforward_norm": (d,),
        "gate": (ff, d),
        "up": (ff, d),
        "down": (d, ff),
    }
    if config.architecture == "qwen2":
        shapes |= {"query_bias": (queries,), "key_bias": (keys,), "value_bias": (keys,)}
    elif config.architecture == "qwen3":
        shapes |= {"query_norm": (dim,), "key_norm": (dim,)}
    return shapes


def outer_shapes(config: QwenConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each array outside the layers, by name."""
    shapes: dict[str, tuple[int, ...]] = {
        "embedding": (config.vocab_size, config.hidden_size),
        "norm": (config.hidden_size,),
    }
    return shapes if config.tied else shapes | {"head": shapes["embedding"]}


def num_params(config: QwenConfig, *, vocabulary: bool = True) -> int:
    """Count of parameters; without those of the embedding and the head if not ``vocabulary``."""
    layers = config.num_layers * sum(math.prod(shape) for shape in layer_shapes(config).values())
    outer = outer_shapes(config)
    if not vocabulary:
        outer = {"norm": outer["norm"]}
    return layers + sum(math.prod(shape) for shape in outer.values())


def init_params(
    key: PRNGKey, config: QwenConfig, *, dtype: DTypeLike = jnp.float32, scale: float = 0.02
) -> dict[str, Any]:
    """Random parameters: weights N(0, scale²), gains one, biases zero.

    Args:
        key: Random key.
        config: Sizes.
        dtype: Type of all arrays.
        scale: Standard deviation of the weights.
    """

    def draw(key: PRNGKey, shapes: dict[str, tuple[int, ...]]) -> dict[str, jax.Array]:
        arrays = {}
        for one, (name, shape) in zip(
            jax.random.split(key, len(shapes)), shapes.items(), strict=True
        ):
            if len(shape) == 2:
                arrays[name] = scale * jax.random.normal(one, shape, dtype)
            else:
                gain = name in GAINS or name == "norm"
                arrays[name] = jnp.full(shape, 1.0 if gain else 0.0, dtype)
        return arrays

    outer, *layers = jax.random.split(key, config.num_layers + 1)
    return draw(outer, outer_shapes(config)) | {
        "layers": [draw(one, layer_shapes(config)) for one in layers]
    }


def stack_layers(params: Params) -> dict[str, Any]:
    """The same parameters with one dict of layers that have a leading layer axis."""
    if not isinstance(params["layers"], list | tuple):
        return dict(params)
    return {**params, "layers": jax.tree.map(lambda *rows: jnp.stack(rows), *params["layers"])}


def unstack_layers(params: Params) -> dict[str, Any]:
    """The same parameters with a list of layers."""
    layers = params["layers"]
    if isinstance(layers, list | tuple):
        return {**params, "layers": list(layers)}
    count = len(next(iter(layers.values())))
    rows = [{name: array[index] for name, array in layers.items()} for index in range(count)]
    return {**params, "layers": rows}
