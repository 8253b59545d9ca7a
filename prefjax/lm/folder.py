"""A language model on disk: a Hugging Face folder, a pinned revision on the hub, or a GGUF file.

``load`` reads ``config.json``, the safetensors files, the tokenizer, and ``generation_config.json``
(for the tokens that end a response), or all of it from one GGUF file; ``save`` writes a folder, so
transformers can load what was trained here. No remote code is run.
"""

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import DTypeLike

from prefjax.io import atomic_folder, digest_file, read_object, write_json
from prefjax.io.hub import HUB_ID, download
from prefjax.lm import weights
from prefjax.lm.bundled import MODELS, model_path
from prefjax.lm.config import QwenConfig, from_dict, to_dict
from prefjax.lm.gguf_file import read_gguf
from prefjax.types import Params

_TOKENIZER = ("tokenizer.json", "vocab.json", "tokenizer_config.json")
_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.jinja")
_PARTS = (
    "config.json",
    "generation_config.json",
    weights.INDEX,
    *_TOKENIZER,
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
"""Files of a model beside its safetensors."""
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>")
"""Special tokens with which the chat templates of known models end a turn."""


class LanguageModel(NamedTuple):
    """What ``load`` returns.

    Attributes:
        config: Static configuration.
        params: Parameters, a dict of arrays as ``prefjax.lm.params`` describes it.
        tokenizer: A tokenizer of transformers, or None if the folder has none.
        directory: Where it was read from: a folder, or a GGUF file.
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
        source: A folder, a name that ``model_path`` knows, a GGUF file (needs the extra ``gguf``),
            or the id of a model on the hub (needs the extra ``hub``).
        revision: Commit on the hub; must be named for a hub id, so that the weights are for ever
            the same, and must not be for a folder or a file.
        dtype: Type of the parameters in memory: float32 on a CPU, bfloat16 suits accelerators.

    Returns:
        The model. A folder without ``lm_head.weight`` (a backbone, an embedding or a reward model)
        gives parameters without ``head``: they embed texts, and are refused where tokens are drawn.

    Raises:
        FileNotFoundError: The folder, its ``config.json``, its weights or a shard is not there.
        ValueError: The architecture or a setting is not supported (see ``from_dict``), tensors do
            not fit or are not finite, a file is damaged, or the revision is missing or out of
            place.
        OSError: The hub cannot be reached and the model is not in its cache.
    """
    directory = _resolve(source, revision)
    if directory.is_file():
        config, params, tokenizer = read_gguf(directory, dtype)
    else:
        config = read_config(directory)
        params = weights.read(directory, config, dtype)
        tokenizer = load_tokenizer(directory)
    config = dataclasses.replace(config, eos_ids=end_ids(config, tokenizer))
    return LanguageModel(config, params, tokenizer, directory)


def save(directory: Path, params: Params, config: QwenConfig, *, tokenizer: Any = None) -> None:
    """Write a folder that ``load`` and transformers read; it appears whole or not at all.

    Args:
        directory: Folder to make or to replace. Of an old one everything is kept that is no part of
            a model.
        params: Parameters, as a list of layers or stacked.
        config: Their configuration.
        tokenizer: A tokenizer of transformers, saved beside them.

    Raises:
        ValueError: The parameters are not those of the configuration, or not finite.
    """
    with atomic_folder(directory, overwrite=True) as new:
        weights.write(new, params, config)
        write_json(new / "config.json", to_dict(config, dtype=str(params["embedding"].dtype)))
        if tokenizer is not None:
            tokenizer.save_pretrained(new)
        for path in directory.iterdir() if directory.is_dir() else ():
            if path.is_dir():
                shutil.copytree(path, new / path.name)
            elif path.suffix != ".safetensors" and path.name not in _PARTS:
                shutil.copy2(path, new)


def read_config(directory: Path) -> QwenConfig:
    """The configuration in a folder; ``generation_config.json`` may add tokens that end a response.

    Raises:
        FileNotFoundError: There is no ``config.json``.
        ValueError: It is not JSON, or names something that is not supported.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{directory} is not a model: it has no config.json.")
    values = read_object(path)
    generation = directory / "generation_config.json"
    if generation.is_file():
        more = read_object(generation).get("eos_token_id")
        values = values if more is None else values | {"eos_token_id": more}
    try:
        return from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def end_ids(config: QwenConfig, tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end a response: those of the configuration, then those of the tokenizer.

    A base model that was trained on chats often names the end of a document only, while its turns
    end with a token of their own.

    Args:
        config: Static configuration.
        tokenizer: A tokenizer of transformers, or None.
    """
    ends = dict.fromkeys(config.eos_ids)
    if tokenizer is not None:
        added = tokenizer.get_added_vocab()
        named = [tokenizer.eos_token_id, *(added.get(token) for token in _TURN_ENDS)]
        ends |= dict.fromkeys(one for one in named if one is not None and one < config.vocab_size)
    return tuple(ends)


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer in a folder, or None if there is none; ``tokenizer.json`` is read as it stands.

    Raises:
        ValueError: Its files cannot be read.
    """
    if not any((directory / name).is_file() for name in _TOKENIZER[:2]):
        return None
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    # AutoTokenizer picks a class by the type of the model, which may replace the pre-tokenizer.
    kind = PreTrainedTokenizerFast if (directory / _TOKENIZER[0]).is_file() else AutoTokenizer
    try:
        return kind.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare exceptions
        raise ValueError(
            f"The tokenizer in {directory} cannot be read ({error}). Copy or download it again."
        ) from error


def fingerprint(directory: Path) -> str:
    """SHA-256 over configuration, tokenizer and weight files: what an embedding depends on.

    Args:
        directory: Folder of a model, or its GGUF file.

    Raises:
        FileNotFoundError: The folder is not a model.
    """
    if directory.is_file():
        return digest_file(directory)
    total = hashlib.sha256()
    for path in [directory / "config.json", *weights.weight_files(directory)]:
        total.update(bytes.fromhex(digest_file(path)))
    for name in (*_TOKENIZER, "merges.txt"):
        if (directory / name).is_file():
            total.update(name.encode() + bytes.fromhex(digest_file(directory / name)))
    return total.hexdigest()


def _resolve(source: str | Path, revision: str | None) -> Path:
    if source in MODELS and not Path(source).exists():
        return model_path(str(source))
    directory = Path(source)
    if directory.is_dir() or (directory.is_file() and directory.suffix == ".gguf"):
        if revision is not None:
            kind = "folder" if directory.is_dir() else "file"
            raise ValueError(f"{directory} is a {kind}; revision is for ids of the hub.")
        return directory
    if isinstance(source, Path) or not HUB_ID.fullmatch(source):
        raise FileNotFoundError(
            f"{source} is neither a folder, nor a GGUF file, nor an id of the hub (owner/name)."
        )
    if revision is None:
        raise ValueError(
            f"There is no folder {source}. If it is an id of the hub, name the commit with "
            "revision=, so that the weights cannot change."
        )
    remedy = "Download it where there is a network and pass the folder."
    return download(source, revision, _PATTERNS, remedy=remedy)
