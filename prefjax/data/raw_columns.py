"""Columns of judgments as texts and numbers, with a place for every message.

Texts become distinct values and an index, numbers float64; nothing is guessed: what is neither
text nor a number is refused with its row and column.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from prefjax.data.sources import Source

TEXT = ("user", "prompt", "response_a", "response_b", "conversation")
NUMBERS = ("label", "weight", "sample_weight")
MISSING = -1

WORDS: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("true", "a", "left", "first", "model_a", "response_a"), 1.0),
        **dict.fromkeys(("false", "b", "right", "second", "model_b", "response_b"), 0.0),
        **dict.fromkeys(("tie", "tied", "equal", "both", "neither", "tie (bothbad)"), 0.5),
    }
)
"""Words that stand for a label, in lower case."""


class Texts(NamedTuple):
    """A column of texts.

    Attributes:
        values: Distinct texts in order of first appearance.
        index: Place of each row's text there; −1 where the row has none.
    """

    values: tuple[str, ...]
    index: Int[np.ndarray, " row"]


@dataclass(frozen=True)
class RawColumns:
    """Judgments, one a row, before they have ids.

    Attributes:
        num_rows: Number of judgments.
        texts: Columns ``user``, ``prompt``, ``response_a``, ``response_b`` (absent, or −1 in a row,
            for a vote) and, where they are known, ``conversation`` and ``split``, the part of a
            published split.
        numbers: ``label`` and, where there are weights, ``weight``; every entry has a value.
        place: Names a row in messages.
        is_ordered: Whether ``response_a`` stands first because it was shown first. If not, it is
            the preferred one, and which comes first must be drawn.
        messages: The messages of a prompt that is a conversation, by its text.
        note: What was found, for the line that tells how a file was read.
        meta: What else is to be known of the data, such as how many entries were left out.
        shown: Prompt and response of texts in the order in which they shall be numbered, before
            those of the rows; for layouts that show more than two.
    """

    num_rows: int
    texts: Mapping[str, Texts]
    numbers: Mapping[str, Float[np.ndarray, " row"]]
    place: Callable[[int], str]
    is_ordered: bool = True
    messages: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    note: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    shown: Sequence[tuple[str, str]] = ()


def read_columns(source: Source) -> RawColumns:
    """Columns that stand in a table under our own names.

    Args:
        source: Rows with any of ``TEXT`` and ``NUMBERS`` among their columns.

    Returns:
        The columns that are there; others are left alone.

    Raises:
        ValueError: A value is of another kind, or a number is missing.
    """
    twice = [name for name in (*TEXT, *NUMBERS) if source.names.count(name) > 1]
    if twice:
        raise ValueError(f"column {twice[0]} is there twice.")
    names = [name for name in (*TEXT, *NUMBERS) if name in source.names]
    return RawColumns(
        num_rows=source.num_rows,
        texts={name: text_column(source, name) for name in names if name in TEXT},
        numbers={name: number_column(source, name) for name in names if name in NUMBERS},
        place=source.place,
    )


def text_column(source: Source, name: str) -> Texts:
    """One column of texts; names of users and conversations may be whole numbers.

    Args:
        source: Rows that have the column.
        name: The column.

    Returns:
        Its texts.

    Raises:
        ValueError: A value is no text; the message names the row.
    """
    is_name = name in ("user", "conversation")
    if source.table is not None:
        column = source.table[name]
        if source.is_csv and name == "prompt":  # no quotes, no text: the empty prompt
            column = column.fill_null("")
        return _arrow_texts(column, name, is_name)
    return index_texts(
        [
            value if type(value) is str else as_text(value, name, source.place(row), is_name)
            for row, value in enumerate(source.values(name))
        ]
    )


def number_column(source: Source, name: str) -> Float[np.ndarray, " row"]:
    """One column of numbers; a label may be one of ``WORDS``.

    Args:
        source: Rows that have the column.
        name: The column.

    Returns:
        A number for each row.

    Raises:
        ValueError: A value is missing or no number; the message names the row.
    """
    if source.table is not None:
        return _arrow_numbers(source.table[name], name, source.place)
    values = [
        as_number(value, name, source.place(row)) for row, value in enumerate(source.values(name))
    ]
    if None in values:
        raise ValueError(f"column {name} has no value in {source.place(values.index(None))}.")
    return np.array(values, np.float64)


def index_texts(column: Sequence[str | None]) -> Texts:
    """Distinct texts in order of first appearance, and the place of each row's text.

    Args:
        column: The text of each row, or None.

    Returns:
        The column as `Texts`.
    """
    place: dict[str, int] = {}
    index = [MISSING if text is None else place.setdefault(text, len(place)) for text in column]
    return Texts(tuple(place), np.array(index, np.int32))


def as_text(value: object, name: str, place: str, is_name: bool = False) -> str | None:
    """A text, or None for none.

    Args:
        value: What stands in the row.
        name: Its column, for the message.
        place: Its row, for the message.
        is_name: Whether a whole number is a name.

    Returns:
        The text.

    Raises:
        ValueError: The value is something else.
    """
    if value is None or isinstance(value, str):
        return value
    if is_name and isinstance(value, int) and not isinstance(value, bool):
        return _whole(value)
    kinds = "text or a whole number" if is_name else "text"
    raise ValueError(f"{place}: column {name} must hold {kinds}, got {_show(value)}.")


def as_number(value: object, name: str, place: str, *, is_csv: bool = False) -> float | None:
    """A number, or None for none; a label may be one of ``WORDS``.

    Args:
        value: What stands in the row.
        name: Its column.
        place: Its row, for the message.
        is_csv: Whether numbers are written as text.

    Returns:
        The number.

    Raises:
        ValueError: The value is something else.
    """
    if value is None:
        return None
    if isinstance(value, (bool, int, float)):
        try:
            return float(value)
        except OverflowError:
            pass
    if isinstance(value, str) and name == "label" and value.strip().casefold() in WORDS:
        return WORDS[value.strip().casefold()]
    if isinstance(value, str) and is_csv:
        try:
            return float(value)
        except ValueError:
            pass
    raise ValueError(f"{place}: column {name} must hold a number, got {_show(value)}.")


def _whole(value: int) -> str:
    """Digits of a whole number, also beyond the length that Python prints."""
    return str(value) if abs(value) < 10**4000 else hex(value)


def _show(value: object) -> str:
    shown = json.dumps(value, default=repr) if not isinstance(value, int) else _whole(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"


def _arrow_texts(column: pa.ChunkedArray, name: str, is_name: bool) -> Texts:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    is_text = is_text or (is_name and pa.types.is_integer(kind))
    if not (is_text or pa.types.is_string_view(kind) or pa.types.is_null(kind)):
        kinds = "text or whole numbers" if is_name else "text"
        raise ValueError(f"column {name} must hold {kinds}, got {kind}{_show_scalar(column)}.")
    try:
        column = column.cast(kind).cast(pa.large_string())
        column.validate(full=True)
        encoded = column.combine_chunks().dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        index = encoded.indices.fill_null(MISSING).to_numpy(zero_copy_only=False)
        values = tuple(encoded.dictionary.to_pylist())
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"column {name} does not hold text ({error}).") from error
    return Texts(values, index.astype(np.int32))


def _arrow_numbers(column: pa.ChunkedArray, name: str, place: Callable[[int], str]) -> np.ndarray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise ValueError(f"column {name} has no value in {place(row)}.")
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _parse_numbers(column, name, place)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if not (is_number or pa.types.is_decimal(kind) or pa.types.is_null(kind)):
        raise ValueError(f"column {name} must hold numbers, got {kind}{_show_scalar(column)}.")
    try:
        return column.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
    except pa.ArrowException as error:
        raise ValueError(f"column {name} does not hold numbers ({error}).") from error


def _parse_numbers(column: pa.ChunkedArray, name: str, place: Callable[[int], str]) -> np.ndarray:
    """Numbers written as text, as a CSV file has them, or words for a label."""
    try:
        return column.cast(pa.float64()).to_numpy()
    except pa.ArrowException:
        texts = _arrow_texts(column, name, is_name=False)
    words = WORDS if name == "label" else {"true": 1.0, "false": 0.0}
    values = np.empty(len(column))
    for row, text in enumerate(texts.values[index] for index in texts.index.tolist()):
        word = words.get(text.strip().casefold())
        try:
            values[row] = float(text) if word is None else word
        except ValueError as error:
            raise ValueError(
                f"column {name} (text) must hold numbers, but {place(row)} has {_show(text)}."
            ) from error
    return values


def _show_scalar(column: pa.ChunkedArray) -> str:
    try:
        return f", row 0 has {str(column[0].as_py())[:60]!r}" if len(column) else ""
    except ValueError:  # bytes that no type can show
        return ""
