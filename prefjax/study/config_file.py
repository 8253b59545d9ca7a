"""Settings of a study on disk, and which of them may change while it runs."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from prefjax.io.atomic import write_atomically
from prefjax.io.typed import read_typed
from prefjax.study.config import StudyConfig

FILE = "study.toml"


def fixed_settings(config: StudyConfig) -> dict[str, Any]:
    """What must not change once somebody has taken part.

    When to stop, what the server bears, where people return to and whom they can ask may.

    Args:
        config: The study.
    """
    settings = dataclasses.asdict(config)
    for name in ("stop", "limits", "information"):
        del settings[name]
    del settings["recruiting"]["return_url"]
    return settings


def read_config(folder: Path) -> StudyConfig:
    """Reads ``study.toml`` of a folder.

    Args:
        folder: The study.

    Raises:
        FileNotFoundError: There is none.
        ValueError: A field is unknown, missing or not legal; the message names it.
    """
    return read_typed(Path(folder) / FILE, StudyConfig)


def write_config(folder: Path, config: StudyConfig) -> None:
    """Writes ``study.toml``, which `read_config` reads back as the same.

    Args:
        folder: The study.
        config: Its settings.
    """
    lines = [f"{name} = {_toml(value)}" for name, value in dataclasses.asdict(config).items()]
    text = "\n".join(lines) + "\n"
    write_atomically(Path(folder) / FILE, lambda path: path.write_text(text, encoding="utf-8"))


def _toml(value: Any) -> str:
    """A value in TOML; strings are quoted there as in JSON."""
    if isinstance(value, dict):
        inside = (f"{name} = {_toml(one)}" for name, one in value.items() if one is not None)
        return "{" + ", ".join(inside) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
