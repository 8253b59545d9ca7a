"""Weights on disk: safetensors in the layout and under the names of Hugging Face.

One ``model.safetensors``, or shards listed by ``model.safetensors.index.json``; names with or
without the prefix ``model.``. A backbone has no ``lm_head.weight``; the heads of reward models and
classifiers are left out. Each tensor goes into memory once, into a buffer so aligned that JAX takes
it over without a copy; one that is not finite is refused. Nothing is unpickled.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jaxtyping import DTypeLike
from safetensors.numpy import save_file

from prefjax.io import check_finite, open_tensors, read_object, write_atomically
from prefjax.lm.config import QwenConfig
from prefjax.lm.params import layer_shapes, outer_shapes, unstack_layers
from prefjax.types import Params

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_DTYPES = ("BF16", "F16", "F32")
_ALIGNMENT = 64  # bytes; XLA copies buffers of the host that are aligned worse
_OUTER = {"embedding": "embed_tokens.weight", "norm": "norm.weight", "head": "lm_head.weight"}
_SCORE = "score.weight"
_LEFT_OUT = ("score.", "classifier.", "v_head.")
"""How the names of tensors begin that belong to another head than that of words."""
_LAYER = {
    "attention_norm": "input_layernorm",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "query_norm": "self_attn.q_norm",
    "key_norm": "self_attn.k_norm",
    "feedforward_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


def _layer_name(index: int, name: str) -> str:
    stem, kind = (name[:-5], "bias") if name.endswith("_bias") else (name, "weight")
    return f"layers.{index}.{_LAYER[stem]}.{kind}"


def tensor_shapes(config: QwenConfig) -> dict[str, tuple[int, ...]]:
    """Name (without the prefix ``model.``) and shape of each tensor of a checkpoint."""
    shapes = {_OUTER[name]: shape for name, shape in outer_shapes(config).items()}
    for index in range(config.num_layers):
        for name, shape in layer_shapes(config).items():
            shapes[_layer_name(index, name)] = shape
    return shapes


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a checkpoint.

    Raises:
        FileNotFoundError: There is no checkpoint, or a shard that the index lists is not there.
        ValueError: The index is not one.
    """
    if (directory / SINGLE).is_file():
        return [directory / SINGLE]
    index = directory / INDEX
    if not index.is_file():
        others = sorted(path.name for path in directory.glob("*.bin"))
        hint = f" ({others[0]} is a pickle and is not read)" if others else ""
        raise FileNotFoundError(f"{directory} has neither {SINGLE} nor {INDEX}{hint}.")
    try:
        names = sorted(set(read_object(index)["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is not an index of shards: {error!r}") from error
    strays = [name for name in names if Path(str(name)).name != name]
    if strays:
        raise ValueError(f"{index} is not an index of shards: {strays[0]!r} is no file beside it.")
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{directory} lacks {len(missing)} of {len(names)} shards: {listed(missing)}."
        )
    return [directory / name for name in names]


def read(directory: Path, config: QwenConfig, dtype: DTypeLike) -> dict[str, Any]:
    """Parameters of a checkpoint, on the default device; without ``head`` if it has none.

    Args:
        directory: Folder with the safetensors files.
        config: What the checkpoint should hold.
        dtype: Type of the parameters in memory.

    Raises:
        FileNotFoundError: There is no checkpoint, or a shard that the index lists is not there.
        ValueError: Tensors are missing, unused, of another shape or type, or not finite, or a file
            is damaged.
    """
    files = weight_files(directory)
    expected = tensor_shapes(config)
    found: dict[str, Path] = {}
    unused, wrong = [], []
    for path in files:
        for name, shape, kind in _headers(path):
            plain = name.removeprefix("model.")
            if plain.startswith(_LEFT_OUT) or plain.endswith("rotary_emb.inv_freq"):
                continue
            if plain in found:
                raise ValueError(f"{name} is both in {found[plain].name} and in {path.name}.")
            found[plain] = path
            if plain == _OUTER["head"] and config.tied:
                continue
            if plain not in expected:
                unused.append(name)
            elif shape != expected[plain]:
                wrong.append(f"{name} is {list(shape)}, not {list(expected[plain])}")
            elif kind not in _DTYPES:
                wrong.append(f"{name} is stored as {kind}, not as one of {', '.join(_DTYPES)}")
    if _OUTER["head"] not in found:
        expected.pop(_OUTER["head"], None)
    missing = [name for name in expected if name not in found]
    problems = [
        f"{label}: {listed(names)}"
        for label, names in (("missing", missing), ("unused", unused), ("mis-shaped", wrong))
        if names
    ]
    if problems:
        raise ValueError(
            f"The tensors in {directory} are not those of its config.json; {'; '.join(problems)}."
        )
    arrays: dict[str, jax.Array] = {}
    for path in files:
        with open_tensors(path) as file:
            for name in sorted(file.keys()):
                plain = name.removeprefix("model.")
                if plain in expected:
                    label = f"{name} in {path}, read as {np.dtype(dtype).name},"
                    arrays[plain] = take(file.get_tensor(name), np.dtype(dtype), label)
    if config.tied and _OUTER["head"] in found:
        _check_tied(found[_OUTER["head"]], arrays[_OUTER["embedding"]], np.dtype(dtype))
    outer = {name: arrays[full] for name, full in _OUTER.items() if full in arrays}
    return outer | {
        "layers": [
            {name: arrays[_layer_name(index, name)] for name in layer_shapes(config)}
            for index in range(config.num_layers)
        ]
    }


def read_score(directory: Path, config: QwenConfig) -> np.ndarray:
    """The score head of a reward model or classifier, one row a label, in single precision.

    Args:
        directory: Folder of a ``*ForSequenceClassification``.
        config: Its configuration.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: It has no such head, or one that is not finite or of another width.
    """
    for path in weight_files(directory):
        with open_tensors(path) as file:
            if _SCORE not in file.keys():  # noqa: SIM118 (the file is no mapping)
                continue
            score = np.asarray(file.get_tensor(_SCORE)).astype(np.float32)
        check_finite(score, f"{_SCORE} in {path}")
        if score.ndim != 2 or score.shape[1] != config.hidden_size:
            raise ValueError(
                f"{_SCORE} in {path} is {list(score.shape)}, not [num_labels, "
                f"{config.hidden_size}]."
            )
        return score
    raise ValueError(f"{directory} has no tensor {_SCORE}: it is not a reward model.")


def write(
    directory: Path,
    params: Params,
    config: QwenConfig,
    *,
    more: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> None:
    """Write parameters as one ``model.safetensors``, which appears whole or not at all.

    Args:
        directory: Where the file goes.
        params: As a list of layers or stacked; without ``head`` for a backbone.
        config: Their configuration.
        more: Further tensors by their full name, such as ``score.weight``.

    Raises:
        ValueError: The parameters are not those of the configuration, or not finite.
    """
    params = unstack_layers(params)
    tensors = {_OUTER[name]: params[name] for name in outer_shapes(config) if name in params}
    for index, layer in enumerate(params["layers"]):
        tensors |= {_layer_name(index, name): array for name, array in layer.items()}
    shapes = {name: tuple(array.shape) for name, array in tensors.items()}
    expected = tensor_shapes(config)
    if "head" not in params:
        expected.pop(_OUTER["head"], None)
    if shapes != expected:
        names = sorted(name for name in shapes | expected if shapes.get(name) != expected.get(name))
        raise ValueError(f"The parameters do not fit the configuration: {listed(names)}.")
    full = {
        name if name == _OUTER["head"] else f"model.{name}": np.ascontiguousarray(array)
        for name, array in tensors.items()
    } | dict(more)
    for name, array in full.items():
        check_finite(array, name)
    write_atomically(
        directory / SINGLE, lambda path: save_file(full, path, metadata={"format": "pt"})
    )


def _headers(path: Path) -> Iterator[tuple[str, tuple[int, ...], str]]:
    with open_tensors(path) as file:
        for name in sorted(file.keys()):
            part = file.get_slice(name)
            yield name, tuple(part.get_shape()), part.get_dtype()


def take(tensor: np.ndarray, dtype: np.dtype, label: str) -> jax.Array:
    """A tensor of the file as an array of JAX, converted into one aligned buffer.

    Raises:
        ValueError: It is not finite.
    """
    raw = np.empty(tensor.size * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    buffer = raw[start : start + tensor.size * dtype.itemsize].view(dtype).reshape(tensor.shape)
    with np.errstate(over="ignore"):  # what leaves the range of the type is refused below
        np.copyto(buffer, tensor, casting="unsafe")
    check_finite(buffer, label)
    return jax.device_put(buffer)


def _check_tied(path: Path, embedding: jax.Array, dtype: np.dtype) -> None:
    with open_tensors(path) as file:
        head = file.get_tensor(_OUTER["head"])
    if head.shape != embedding.shape or not np.array_equal(head.astype(dtype), embedding):
        raise ValueError(
            f"{path} has an lm_head.weight that differs from the embedding, although config.json "
            "says tie_word_embeddings."
        )


def listed(names: list[str] | Mapping[str, Any], most: int = 5) -> str:
    """The first names, and how many there are if that is not all."""
    shown = ", ".join(list(names)[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"
