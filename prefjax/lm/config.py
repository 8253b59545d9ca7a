"""What a checkpoint of a decoder is: the numbers of ``config.json`` that are computed with.

Everything that would change the mathematics and is not implemented is refused by name: other
architectures, other scalings of rotary embeddings, sliding windows, other activations, quantized
weights.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

_ARCHITECTURES = ("qwen2", "qwen3", "llama")
_ROPE_ENTRIES = {
    "linear": ("factor",),
    "llama3": (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
}
"""What a file says of a scaled rope, in the order of ``RopeScaling``."""
_MOST = "max_position_embeddings"
_MISTRAL_WINDOW = 4096  # of transformers, where the file does not say
_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_layers",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "max_length",
)


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched for texts longer than those first trained on.

    Attributes:
        kind: ``linear`` divides every frequency by the factor; ``llama3`` those whose wavelength
            exceeds ``original_length / low_frequency``, none of those below
            ``original_length / high_frequency``, and between the two a mean of both.
        factor: What frequencies are divided by.
        low_frequency: Turns in the original length below which a frequency is divided.
        high_frequency: Turns in the original length above which it stays.
        original_length: Tokens of the longest text first trained on.

    Raises:
        ValueError: The kind is another, or a number is not positive and finite.

    References:
        Llama 3, arXiv 2407.21783, section 3.4.2; linear scaling, arXiv 2306.15595.
    """

    kind: str
    factor: int | float
    low_frequency: int | float = 1.0
    high_frequency: int | float = 4.0
    original_length: int | float = 8192

    def __post_init__(self) -> None:
        if self.kind not in _ROPE_ENTRIES:
            raise ValueError(
                f"rope type {self.kind!r} is not supported, only 'default', 'linear' and 'llama3'"
            )
        if not all(0 < value < math.inf for value in dataclasses.astuple(self)[1:]):
            raise ValueError(f"rope type {self.kind!r} needs positive numbers, got {self}")
        if self.low_frequency >= self.high_frequency:
            raise ValueError(f"rope type {self.kind!r} needs low_frequency below high_frequency")


