"""An encoder in one line: names, settings, sums.

    hashed                              one encoder
    lm:FOLDER#layer=0.6,pooling=mean    settings after "#"; a word alone is a named reading
    hashed+smollm2                      a sum: the embeddings side by side, each at unit size

Values are written as in a URL where they hold "%", ",", "+", "#" or "=" (``%2C`` for a comma).
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

_NAMES = ("hashed", "minilm", "offline-lm", "smollm2")
_SOURCES = ("lm", "gguf", "qwen", "reward", "sentence")
_SUM = re.compile(rf"\+(?=(?:{'|'.join(_NAMES)})(?:[#+]|$)|(?:{'|'.join(_SOURCES)}):)")
_WORD = re.compile(r"[a-z][a-z_]*")


class Term(NamedTuple):
    """One encoder of a sum.

    Attributes:
        name: Its name, with the folder or file where it has one.
        reading: Named reading, or None.
        written: Settings and their values, as they are written.
    """

    name: str
    reading: str | None = None
    written: tuple[tuple[str, str], ...] = ()

    @property
    def options(self) -> dict[str, str]:
        """The settings by name."""
        return dict(self.written)


def parse(specification: str) -> list[Term]:
    """The encoders of a sum.

    Args:
        specification: As in the module docstring.

    Raises:
        ValueError: A setting is written twice.

    >>> parse("hashed+lm:a/b#paper,window=512")[1]
    Term(name='lm:a/b', reading='paper', written=(('window', '512'),))
    """
    return [_term(part) for part in _SUM.split(specification)]


def _term(text: str) -> Term:
    name, mark, written = text.rpartition("#")
    parts = written.split(",")
    if not mark or not all(_WORD.fullmatch(part.partition("=")[0]) for part in parts):
        return Term(text)
    readings = [part for part in parts if "=" not in part]
    pairs = [part.split("=", 1) for part in parts if "=" in part]
    options = {key: unquote(value) for key, value in pairs}
    if len(readings) > 1 or len(options) < len(pairs):
        raise ValueError(f"{text!r}: a setting, or a named reading, is there twice.")
    return Term(name, readings[0] if readings else None, tuple(options.items()))


def apply_options(config: Any, options: Mapping[str, str], name: str) -> Any:
    """A frozen configuration with settings as they are written.

    Args:
        config: What the settings change.
        options: Settings by name.
        name: What errors call the encoder.

    Raises:
        ValueError: There is no such setting, or the value is none that it may have.
    """
    fields = {field.name: field for field in dataclasses.fields(config)}
    changes = {}
    for key, text in options.items():
        if key not in fields:
            raise ValueError(f"{name} has no setting {key!r}; there are {', '.join(fields)}.")
        changes[key] = _value(text, str(fields[key].type), f"{name}: {key}")
    return dataclasses.replace(config, **changes)


def _value(text: str, kind: str, name: str) -> Any:
    """A value of one of the types that settings have, such as ``int | None``."""
    if "bool" in kind:
        if text not in ("true", "false"):
            raise ValueError(f"{name} must be true or false, got {text!r}.")
        return text == "true"
    for type_name, make in (("int", int), ("float", float)):
        if type_name in kind:
            try:
                return make(text)
            except ValueError:
                continue
    if "str" in kind:
        return text
    raise ValueError(f"{name} must be a number, got {text!r}.")


def write(name: str, config: Any, default: Any) -> str:
    """Name and settings, those left out that have their default.

    Args:
        name: Name of the encoder.
        config: Its settings.
        default: The settings that the name alone has.
    """
    changed = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != getattr(default, field.name):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            changed.append(f"{field.name}={quote(text, safe='<|>:/ ?!')}")
    return f"{name}#{','.join(changed)}" if changed else name
