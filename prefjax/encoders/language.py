"""A causal language model as an encoder.

    e = mean of h_t over the tokens of the response   (pooling "mean"; "mean-all": over all tokens)
    e = h_T                                           (pooling "last", the state of the last token)

of one layer (`LanguageConfig` says which, and what was measured). Texts of like length are read
together: a length is rounded up to a bucket, and each bucket has one batch size, so the shapes and
with them the embedding are those of the text alone, whatever is encoded beside it and on however
many devices. A prompt is read once for all responses to it; its keys and values are then shared.
``encode_variants`` makes the embeddings of several layers and ways of pooling in one pass.

References:
    arXiv 2503.06358, section 4 (the state of the last token of prompt and response).
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32

from prefjax import lm, parallel
from prefjax.encoders.batches import Batch, bucketed
from prefjax.encoders.contract import Text, check_texts
from prefjax.encoders.language_config import DEFAULT, LanguageConfig, default_config
from prefjax.encoders.reading import Programs, Reading, make_programs
from prefjax.encoders.rows import Row, RowEncoder
from prefjax.encoders.specification import write
from prefjax.encoders.template import (
    OwnTemplate,
    Rendered,
    check_end_token,
    check_turn_end,
    make_rows,
    render,
)
from prefjax.types import Embeddings

_VERSION = "language-3"
_SLAB = 256  # texts whose prompts a device holds in memory at once


@dataclasses.dataclass(frozen=True, eq=False)
class LanguageEncoder(RowEncoder):
    """A language model with settings, on the devices of a mesh; ``make_language_encoder`` makes it.

    Attributes:
        model: The model, its parameters on the devices in the dtype of the settings.
        config: How texts are read.
        mesh: The devices, each of which has a copy of the parameters.
        name: Name of the model, for ``specification``.
        digest: SHA-256 of the model's files.
    """

    model: lm.LanguageModel
    config: LanguageConfig
    mesh: Mesh
    name: str
    digest: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the model's files and of the settings."""
        layer = self.config.layer_of(self.model.config.num_layers)
        settings = [self.digest, dataclasses.asdict(self.config) | {"layer": layer}]
        return f"{_VERSION}-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]}"

    @property
    def specification(self) -> str:
        """Name with settings, from which ``get_encoder`` makes the same encoder again."""
        return write(self.name, self.config, default_config(self.name))

    @property
    def reading(self) -> Reading:
        """Layer and pooling."""
        return Reading(self.config.layer_of(self.model.config.num_layers), self.config.pooling)

    def variant(
        self, *, layer: int | float | None = None, pooling: str | None = None
    ) -> "LanguageEncoder":
        """The same model, read at another layer or pooled in another way.

        Args:
            layer: As in the settings; the same by default.
            pooling: As in the settings; the same by default.

        Raises:
            ValueError: There is no such layer or pooling.
        """
        changes = {"layer": layer, "pooling": pooling}
        config = dataclasses.replace(
            self.config, **{name: value for name, value in changes.items() if value is not None}
        )
        config.layer_of(self.model.config.num_layers)
        return dataclasses.replace(self, config=config)

    def encode(self, texts: Sequence[Text]) -> Float32[np.ndarray, "text feature"]:
        """Embeddings of texts, one row each.

        Args:
            texts: Texts, or pairs of prompt and response. A text without a single token (empty, in
                the raw template) gives the zero vector.

        Raises:
            TypeError: If an entry is neither a string nor a pair of strings.
            ValueError: If an entry has a lone surrogate.
        """
        vectors = self._read(texts, (self.reading,))[:, 0, : self.config.width]
        return Embeddings.of(vectors, self.fingerprint)

    def _read(
        self, texts: Sequence[Text], readings: tuple[Reading, ...]
    ) -> Float32[np.ndarray, "text reading feature"]:
        rows = self._rows(texts)
        programs = make_programs(self.model.config, readings, self.mesh)
        shares = self.config.share_prompts
        out = np.zeros((len(rows), len(readings), self.model.config.hidden_size), np.float32)
        slab_size = _SLAB * self.mesh.size
        for start in range(0, len(rows), slab_size):
            slab = {i: rows[i] for i in range(start, min(start + slab_size, len(rows)))}
            whole = {i: r for i, r in slab.items() if r.after and not (shares and r.before)}
            shared = {i: r for i, r in slab.items() if shares and r.before}
            for batch, vectors in (
                *self._whole(whole, programs),
                *self._shared(shared, programs),
            ):
                out[batch.members] = np.asarray(vectors)[batch.places]
        return out

    @cached_property
    def _own(self) -> OwnTemplate:
        return OwnTemplate(self.model.tokenizer, self.config.system)

    def _render(self, text: Text) -> Rendered:
        config = self.config
        if config.instruction is not None:
            prompt, response = ("", text) if isinstance(text, str) else text
            text = (f"Instruct: {config.instruction}\nQuery:{prompt}", response)
        if config.template == "own":
            return self._own.render(text)
        return render(text, config.template, config.system, config.end_token or "")

    def _rows(self, texts: Sequence[Text]) -> list[Row]:
        check_texts(texts)
        rendered = [self._render(text) for text in texts]
        window = min(self.config.window, self.model.config.max_length)
        return make_rows(self.model.tokenizer, rendered, window) if rendered else []

    def _batches(
        self, rows: Mapping[int, Sequence[int]], device_of: Mapping[int, int] | None = None
    ) -> Iterator[Batch]:
        return bucketed(
            rows,
            bucket=self.config.bucket,
            batch_tokens=self.config.batch_tokens,
            num_devices=self.mesh.size,
            device_of=device_of,
        )

    def _place(self, *arrays: np.ndarray) -> tuple[jax.Array, ...]:
        return parallel.place(arrays, "sharded", self.mesh)

    def _whole(
        self, rows: Mapping[int, Row], programs: Programs
    ) -> Iterator[tuple[Batch, jax.Array]]:
        """Read prompt and response together."""
        for batch in self._batches({i: row.before + row.after for i, row in rows.items()}):
            num_before = np.full(len(batch.tokens), batch.tokens.shape[1])
            num_before[batch.places] = [len(rows[i].before) for i in batch.members]
            counted = batch.mask & (np.arange(batch.tokens.shape[1])[None] >= num_before[:, None])
            placed = self._place(batch.tokens, batch.mask, counted)
            yield batch, programs.read(self.model.params, *placed)

    def _shared(
        self, rows: Mapping[int, Row], programs: Programs
    ) -> Iterator[tuple[Batch, jax.Array]]:
        """Read each prompt once, then the responses to it."""
        by_size: dict[int, dict[int, Row]] = {}
        for i, row in rows.items():
            by_size.setdefault(-(-len(row.before) // self.config.bucket), {})[i] = row
        for here in by_size.values():
            yield from self._after_prompts(here, programs)

    def _after_prompts(
        self, rows: Mapping[int, Row], programs: Programs
    ) -> Iterator[tuple[Batch, jax.Array]]:
        """The same for prompts of one bucket; every device reads the prompts that it needs."""
        params = self.model.params
        order = sorted(rows, key=lambda i: rows[i].before)
        device_of = {i: k * self.mesh.size // len(order) for k, i in enumerate(order)}
        prompts = list(dict.fromkeys((device_of[i], rows[i].before) for i in order))
        slot_of: dict[tuple[int, tuple[int, ...]], int] = {}
        parts = []
        for batch in self._batches(
            {k: before for k, (_, before) in enumerate(prompts)},
            {k: device for k, (device, _) in enumerate(prompts)},
        ):
            num_rows = len(batch.tokens) // self.mesh.size
            for k, place in zip(batch.members, batch.places, strict=True):
                slot_of[prompts[k]] = len(parts) * num_rows + place % num_rows
            parts.append(programs.read_prompts(params, *self._place(batch.tokens, batch.mask)))
        read = programs.join(parts)
        for batch in self._batches({i: row.after for i, row in rows.items()}, device_of):
            slots = np.zeros(len(batch.tokens), np.int32)
            slots[batch.places] = [slot_of[device_of[i], rows[i].before] for i in batch.members]
            slots, tokens, mask = self._place(slots, batch.tokens, batch.mask)
            taken = programs.take(read, slots, tokens)
            yield batch, programs.read_responses(params, taken, tokens, mask)


def make_language_encoder(
    model: lm.LanguageModel,
    config: LanguageConfig = DEFAULT,
    *,
    mesh: Mesh | None = None,
    name: str | None = None,
) -> LanguageEncoder:
    """A loaded model as an encoder.

    Args:
        model: A model as ``prefjax.lm.load`` reads it; its parameters are cast to the dtype of the
            settings.
        config: How texts are read.
        mesh: The devices, each of which gets a copy of the parameters and a part of the texts, see
            ``prefjax.parallel.make_mesh``; all of this process by default. Many devices need many
            texts in one call.
        name: Name of the model for ``specification``; ``lm:`` or ``gguf:`` and its path by default.

    Raises:
        ValueError: If there is no fast tokenizer, the tokenizer does not fit the model or its
            template, or the model has no such layer.
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
    if config.template == "chat":
        check_turn_end(model.tokenizer)
    elif config.template == "own":
        OwnTemplate(model.tokenizer, config.system)
    if config.end_token is not None:
        check_end_token(model.tokenizer, config.end_token)
    config.layer_of(model.config.num_layers)
    if config.width is not None and config.width > model.config.hidden_size:
        raise ValueError(
            f"width must be at most the {model.config.hidden_size} features of the model, got "
            f"{config.width}."
        )
    if name is None:
        kind = "gguf" if model.directory.is_file() else "lm"
        name = f"{kind}:{Path(model.directory).resolve()}"
    mesh = parallel.make_mesh(local=True) if mesh is None else mesh
    params = jax.tree.map(lambda leaf: leaf.astype(config.dtype), lm.unstack_layers(model.params))
    placed = model._replace(params=lm.place(params, model.config, mesh))
    return LanguageEncoder(placed, config, mesh, name, lm.fingerprint(model.directory))


def encode_variants(
    variants: Sequence[LanguageEncoder], texts: Sequence[Text]
) -> list[Float32[np.ndarray, "text feature"]]:
    """Embeddings by several variants of one encoder, in one pass over the texts.

    They are those of each variant alone up to rounding: the blocks of a model are computed once.

    Args:
        variants: Encoders that differ in layer, pooling and width only.
        texts: Texts, or pairs of prompt and response.

    Raises:
        ValueError: There is none, or they differ in more than that.
    """
    if not variants:
        raise ValueError("No encoders.")
    first, *others = variants
    for other in others:
        config = dataclasses.replace(
            other.config,
            layer=first.config.layer,
            pooling=first.config.pooling,
            width=first.config.width,
        )
        if other.digest != first.digest or config != first.config:
            raise ValueError(
                f"{other.specification} is no variant of {first.specification}: only layer, "
                "pooling and width may differ."
            )
    readings = tuple(dict.fromkeys(one.reading for one in variants))
    vectors = first._read(texts, readings)
    return [vectors[:, readings.index(one.reading), : one.config.width] for one in variants]
