"""An encoder by its name.

hashed                          n-grams, no weights (see ``fit_hashed`` for the fitted one)
minilm                          all-MiniLM-L6-v2
offline-lm                      the small language model that comes with the package
qwen:<folder>                   a Qwen2, Qwen2.5 or Qwen3 on disk
qwen:<owner>/<name>@<commit>    the same from the hub, at a commit
"""

import dataclasses
from pathlib import Path

from prefjax import lm
from prefjax.encoders.contract import Encoder
from prefjax.encoders.hashed import make_hashed
from prefjax.encoders.language import LanguageConfig, make_language_encoder
from prefjax.encoders.sentence import make_minilm
from prefjax.lm.bundled import OFFLINE

DEFAULT = LanguageConfig()
NAMES = ("hashed", "minilm", "offline-lm", "qwen:<folder, or owner/name@commit>")


def get_encoder(name: str, config: LanguageConfig = DEFAULT) -> Encoder:
    """The encoder of a name.

    Args:
        name: See the module docstring.
        config: How the language models read; the others have no settings.

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
        config = dataclasses.replace(config, bucket=min(config.bucket, 32))
        return make_language_encoder(lm.load(OFFLINE), config)
    kind, _, source = name.partition(":")
    if kind == "qwen" and source:
        if Path(source).is_dir():
            return make_language_encoder(lm.load(source), config)
        place, _, revision = source.partition("@")
        return make_language_encoder(lm.load(place, revision=revision or None), config)
    raise ValueError(f"There is no encoder {name!r}; there are {', '.join(NAMES)}.")
