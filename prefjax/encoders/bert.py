"""The BERT encoder: tokens to hidden states, weights from a Hugging Face folder.

    x = norm(word + position + type_0)
    h = norm(x + O · attention(x)),    y = norm(h + D · gelu(U · h))

with bidirectional attention, biases everywhere, norm(x) = gain ⊙ (x − mean) / √(var + ε) + bias
and the exact gelu.

References:
    BERT, arXiv 1810.04805, section 3; MiniLM, arXiv 2002.10957.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from prefjax.io import check_finite, open_tensors, read_object
from prefjax.types import Array, Params


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """The entries of ``config.json`` that the computation depends on, under their names there."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    layer_norm_eps: float


def read_bert(directory: Path) -> tuple[BertConfig, dict[str, Any]]:
    """Configuration and parameters, float32, ``{name in the checkpoint: array}``.

    Args:
        directory: Folder with ``config.json`` and ``model.safetensors``.

    Raises:
        FileNotFoundError: If one of the two is not there.
        ValueError: If it is not a BERT that this module computes, an entry is missing or no such
            number, tensors do not fit or are not finite, or a file is damaged.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{directory} is not a model: it has no config.json.")
    values = read_object(path)
    for name, only in (("model_type", "bert"), ("hidden_act", "gelu")):
        if values.get(name) != only:
            raise ValueError(f"{path}: {name} {values.get(name)!r} is not supported, only {only}.")
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise ValueError(f"{path}: only absolute position embeddings are supported.")
    config = _make_config(values, path)
    weights = directory / "model.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(f"{directory} has no model.safetensors.")
    with open_tensors(weights) as file:
        found = {name.removeprefix("bert."): name for name in file.keys()}  # noqa: SIM118
        shapes = tensor_shapes(config)
        missing = sorted(set(shapes) - set(found))
        if missing:
            raise ValueError(f"{weights} lacks {len(missing)} tensors, such as {missing[0]}.")
        params = {name: np.asarray(file.get_tensor(found[name]), np.float32) for name in shapes}
    for name, shape in shapes.items():
        if params[name].shape != shape:
            raise ValueError(f"{name} in {weights} is {params[name].shape}, not {shape}.")
        check_finite(params[name], f"{name} in {weights}")
    return config, jax.tree.map(jnp.asarray, params)


def _make_config(values: dict[str, Any], path: Path) -> BertConfig:
    for field in dataclasses.fields(BertConfig):
        value: Any = values.get(field.name)
        kinds = (int, float) if field.name == "layer_norm_eps" else (int,)
        if type(value) not in kinds or not 0 < value < np.inf:
            raise ValueError(f"{path}: {field.name} must be a positive number, got {value!r}.")
    config = BertConfig(*(values[field.name] for field in dataclasses.fields(BertConfig)))
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"{path}: {config.num_attention_heads} heads do not divide {config.hidden_size}."
        )
    return config


def forward(
    params: Params,
    config: BertConfig,
    tokens: Int[Array, "batch token"],
    mask: Bool[Array, "batch token"],
) -> Float[jax.Array, "batch token feature"]:
    """Hidden states after the last layer; padding on the right.

    Args:
        params: Parameters, ``{name in the checkpoint: array}``, as ``read_bert`` gives them.
        config: Static configuration.
        tokens: Token ids, the special ones included.
        mask: True at real tokens.
    """
    batch, size = tokens.shape
    heads = config.num_attention_heads

    def dense(x, name):
        weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
        return jax.lax.dot_general(x, weight, (((2,), (1,)), ((), ()))) + bias[None, None]

    def norm(x, name):
        gain, bias = params[f"{name}.weight"], params[f"{name}.bias"]
        mean = jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean((x - mean) ** 2, axis=-1, keepdims=True)
        scaled = (x - mean) * jax.lax.rsqrt(variance + config.layer_norm_eps)
        return scaled * gain[None, None] + bias[None, None]

    def attention(x, name):
        query, key, value = (
            dense(x, f"{name}.{part}").reshape(batch, size, heads, -1)
            for part in ("query", "key", "value")
        )
        score = jnp.einsum("bthd,bshd->bhts", query, key) / np.sqrt(query.shape[-1])
        score = jnp.where(mask[:, None, None], score, jnp.finfo(score.dtype).min)
        share = jax.nn.softmax(score, axis=-1)
        return jnp.einsum("bhts,bshd->bthd", share, value).reshape(batch, size, -1)

    table = "embeddings.{}_embeddings.weight".format
    # Padding may reach beyond the last position that the model has.
    place = np.minimum(np.arange(size), config.max_position_embeddings - 1)
    x = params[table("word")][tokens] + params[table("position")][place][None]
    x = norm(x + params[table("token_type")][None, :1], "embeddings.LayerNorm")
    for index in range(config.num_hidden_layers):
        layer = f"encoder.layer.{index}"
        attended = dense(attention(x, f"{layer}.attention.self"), f"{layer}.attention.output.dense")
        h = norm(x + attended, f"{layer}.attention.output.LayerNorm")
        wide = jax.nn.gelu(dense(h, f"{layer}.intermediate.dense"), approximate=False)
        x = norm(h + dense(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return x


def tensor_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Name (without the prefix ``bert.``) and shape of each tensor that is read."""
    d, ff = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocab_size, d),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, d),
    }
    linear = {f"attention.self.{part}": (d, d) for part in ("query", "key", "value")}
    linear |= {"attention.output.dense": (d, d), "intermediate.dense": (ff, d)}
    linear |= {"output.dense": (d, ff)}
    norms = ["embeddings.LayerNorm"]
    for index in range(config.num_hidden_layers):
        layer = f"encoder.layer.{index}"
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
        for name, shape in linear.items():
            shapes[f"{layer}.{name}.weight"] = shape
            shapes[f"{layer}.{name}.bias"] = shape[:1]
    for name in norms:
        shapes |= {f"{name}.weight": (d,), f"{name}.bias": (d,)}
    return shapes | {"embeddings.token_type_embeddings.weight": (2, d)}