@dataclasses.dataclass(frozen=True)
class QwenConfig:
    """Static configuration of a Qwen2, Qwen2.5, Qwen3, Llama or Mistral decoder.

    Attributes:
        vocab_size: Rows of the embedding, at least the length of the tokenizer.
        hidden_size: d, width of the residual stream.
        intermediate_size: Width of the gated feed-forward layer.
        num_layers: Number of blocks.
        num_heads: Heads of the queries.
        num_kv_heads: Heads of keys and values; divides ``num_heads``.
        head_dim: Width of one head, even.
        max_length: Longest sequence the model was trained for, in tokens.
        rope_theta: Base θ of the rotary angles ``position · θ^(-2i/head_dim)``.
        norm_eps: ε of the root mean square norms.
        tied: The embedding is the output head as well.
        architecture: ``qwen2`` (biases on queries, keys and values), ``qwen3`` (no bias, but a
            norm of every query and key head) or ``llama`` (neither; Mistral is the same).
        eos_ids: Tokens that end a response.
        rope_scaling: How the rotary frequencies are stretched; not by default.

    Raises:
        ValueError: A size is not positive or does not fit the others.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_length: int = 32768
    rope_theta: float = 1e6
    norm_eps: float = 1e-6
    tied: bool = True
    architecture: str = "qwen2"
    eos_ids: tuple[int, ...] = ()
    rope_scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        if self.architecture not in _ARCHITECTURES:
            raise ValueError(
                f"architecture must be qwen2 or qwen3 or llama, got {self.architecture!r}"
            )
        for name in _SIZES:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads {self.num_kv_heads} does not divide num_heads {self.num_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for rotary embeddings, got {self.head_dim}")
        if not (0 < self.rope_theta < math.inf and 0 < self.norm_eps < math.inf):
            raise ValueError("rope_theta and norm_eps must be positive and finite")
        if not all(isinstance(one, int) for one in self.eos_ids):
            raise ValueError(f"eos_ids must be integers, got {self.eos_ids!r}")


def from_dict(values: Mapping[str, Any]) -> QwenConfig:
    """Read the content of a Hugging Face ``config.json``, in the form of version 4 or 5.

    Args:
        values: The parsed file.

    Raises:
        ValueError: The architecture, rope type, attention window, activation or quantization is
            one that this package does not compute, or a needed entry is missing.
    """
    kind = values.get("model_type")
    if kind not in (*_ARCHITECTURES, "mistral"):
        raise ValueError(
            f"model_type {kind!r} is not supported; supported are qwen2 (Qwen2, Qwen2.5), qwen3, "
            "llama and mistral"
        )
    architecture = "llama" if kind == "mistral" else kind
    _refuse(values)
    try:
        hidden_size, num_heads = values["hidden_size"], values["num_attention_heads"]
        head_dim = values.get("head_dim") or (
            128 if architecture == "qwen3" else hidden_size // num_heads
        )
        eos = values.get("eos_token_id")
        config = QwenConfig(
            vocab_size=values["vocab_size"],
            hidden_size=hidden_size,
            intermediate_size=values["intermediate_size"],
            num_layers=values["num_hidden_layers"],
            num_heads=num_heads,
            num_kv_heads=values.get("num_key_value_heads") or num_heads,
            head_dim=head_dim,
            max_length=values.get(_MOST, 32768),
            rope_theta=float(_rope_theta(values)),
            norm_eps=float(values.get("rms_norm_eps", 1e-6)),
            tied=bool(values.get("tie_word_embeddings", False)),
            architecture=architecture,
            rope_scaling=_rope_scaling(values),
            eos_ids=() if eos is None else tuple(eos) if isinstance(eos, list | tuple) else (eos,),
        )
    except KeyError as error:
        raise ValueError(f"config.json lacks {error.args[0]!r}") from error
    except (TypeError, ZeroDivisionError) as error:
        raise ValueError(f"config.json has an entry that is no such number ({error})") from error
    outside = [one for one in config.eos_ids if not 0 <= one < config.vocab_size]
    if outside:
        raise ValueError(
            f"eos_token_id {outside[0]} lies outside the vocabulary of {config.vocab_size}: a text "
            "would never end"
        )
    return config


def to_dict(config: QwenConfig, *, dtype: str = "float32") -> dict[str, Any]:
    """The ``config.json`` that Hugging Face transformers reads; ``from_dict`` reads it back.

    Args:
        config: The configuration.
        dtype: Name of the dtype of the stored weights.
    """
    eos, scaling = config.eos_ids, config.rope_scaling
    rope = None
    if scaling is not None:
        entries = zip(_ROPE_ENTRIES[scaling.kind], dataclasses.astuple(scaling)[1:], strict=False)
        rope = {"rope_type": scaling.kind} | dict(entries)
    return {
        "architectures": [f"{config.architecture.capitalize()}ForCausalLM"],
        "model_type": config.architecture,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_length,
        "rope_theta": config.rope_theta,
        "rope_scaling": rope,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tied,
        "hidden_act": "silu",
        "attention_bias": config.architecture == "qwen2",
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "eos_token_id": eos[0] if len(eos) == 1 else list(eos) or None,
        "torch_dtype": dtype,
    }


def _rope_theta(values: Mapping[str, Any]) -> Any:
    places = (values.get("rope_parameters") or {}, values.get("rope_scaling") or {}, values)
    return next((place["rope_theta"] for place in places if "rope_theta" in place), 10000.0)


def _rope_scaling(values: Mapping[str, Any]) -> RopeScaling | None:
    """How the first place that scales does; a file may have two, and either may scale."""
    for name in ("rope_parameters", "rope_scaling"):
        rope = values.get(name) or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            entries = _ROPE_ENTRIES.get(kind, ())
            for entry in entries:
                if type(rope.get(entry)) not in (int, float):
                    raise ValueError(
                        f"rope type {kind!r} needs a number {entry}, got {rope.get(entry)!r}"
                    )
            return RopeScaling(str(kind), *([rope[entry] for entry in entries] or [1.0]))
    return None


def _refuse_rope(rope: Any) -> None:
    if not isinstance(rope, Mapping):
        raise ValueError(f"the settings of rope must be an object, got {rope!r}")
    if any(isinstance(value, Mapping) for value in rope.values()):
        raise ValueError(f"settings of rope by layer are not supported, got {dict(rope)}")


def _refuse(values: Mapping[str, Any]) -> None:
    for name in ("rope_parameters", "rope_scaling"):
        _refuse_rope(values.get(name) or {})
    for place in (values.get("rope_parameters") or {}, values.get("rope_scaling") or {}, values):
        if place.get("partial_rotary_factor", 1.0) != 1.0:
            raise ValueError("partial_rotary_factor other than 1 is not supported")
    if values.get("use_sliding_window"):
        raise ValueError("use_sliding_window is true: sliding windows are not supported")
    other = sorted(set(values.get("layer_types") or ()) - {"full_attention"})
    if other:
        raise ValueError(f"layer_types has {other[0]!r}: only 'full_attention' is supported")
    if values.get("hidden_act", "silu") != "silu":
        raise ValueError(f"hidden_act {values['hidden_act']!r} is not supported, only 'silu'")
    for name in ("attention_bias", "mlp_bias"):
        if values.get("model_type") != "qwen2" and values.get(name):
            raise ValueError(f"{name} is true: of biases only those of qwen2 are supported")
    if values.get("model_type") == "mistral":
        window, most = values.get("sliding_window", _MISTRAL_WINDOW), values.get(_MOST)
        if window is not None and not (type(most) is int and most <= window):
            raise ValueError(f"sliding_window {window} is shorter than a text may be")
    if values.get("quantization_config"):
        how = values["quantization_config"]
        method = how.get("quant_method", "unknown") if isinstance(how, Mapping) else how
        raise ValueError(f"quantization_config ({method}): quantized weights are not supported")
