"""An encoder by its name, and the responses of a data set through it.

``hashed``: n-grams, without weights (``fit_hashed`` makes the fitted one). ``minilm``:
all-MiniLM-L6-v2. ``offline-lm``: the small language model that comes with the package.
``lm:<folder>``: a Qwen2, Qwen2.5, Qwen3, Llama or Mistral on disk, as a language, an embedding or a
reward model. ``lm:<owner>/<name>@<commit>``: the same from the hub, at a commit. ``qwen:`` means
``lm:``.
"""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from prefjax import lm
from prefjax.data.dataset import Dataset
from prefjax.encoders.cache import encode_cached
from prefjax.encoders.contract import Encoder, TokenEncoder, encode_batch
from prefjax.encoders.hashed import make_hashed
from prefjax.encoders.language import LanguageConfig, make_language_encoder
from prefjax.encoders.sentence import make_minilm
from prefjax.encoders.serving import as_read
from prefjax.lm.bundled import OFFLINE

NAMES = ("hashed", "minilm", "offline-lm", "lm:<folder, or owner/name@commit>")
OFFLINE_CONFIG = LanguageConfig(pooling="mean", bucket=32)
"""How ``offline-lm`` reads: nothing in its training gives its last state a meaning."""


def get_encoder(name: str, config: LanguageConfig | None = None) -> Encoder:
    """The encoder of a name.

    Args:
        name: ``hashed``, ``minilm``, ``offline-lm``, ``lm:<folder>`` or
            ``lm:<owner>/<name>@<commit>``.
        config: How a language model reads; by default the last state of the chat template, for
            ``offline-lm`` the mean state of the response. The other encoders have no settings.

    Raises:
        ValueError: If there is no such name, or the model cannot be used.
        FileNotFoundError: If there is no such model.
        ModuleNotFoundError: If a package that holds weights is not installed.
        OSError: If the hub cannot be reached.
    """
    if name == "hashed":
        return make_hashed()
    if name == "minilm":
        return make_minilm()
    if name == "offline-lm":
        return make_language_encoder(lm.load(OFFLINE), config or OFFLINE_CONFIG)
    kind, _, source = name.partition(":")
    if kind in ("lm", "qwen") and source:
        config = config or LanguageConfig()
        if Path(source).is_dir():
            return make_language_encoder(lm.load(source), config)
        place, _, revision = source.partition("@")
        return make_language_encoder(lm.load(place, revision=revision or None), config)
    raise ValueError(f"There is no encoder {name!r}; there are {', '.join(NAMES)}.")


def encode_responses(
    encoder: Encoder, dataset: Dataset, *, progress: bool = False
) -> Float32[np.ndarray, "response feature"]:
    """Embeddings of all responses of a data set, through the cache if the encoder reads tokens.

    Each is read as `as_read` has it.

    Args:
        encoder: The encoder.
        dataset: Its responses and, where it has them, prompts.
        progress: Show a progress bar.

    Warns:
        RuntimeWarning: How many responses are longer than the window of the encoder and were cut,
            and how many comparisons are between different responses that have one embedding.
    """
    prompts = [dataset.prompts[index] for index in dataset.prompt_index]
    texts = as_read(encoder, dataset.responses, prompts)
    if isinstance(encoder, TokenEncoder):
        vectors = encode_cached(encoder, texts, progress=progress)
    else:
        vectors = encode_batch(encoder, texts, np.arange(len(texts)))
    _warn_of_equals(dataset, vectors)
    return vectors


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
