"""A language model on disk: a Hugging Face folder, or a pinned revision of one on the hub.

``load`` reads ``config.json``, ``generation_config.json`` (for the tokens that end a response), the
safetensors files and the tokenizer; ``save`` writes the same, so transformers can load what was
trained here. No remote code is run.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import DTypeLike

from prefjax.io.atomic import write_atomically
from prefjax.lm import weights
from prefjax.lm.config import QwenConfig, from_dict, to_dict
from prefjax.types import Params

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_TOKENIZER = ("tokenizer.json", "vocab.json", "tokenizer_config.json")
_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.jinja")


class LanguageModel(NamedTuple):
    """What ``load`` returns.

    Attributes:
        config: Static configuration.
        params: Parameters, see ``prefjax.lm.params``.
        tokenizer: A tokenizer of transformers, or None if the folder has none.
        directory: Where it was read from.
    """

    config: QwenConfig
    params: dict[str, Any]
    tokenizer: Any
    directory: Path


def load(
    source: str | Path, *, revision: str | None = None, dtype: DTypeLike = jnp.float32
) -> LanguageModel:
    """Read a model and its tokenizer.

    Args:
        source: A folder, or the id of a model on the hub (needs the extra ``hub``).
        revision: Commit on the hub; must be named for a hub id, so that the weights are for ever
            the same, and must not be for a folder.
        dtype: Type of the parameters in memory: float32 on a CPU, bfloat16 suits accelerators.

    Raises:
        FileNotFoundError: The folder, its ``config.json``, its weights or a shard is not there.
        ValueError: The architecture or a setting is not supported (see ``from_dict``), tensors do
            not fit, a file is damaged, or the revision is missing or out of place.
        OSError: The hub cannot be reached and the model is not in its cache.
    """
    directory = _resolve(source, revision)
    config = read_config(directory)
    return LanguageModel(
        config=config,
        params=weights.read(directory, config, dtype),
        tokenizer=load_tokenizer(directory),
        directory=directory,
    )


def save(directory: Path, params: Params, config: QwenConfig, *, tokenizer: Any = None) -> None:
    """Write a folder that ``load`` and transformers read.

    Args:
        directory: Folder to make or to write into.
        params: Parameters, as a list of layers or stacked.
        config: Their configuration.
        tokenizer: A tokenizer of transformers, saved beside them.

    Raises:
        ValueError: The parameters are not those of the configuration.
    """
    directory.mkdir(parents=True, exist_ok=True)
    weights.write(directory, params, config)
    text = json.dumps(to_dict(config, dtype=str(params["embedding"].dtype)), indent=2) + "\n"
    write_atomically(directory / "config.json", lambda path: path.write_text(text))
    if tokenizer is not None:
        tokenizer.save_pretrained(directory)


def read_config(directory: Path) -> QwenConfig:
    """The configuration in a folder; ``generation_config.json`` may add tokens that end a response.

    Raises:
        FileNotFoundError: There is no ``config.json``.
        ValueError: It is not JSON, or names something that is not supported.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{directory} is not a model: it has no config.json.")
    values = _read_json(path)
    generation = directory / "generation_config.json"
    if generation.is_file():
        more = _read_json(generation).get("eos_token_id")
        values = values if more is None else values | {"eos_token_id": more}
    try:
        return from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer in a folder, or None if there is none.

    Raises:
        ValueError: Its files cannot be read.
    """
    if not any((directory / name).is_file() for name in _TOKENIZER[:2]):
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the tokenizers library raises bare exceptions
        raise ValueError(
            f"The tokenizer in {directory} cannot be read ({error}). Copy or download it again."
        ) from error


def fingerprint(directory: Path) -> str:
    """SHA-256 over configuration, tokenizer and weight files: what an embedding depends on.

    Raises:
        FileNotFoundError: The folder is not a model.
    """
    total = hashlib.sha256()
    for path in [directory / "config.json", *weights.weight_files(directory)]:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    for name in _TOKENIZER:
        if (directory / name).is_file():
            total.update(name.encode() + hashlib.sha256((directory / name).read_bytes()).digest())
    return total.hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {type(values).__name__}, not an object.")
    return values


def _resolve(source: str | Path, revision: str | None) -> Path:
    directory = Path(source)
    if directory.is_dir():
        if revision is not None:
            raise ValueError(f"{directory} is a folder; revision is for ids of the hub.")
        return directory
    if isinstance(source, Path) or not _HUB_ID.fullmatch(source):
        raise FileNotFoundError(f"{source} is neither a folder nor an id of the hub (owner/name).")
    if revision is None:
        raise ValueError(
            f"There is no folder {source}. If it is an id of the hub, name the commit with "
            "revision=, so that the weights cannot change."
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError("Ids of the hub need the extra: pip install 'prefjax[hub]'.") from error
    try:
        path = snapshot_download(source, revision=revision, allow_patterns=list(_PATTERNS))
    except OSError as error:
        raise OSError(
            f"Cannot get {source} at revision {revision}: the hub cannot be reached or does not "
            "have it, and the local cache does not either. Download it where there is a network "
            "and pass the folder."
        ) from error
    return Path(path)
