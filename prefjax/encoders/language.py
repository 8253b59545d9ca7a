"""A causal language model as an encoder.

    e = h_T   (pooling "last", the state of the last token)   or   e = mean of h_t over the response

of one layer, after the final norm by default. Texts of like length are read together: a length is
rounded up to a bucket, and each bucket has one batch size, so the shapes and with them the
embedding are those of the text alone, whatever is encoded beside it and on however many devices. A
prompt is read once for all responses to it; its keys and values are then shared.

References:
    arXiv 2503.06358, section 4 (the state of the last token of prompt and response).
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32

from prefjax import lm, parallel
from prefjax.encoders.batches import Batch, bucketed
from prefjax.encoders.contract import Text, check_texts
from prefjax.encoders.reading import POOLINGS, Programs, make_programs
from prefjax.encoders.rows import Row, RowEncoder
from prefjax.encoders.template import TEMPLATES, check_turn_end, make_rows, render

_VERSION = "language-2"
_SLAB = 256  # texts whose prompts a device holds in memory at once


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
        batch_tokens: Tokens of a batch on one device, padding included.
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
class LanguageEncoder(RowEncoder):
    """A language model with settings, on the devices of a mesh; ``make_language_encoder`` makes it.

    Attributes:
        model: The model, its parameters on the devices in the dtype of the settings.
        config: How texts are read.
        mesh: The devices, each of which has a copy of the parameters.
        fingerprint: SHA-256 of the model's files and of the settings.
    """

    model: lm.LanguageModel
    config: LanguageConfig
    mesh: Mesh
    fingerprint: str

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
        slab_size = _SLAB * self.mesh.size
        for start in range(0, len(rows), slab_size):
            slab = {i: rows[i] for i in range(start, min(start + slab_size, len(rows)))}
            whole = {i: r for i, r in slab.items() if r.after and not (shares and r.before)}
            shared = {i: r for i, r in slab.items() if shares and r.before}
            for batch, vectors in (*self._whole(whole), *self._shared(shared)):
                out[batch.members] = np.asarray(vectors)[batch.places]
        return out

    def _rows(self, texts: Sequence[Text]) -> list[Row]:
        check_texts(texts)
        config = self.config
        rendered = [render(text, config.template, config.system) for text in texts]
        window = min(config.window, self.model.config.max_length)
        return make_rows(self.model.tokenizer, rendered, window) if rendered else []

    def _programs(self) -> Programs:
        config = self.config
        return make_programs(self.model.config, config.layer, config.pooling, self.mesh)

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

    def _whole(self, rows: Mapping[int, Row]) -> Iterator[tuple[Batch, jax.Array]]:
        """Read prompt and response together."""
        for batch in self._batches({i: row.before + row.after for i, row in rows.items()}):
            num_before = np.full(len(batch.tokens), batch.tokens.shape[1])
            num_before[batch.places] = [len(rows[i].before) for i in batch.members]
            counted = batch.mask & (np.arange(batch.tokens.shape[1])[None] >= num_before[:, None])
            placed = self._place(batch.tokens, batch.mask, counted)
            yield batch, self._programs().read(self.model.params, *placed)

    def _shared(self, rows: Mapping[int, Row]) -> Iterator[tuple[Batch, jax.Array]]:
        """Read each prompt once, then the responses to it."""
        by_size: dict[int, dict[int, Row]] = {}
        for i, row in rows.items():
            by_size.setdefault(-(-len(row.before) // self.config.bucket), {})[i] = row
        for here in by_size.values():
            yield from self._after_prompts(here)

    def _after_prompts(self, rows: Mapping[int, Row]) -> Iterator[tuple[Batch, jax.Array]]:
        """The same for prompts of one bucket; every device reads the prompts that it needs."""
        programs, params = self._programs(), self.model.params
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
    config: LanguageConfig = LanguageConfig(),
    *,
    mesh: Mesh | None = None,
) -> LanguageEncoder:
    """A loaded model as an encoder.

    Args:
        model: A model as ``prefjax.lm.load`` reads it; its parameters are cast to the dtype of the
            settings.
        config: How texts are read.
        mesh: The devices, each of which gets a copy of the parameters and a part of the texts, see
            ``prefjax.parallel.make_mesh``; all of this process by default. Many devices need many
            texts in one call.

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
    if not -1 <= config.layer <= model.config.num_layers:
        raise ValueError(
            f"layer {config.layer} does not exist: -1 is the last, 0 to {model.config.num_layers} "
            "the states before the final norm."
        )
    settings = json.dumps([lm.fingerprint(model.directory), dataclasses.asdict(config)])
    digest = hashlib.sha256(settings.encode()).hexdigest()[:32]
    mesh = parallel.make_mesh(local=True) if mesh is None else mesh
    params = jax.tree.map(lambda leaf: leaf.astype(config.dtype), lm.unstack_layers(model.params))
    placed = model._replace(params=lm.place(params, model.config, mesh))
    return LanguageEncoder(placed, config, mesh, f"{_VERSION}-{digest}")
