"""Dataclasses from JSON and TOML files, every field checked against its type by pydantic.

Values are taken strictly: a number in quotes is no number and a truth value is no whole number, but
a whole number is a float, a list a tuple and a string a path. A field that the dataclass does not
have is refused, and so is what its ``__post_init__`` refuses.
"""

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import ValidationError

T = TypeVar("T")


def read_typed(path: Path, kind: type[T]) -> T:
    """Reads a JSON or TOML file into a dataclass of dataclasses.

    Args:
        path: The file; ``.toml`` is read as TOML, in which dates are written as strings.
        kind: The dataclass; its fields' annotations say what is legal.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON or TOML, or a field is unknown, missing, of another type or
            refused by its class; the message names the file, every wrong field and what was found.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        content = _toml_as_json(path) if path.suffix == ".toml" else path.read_bytes()
        return TypeAdapter(kind).validate_json(content, strict=True, extra="forbid")
    except ValidationError as error:
        raise ValueError(_explain(path, kind, error)) from error


def _toml_as_json(path: Path) -> bytes:
    try:
        return json.dumps(tomllib.loads(path.read_text(encoding="utf-8"))).encode()
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as TOML ({error}).") from error


def _explain(path: Path, kind: type, error: "ValidationError") -> str:
    problems = error.errors(include_url=False)
    if problems[0]["type"] == "json_invalid":
        return f"{path} cannot be read as JSON ({problems[0]['msg']})."
    return "; ".join(f"{path}: {_sentence(kind, problem)}" for problem in problems) + "."


def _sentence(kind: type, problem: Any) -> str:
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "unexpected_keyword_argument":
        return f"{place} is an unknown field; the fields there are {_fields(kind, problem['loc'])}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"{place} is missing; the fields there are {_fields(kind, problem['loc'])}"
    if problem["type"] == "value_error":
        return f"{place}: {problem['ctx']['error']}".removeprefix(": ").removesuffix(".")
    expected = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{place}: {expected}, found {problem['input']!r}".removeprefix(": ")


def _fields(kind: Any, place: tuple[Any, ...]) -> list[str]:
    """Names of the fields beside the last one of a place."""
    from typing import get_type_hints

    for name in place[:-1]:
        if not dataclasses.is_dataclass(kind):
            break
        kind = get_type_hints(kind)[name]
    return [field.name for field in dataclasses.fields(kind)]
