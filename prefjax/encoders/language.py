"""A causal language model as an encoder.

    e = h_T   (pooling "last", the state of the last token)   or   e = mean of h_t over the response

of one layer, after the final norm by default. Texts of like length are read together: a length is
rounded up to a bucket, and each bucket has one batch size, so the shapes and with them the
embedding are those of the text alone, whatever is encoded beside it. A prompt is read once for all
responses to it; its keys and values are then shared.

References:
    arXiv 2503.06358, section 4 (the state of the last token of prompt and response).
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from prefjax import lm
from prefjax.encoders.batches import Batch, bucketed
from prefjax.encoders.contract import Lengths, Text, check_texts
from prefjax.encoders.template import TEMPLATES, Row, make_rows, render
from prefjax.types import Array

_VERSION = "language-1"
_SLAB = 256  # texts whose prompts are held in memory at once
POOLINGS = ("last", "mean")


@dataclasses.dataclass(frozen=True)
class LanguageConfig:
    """How texts are read. Every field may change an embedding and is part of the fingerprint.

    Attributes:
        template: ``chat``, or ``raw`` for prompt + response as they stand.
        system: What the system turn of the chat template says; None for no such turn.
        layer: -1 for the last state, after the final norm; k for the state after block k.
        pooling: ``last`` token, or ``mean`` over the tokens of the response.
        window: Most tokens of a text; the model's own length if that is less.
        share_prompts: Read a prompt once for all its responses; only with ``layer=-1``.
        bucket: Lengths are rounded up to a multiple of this many tokens.
        batch_tokens: Tokens of a batch, padding included.
        dtype: ``float32``, ``bfloat16``, or None for what suits the device: bfloat16 on
            accelerators, float32 on a CPU.

    Raises:
        ValueError: If a setting is not one of these.
    """

    template: str = "chat"
    system: str | None = None
    layer: int = -1
    pooling: str = "last"
    window: int = 2048
    share_prompts: bool = True
    bucket: int = 64
    batch_tokens: int = 1024
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.template not in TEMPLATES:
            raise ValueError(f"template must be one of {TEMPLATES}, got {self.template!r}.")
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {POOLINGS}, got {self.pooling!r}.")
        if self.system is not None and self.template == "raw":
            raise ValueError("The raw template has no system turn; use the chat template.")
        if self.dtype not in (None, "float32", "bfloat16"):
            raise ValueError(f"dtype must be float32 or bfloat16, got {self.dtype!r}.")
        for name in ("window", "bucket", "batch_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")

    def resolve(self) -> "LanguageConfig":
        """The same with the dtype that suits the device."""
        chosen = "float32" if jax.default_backend() == "cpu" else "bfloat16"
        return dataclasses.replace(self, dtype=self.dtype or chosen)


@dataclasses.dataclass(frozen=True, eq=False)
class LanguageEncoder:
    """A language model with settings; made by ``make_language_encoder``."""

    model: lm.LanguageModel
    config: LanguageConfig
    fingerprint: str

    def lengths(self, texts: Sequence[Text]) -> Lengths:
        """Tokens that would be read of each text, and which texts would be cut.

        Args:
            texts: Texts, or pairs of prompt and response.

        Raises:
            TypeError: If an entry is neither a string nor a pair of strings.
            ValueError: If an entry has a lone surrogate.
        """
        rows = self._rows(texts)
        return Lengths(
            np.array([len(row.before) + len(row.after) for row in rows], np.int64),
            np.array([row.cut for row in rows], bool),
        )

    def encode(self, texts: Sequence[Text]) -> Float32[np.ndarray, "text feature"]:
        """Embeddings of texts, one row each.

        Args:
            texts: Texts, or pairs of prompt and response. A text without a single token (empty, in
                the raw template) gives the zero vector.

        Raises:
            TypeError: If an entry is neither a string nor a pair of strings.
            ValueError: If an entry has a lone surrogate.
        """
        rows = self._rows(texts)
        shares = self.config.share_prompts and self.config.layer == -1
        out = np.zeros((len(rows), self.model.config.hidden_size), np.float32)
        for start in range(0, len(rows), _SLAB):
            slab = {i: rows[i] for i in range(start, min(start + _SLAB, len(rows)))}
            whole = {i: r for i, r in slab.items() if r.after and not (shares and r.before)}
            shared = {i: r for i, r in slab.items() if shares and r.before}
            for members, values in (*self._whole(whole), *self._shared(shared)):
                out[members] = np.asarray(values)[: len(members)]
        return out

    def _rows(self, texts: Sequence[Text]) -> list[Row]:
        check_texts(texts)
        config = self.config
        rendered = [render(text, config.template, config.system) for text in texts]
        window = min(config.window, self.model.config.max_length)
        return make_rows(self.model.tokenizer, rendered, window) if rendered else []

    def _bucketed(self, rows: Mapping[int, Sequence[int]]) -> Iterator[Batch]:
        return bucketed(rows, bucket=self.config.bucket, batch_tokens=self.config.batch_tokens)

    def _whole(self, rows: Mapping[int, Row]) -> Iterator[tuple[list[int], jax.Array]]:
        """Read prompt and response together."""
        for batch in self._bucketed({i: row.before + row.after for i, row in rows.items()}):
            num_before = np.full(len(batch.tokens), batch.tokens.shape[1])
            num_before[: len(batch.members)] = [len(rows[i].before) for i in batch.members]
            counted = batch.mask & (np.arange(batch.tokens.shape[1])[None] >= num_before[:, None])
            yield (
                batch.members,
                _read(
                    self.model.params,
                    batch.tokens,
                    batch.mask,
                    counted,
                    config=self.model.config,
                    layer=self.config.layer,
                    pooling=self.config.pooling,
                ),
            )

    def _shared(self, rows: Mapping[int, Row]) -> Iterator[tuple[list[int], jax.Array]]:
        """Read each prompt once, then the responses to it."""
        model = self.model
        prompts = dict(enumerate(dict.fromkeys(row.before for row in rows.values())))
        read: dict[int, list[tuple[Batch, lm.Cache]]] = {}
        for batch in self._bucketed(prompts):
            cache = _read_prompts(model.params, batch.tokens, batch.mask, config=model.config)
            read.setdefault(batch.tokens.shape[1], []).append((batch, cache))
        for parts in read.values():
            slot_of: dict[tuple[int, ...], int] = {}
            for number, (batch, _) in enumerate(parts):
                first = number * len(batch.tokens)
                slot_of |= {prompts[i]: first + at for at, i in enumerate(batch.members)}
            cache = _join([cache for _, cache in parts])
            here = {i: row.after for i, row in rows.items() if row.before in slot_of}
            for batch in self._bucketed(here):
                slots = np.zeros(len(batch.tokens), np.int32)
                slots[: len(batch.members)] = [slot_of[rows[i].before] for i in batch.members]
                yield (
                    batch.members,
                    _read_responses(
                        model.params,
                        _take(cache, slots, num_free=batch.tokens.shape[1]),
                        batch.tokens,
                        batch.mask,
                        config=model.config,
                        pooling=self.config.pooling,
                    ),
                )


def make_language_encoder(
    model: lm.LanguageModel, config: LanguageConfig = LanguageConfig()
) -> LanguageEncoder:
    """A loaded model as an encoder.

    Args:
        model: See ``prefjax.lm.load``; its parameters are cast to the dtype of the settings.
        config: How texts are read.

    Raises:
        ValueError: If there is no fast tokenizer, the tokenizer does not fit the model, or the
            model has no such layer.
    """
    config = config.resolve()
    if model.tokenizer is None or not model.tokenizer.is_fast:
        raise ValueError(f"{model.directory} has no fast tokenizer (tokenizer.json).")
    num_ids = max(model.tokenizer.get_vocab().values()) + 1
    if num_ids > model.config.vocab_size:
        raise ValueError(
            f"The tokenizer in {model.directory} has ids up to {num_ids - 1}, the model "
            f"{model.config.vocab_size} tokens: they do not belong together."
        )
    if not -1 <= config.layer <= model.config.num_layers:
        raise ValueError(
            f"layer {config.layer} does not exist: -1 is the last, 0 to {model.config.num_layers} "
            "the states before the final norm."
        )
    settings = json.dumps([lm.fingerprint(model.directory), dataclasses.asdict(config)])
    digest = hashlib.sha256(settings.encode()).hexdigest()[:32]
    params = jax.tree.map(lambda leaf: leaf.astype(config.dtype), model.params)
    return LanguageEncoder(model._replace(params=params), config, f"{_VERSION}-{digest}")


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


@partial(jax.jit, static_argnames=("config", "layer", "pooling"))
def _read(params: Any, tokens, mask, counted, *, config: lm.QwenConfig, layer: int, pooling: str):
    return _pool(lm.forward(params, config, tokens, mask, layer=layer), mask, counted, pooling)


@partial(jax.jit, static_argnames="config")
def _read_prompts(params: Any, tokens, mask, *, config: lm.QwenConfig) -> lm.Cache:
    return lm.prefill(params, config, tokens, mask, tokens.shape[1])[1]


@partial(jax.jit, static_argnames=("config", "pooling"))
def _read_responses(params: Any, cache, tokens, mask, *, config: lm.QwenConfig, pooling: str):
    return _pool(lm.extend(params, config, cache, tokens, mask)[0], mask, mask, pooling)


@jax.jit
def _join(caches: list[lm.Cache]) -> lm.Cache:
    """Caches of as many slots as one, row after row."""
    first, mask = caches[0], jnp.concatenate([cache.mask for cache in caches])
    layers = jax.tree.map(
        lambda *parts: jnp.concatenate(parts, axis=parts[0].ndim - 4),
        *[cache.layers for cache in caches],
    )
    num_tokens = jnp.concatenate([cache.num_tokens for cache in caches])
    return first._replace(layers=layers, mask=mask, num_tokens=num_tokens)


@partial(jax.jit, static_argnames="num_free")
def _take(cache: lm.Cache, rows: Int[Array, " batch"], *, num_free: int) -> lm.Cache:
    """The cache of these rows, with slots for the tokens to come."""
    cache = lm.take_rows(cache, rows)

    def widen(array: Array, axis: int) -> jax.Array:
        room = [(0, 0)] * array.ndim
        room[axis] = (0, num_free)
        return jnp.pad(array, room)

    layers = jax.tree.map(lambda array: widen(array, array.ndim - 2), cache.layers)
    return cache._replace(layers=layers, mask=widen(cache.mask, 1))
