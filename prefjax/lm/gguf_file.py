"""A language model in one GGUF file, as llama.cpp and its converters write it.

Architecture, sizes and tokenizer are in the metadata of the file, under the names of the GGUF
specification. Weights are dequantized once, to the dtype that is asked for; from then on the model
is the same as one read from a Hugging Face folder with these weights, to the last bit.

Two things differ from such a folder. Files of the Llama architecture hold the rows of queries and
keys in the order of rotary pairs (2i, 2i+1), which is undone here: row ``h · dim + 2i + s`` is row
``h · dim + s · dim/2 + i`` of the folder. And nothing in a file says that embedding and head are
one matrix: they are if there is no ``output.weight``, or if it differs from the embedding by no
more than two quantizations of one matrix do; the finer of the two is taken then.

Needs the extra ``gguf``.

References:
    GGUF, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import DTypeLike

from prefjax.lm.config import QwenConfig, RopeScaling
from prefjax.lm.layers import scale_frequencies
from prefjax.lm.params import layer_shapes, outer_shapes
from prefjax.lm.weights import listed, take

KINDS = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_1", "Q4_0")
"""How tensors may be stored, finest first."""
_SAME_MATRIX = 0.3
"""Most relative difference of two quantizations of one matrix (that of Q4_0 to the original is .1);
two unrelated matrices of one size differ by 1.4."""
_OUTER = {"embedding": "token_embd.weight", "norm": "output_norm.weight", "head": "output.weight"}
_LAYER = {
    "attention_norm": "attn_norm",
    "query": "attn_q",
    "key": "attn_k",
    "value": "attn_v",
    "output": "attn_output",
    "query_norm": "attn_q_norm",
    "key_norm": "attn_k_norm",
    "feedforward_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
_ROPE_FACTORS = "rope_freqs.weight"
_LOW, _HIGH, _ORIGINAL = 1.0, 4.0, 8192
"""What all models say whose rope is of type ``llama3``; a file holds the factors that follow."""
_END_NAMES = ("eos_token_id", "eot_token_id", "eom_token_id")
_DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>")


class GGUFModel(NamedTuple):
    """Content of a file.

    Attributes:
        config: Static configuration.
        params: Parameters, as ``prefjax.lm.params`` describes them.
        tokenizer: A fast tokenizer of transformers, with the chat template of the file.
    """

    config: QwenConfig
    params: dict[str, Any]
    tokenizer: Any


class _Metadata:
    """Metadata by name; errors say which entry is missing."""

    def __init__(self, fields: Mapping[str, Any]):
        self._fields = fields

    def get(self, name: str, default: Any = None) -> Any:
        field = self._fields.get(name)
        return default if field is None else field.contents()

    def need(self, name: str) -> Any:
        if name not in self._fields:
            raise ValueError(f"the metadata lack {name!r}")
        return self._fields[name].contents()


def read_gguf(path: Path, dtype: DTypeLike = jnp.float32) -> GGUFModel:
    """Read a model from a GGUF file.

    Args:
        path: The file; Llama (and Mistral), Qwen2, Qwen2.5 or Qwen3, stored as one of ``KINDS``.
        dtype: Type of the parameters in memory.

    Raises:
        ImportError: The package ``gguf`` is not installed.
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or has an architecture, a quantization, a tokenizer or a
            setting that is not supported; the message names it.
    """
    try:
        import gguf
    except ImportError as error:
        raise ImportError("GGUF files need the extra: pip install 'prefjax[gguf]'.") from error
    from prefjax.lm.gguf_tokenizer import make_tokenizer

    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        reader = gguf.GGUFReader(path)
        metadata = _Metadata(reader.fields)
        tensors = {tensor.name: tensor for tensor in reader.tensors}
    except Exception as error:  # the reader follows what a damaged file says wherever it leads
        raise ValueError(
            f"{path} cannot be read as GGUF ({error or type(error).__name__}): it is damaged, cut, "
            "or another kind of file. Copy or download it again."
        ) from error
    try:
        tokenizer = make_tokenizer(metadata.get)
        config = _read_config(metadata, tensors, tokenizer)
        params = _read_params(path, tensors, config, np.dtype(dtype))
    except Exception as error:  # entries of a damaged file may be of any type
        problem = str(error) if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"{path}: {problem}") from error
    return GGUFModel(config, params, tokenizer)


def _read_config(metadata: _Metadata, tensors: Mapping[str, Any], tokenizer: Any) -> QwenConfig:
    kind = metadata.need("general.architecture")
    if kind not in ("llama", "qwen2", "qwen3"):
        raise ValueError(
            f"the architecture {kind!r} is not supported; supported are llama, qwen2 and qwen3"
        )
    _refuse(metadata, kind)
    if _OUTER["embedding"] not in tensors:
        raise ValueError(f"missing: {_OUTER['embedding']}")
    vocab_size = int(tensors[_OUTER["embedding"]].shape[1])
    hidden_size = metadata.need(f"{kind}.embedding_length")
    num_heads = metadata.need(f"{kind}.attention.head_count")
    head_dim = metadata.get(f"{kind}.attention.key_length", hidden_size // num_heads)
    num_rotated = metadata.get(f"{kind}.rope.dimension_count", head_dim)
    if num_rotated != head_dim:
        raise ValueError(
            f"rope turns {num_rotated} of {head_dim} features of a head: only all of them are "
            "supported"
        )
    return QwenConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=metadata.need(f"{kind}.feed_forward_length"),
        num_layers=metadata.need(f"{kind}.block_count"),
        num_heads=num_heads,
        num_kv_heads=metadata.get(f"{kind}.attention.head_count_kv", num_heads),
        head_dim=head_dim,
        max_length=metadata.need(f"{kind}.context_length"),
        rope_theta=float(metadata.get(f"{kind}.rope.freq_base", 10000.0)),
        norm_eps=float(metadata.need(f"{kind}.attention.layer_norm_rms_epsilon")),
        tied=_is_tied(tensors),
        architecture=kind,
        eos_ids=_end_ids(metadata, tokenizer, vocab_size),
        rope_scaling=_rope_scaling(metadata, tensors, kind, head_dim),
    )


def _refuse(metadata: _Metadata, kind: str) -> None:
    if metadata.get(f"{kind}.expert_count"):
        raise ValueError("mixtures of experts are not supported")
    window = metadata.get(f"{kind}.attention.sliding_window")
    if window and window < metadata.need(f"{kind}.context_length"):
        raise ValueError(f"sliding_window {window} is shorter than a text may be")


def _rope_scaling(
    metadata: _Metadata, tensors: Mapping[str, Any], kind: str, head_dim: int
) -> RopeScaling | None:
    name = metadata.get(f"{kind}.rope.scaling.type", "none")
    if name not in ("none", "linear"):
        raise ValueError(f"rope type {name!r} is not supported, only 'none' and 'linear'")
    factor = metadata.get(f"{kind}.rope.scaling.factor", metadata.get(f"{kind}.rope.scale_linear"))
    if _ROPE_FACTORS in tensors:
        if name == "linear":
            raise ValueError(f"the rope is scaled both linearly and by {_ROPE_FACTORS}")
        theta = float(metadata.get(f"{kind}.rope.freq_base", 10000.0))
        return _from_factors(_dequantized(tensors[_ROPE_FACTORS]), theta, head_dim)
    return None if name == "none" else RopeScaling("linear", float(factor or 1.0))


def _from_factors(factors: np.ndarray, theta: float, head_dim: int) -> RopeScaling | None:
    """The scaling whose frequencies are the plain ones divided by the factors of a file."""
    largest = float(np.max(factors))
    frequency = theta ** (-np.arange(0, head_dim, 2) / head_dim)
    if factors.shape != frequency.shape or np.min(factors) < 1:
        raise ValueError(f"{_ROPE_FACTORS} holds no factors of rotary frequencies")
    if largest == 1:
        return None
    between = (factors > 1) & (factors < largest)
    share = (1 / factors - 1 / largest) / (1 - 1 / largest)
    lengths = 2 * np.pi * (_LOW + share * (_HIGH - _LOW)) / frequency
    length = round(float(np.median(lengths[between]))) if between.any() else _ORIGINAL
    scaling = RopeScaling("llama3", largest, _LOW, _HIGH, length)
    made = frequency / np.asarray(scale_frequencies(jnp.asarray(frequency, jnp.float32), scaling))
    if not np.allclose(factors, made, rtol=1e-3):
        raise ValueError(f"{_ROPE_FACTORS} is not the scaling of Llama 3, which alone is supported")
    return scaling


def _end_ids(metadata: _Metadata, tokenizer: Any, vocab_size: int) -> tuple[int, ...]:
    """Tokens that end a response: those that the file names, and the end of a document."""
    named = [metadata.get(f"tokenizer.ggml.{name}") for name in _END_NAMES]
    added = tokenizer.get_added_vocab()
    ends = [*named, *(added.get(token) for token in _DOCUMENT_ENDS)]
    known = dict.fromkeys(int(one) for one in ends if one is not None)
    outside = [one for one in known if not 0 <= one < vocab_size]
    if outside:
        raise ValueError(
            f"the end token {outside[0]} lies outside the vocabulary of {vocab_size}: a text would "
            "never end"
        )
    return tuple(known)


def _is_tied(tensors: Mapping[str, Any]) -> bool:
    if _OUTER["head"] not in tensors:
        return True
    embedding, head = (tensors[_OUTER[name]] for name in ("embedding", "head"))
    if list(embedding.shape) != list(head.shape):
        return False
    one, other = _dequantized(embedding), _dequantized(head)
    gap = float(np.linalg.norm(one - other))
    return gap <= _SAME_MATRIX * max(float(np.linalg.norm(one)), float(np.linalg.norm(other)))


def _read_params(
    path: Path, tensors: Mapping[str, Any], config: QwenConfig, dtype: np.dtype
) -> dict[str, Any]:
    expected = dict(_expected(config))
    shapes = {name: tuple(int(size) for size in one.shape[::-1]) for name, one in tensors.items()}
    ignored = {_ROPE_FACTORS} | ({_OUTER["head"]} if config.tied else set())
    unknown = [name for name in shapes if name not in expected and name not in ignored]
    missing = [name for name in expected if name not in shapes]
    wrong = [
        f"{name} is {list(shapes[name])}, not {list(shape)}"
        for name, (_, shape) in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    wrong += [
        f"{name} is stored as {one.tensor_type.name}, not as one of {', '.join(KINDS)}"
        for name, one in tensors.items()
        if one.tensor_type.name not in KINDS
    ]
    problems = [
        f"{label}: {listed(names)}"
        for label, names in (("missing", missing), ("unused", unknown), ("unfit", wrong))
        if names
    ]
    if problems:
        raise ValueError(f"the tensors are not those of its metadata; {'; '.join(problems)}")

    def read(name: str, stored_as: str) -> jax.Array:
        array = _dequantized(tensors[stored_as])
        if config.architecture == "llama" and name in ("query", "key"):
            array = _unpermuted(array, config.head_dim)
        return take(array, dtype, f"{stored_as} in {path}, read as {dtype.name},")

    params: dict[str, Any] = {"layers": [{} for _ in range(config.num_layers)]}
    for stored_as, ((layer, name), _) in expected.items():
        if name == "embedding" and config.tied:
            stored_as = _finer(tensors)
        place = params if layer is None else params["layers"][layer]
        place[name] = read(name, stored_as)
    return params


def _expected(
    config: QwenConfig,
) -> Iterator[tuple[str, tuple[tuple[int | None, str], tuple[int, ...]]]]:
    """Name in the file, then layer, name here and shape of every tensor."""
    for name, shape in outer_shapes(config).items():
        yield _OUTER[name], ((None, name), shape)
    for layer in range(config.num_layers):
        for name, shape in layer_shapes(config).items():
            stem, kind = (name[:-5], "bias") if name.endswith("_bias") else (name, "weight")
            yield f"blk.{layer}.{_LAYER[stem]}.{kind}", ((layer, name), shape)


def _finer(tensors: Mapping[str, Any]) -> str:
    """Which of embedding and head, which are one matrix, is stored in finer steps."""
    stored = [name for name in (_OUTER["embedding"], _OUTER["head"]) if name in tensors]
    return min(stored, key=lambda name: KINDS.index(tensors[name].tensor_type.name))


def _dequantized(tensor: Any) -> np.ndarray:
    from gguf.quants import dequantize

    if tensor.tensor_type.name not in KINDS:
        raise ValueError(
            f"{tensor.name} is stored as {tensor.tensor_type.name}, not as one of "
            f"{', '.join(KINDS)}"
        )
    shape = tuple(int(size) for size in tensor.shape[::-1])
    return dequantize(tensor.data, tensor.tensor_type).reshape(shape)


def _unpermuted(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of queries or keys in the order of a Hugging Face folder."""
    paired = rows.reshape(-1, head_dim // 2, 2, math.prod(rows.shape[1:]))
    return paired.swapaxes(1, 2).reshape(rows.shape)
