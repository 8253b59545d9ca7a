"""Columns of a flat file as they stand, from JSONL, CSV or Parquet, with a place for every message.

Texts become distinct values and an index, numbers float64; nothing is guessed: what is neither
text nor a number is refused with its row and column.
"""

import codecs
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from jaxtyping import Float, Int

from prefjax.data.files import Kind, open_parquet

TEXT = ("user", "prompt", "response_a", "response_b")
NUMBERS = ("label", "weight", "sample_weight")
_MISSING = -1
_KEYS = tuple(f'"{name}"'.encode() for name in (*TEXT, *NUMBERS))
_EXPECTED: dict[str, Kind] = {**dict.fromkeys(TEXT, "text"), "label": "number"}


class Texts(NamedTuple):
    """A column of texts.

    Attributes:
        values: Distinct texts in order of first appearance.
        index: Place of each row's text there; −1 where the row has none.
    """

    values: tuple[str, ...]
    index: Int[np.ndarray, " row"]


class RawColumns(NamedTuple):
    """What stands in a flat file.

    Attributes:
        names: All columns of the file.
        num_rows: Number of rows.
        texts: The columns of text that are there.
        numbers: The columns of numbers that are there; every entry has a value.
        place: Names a row in messages.
    """

    names: tuple[str, ...]
    num_rows: int
    texts: Mapping[str, Texts]
    numbers: Mapping[str, Float[np.ndarray, " row"]]
    place: Callable[[int], str]


def read_columns(path: Path) -> RawColumns:
    """Read a flat file, in the format that its suffix says.

    Args:
        path: A ``.jsonl``, ``.csv`` or ``.parquet`` file.

    Returns:
        Its columns; those that no judgment needs are named only.

    Raises:
        ValueError: The file is damaged, or a value is of another kind; the message names the file.
    """
    if path.suffix == ".jsonl":
        return _read_jsonl(path)
    table = _read_csv(path) if path.suffix == ".csv" else open_parquet(path, _EXPECTED)
    try:
        found = set(table.column_names)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the name of a column is not UTF-8 ({error}).") from error
    twice = [name for name in (*TEXT, *NUMBERS) if table.column_names.count(name) > 1]
    if twice:
        raise ValueError(f"{path}: column {twice[0]} is there twice.")
    return RawColumns(
        names=tuple(table.column_names),
        num_rows=table.num_rows,
        texts={name: _arrow_texts(table[name], name, path) for name in TEXT if name in found},
        numbers={
            name: _arrow_numbers(table[name], name, path) for name in NUMBERS if name in found
        },
        place="row {}".format,
    )


def index_texts(column: Sequence[str | None]) -> Texts:
    """Distinct texts in order of first appearance, and the place of each row's text.

    Args:
        column: The text of each row, or None.

    Returns:
        The column as `Texts`.
    """
    place: dict[str, int] = {}
    index = [_MISSING if text is None else place.setdefault(text, len(place)) for text in column]
    return Texts(tuple(place), np.array(index, np.int32))


def _read_jsonl(path: Path) -> RawColumns:
    lines, columns = [], {name: [] for name in (*TEXT, *NUMBERS)}
    names: dict[str, None] = {}
    for number, row in _json_rows(path):
        lines.append(number)
        if not row.keys() <= names.keys():
            names.update(dict.fromkeys(row))
        for name in TEXT:
            value = row.get(name)
            if type(value) is not str:
                value = _json_text(value, name, path, number)
            columns[name].append(value)
        for name in NUMBERS:
            columns[name].append(_json_number(row.get(name), name, path, number))
    numbers = {}
    for name in NUMBERS:
        if name in names:
            if None in columns[name]:
                line = lines[columns[name].index(None)]
                raise ValueError(f"{path}: column {name} has no value in line {line}.")
            numbers[name] = np.array(columns[name], np.float64)
    return RawColumns(
        names=tuple(names),
        num_rows=len(lines),
        texts={name: index_texts(columns[name]) for name in TEXT if name in names},
        numbers=numbers,
        place=lambda row: f"line {lines[row]}",
    )


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line that is not blank."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
                if any(line.count(key) > 1 for key in _KEYS):  # perhaps within a text
                    json.loads(line, object_pairs_hook=_no_key_twice)
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}: line {number} is not UTF-8 ({error}); save the file as UTF-8."
                ) from error
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}: line {number} is not JSON ({error}).") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}: line {number} is not an object with columns.")
            yield number, row


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is there twice")
    return row


def _json_text(value: object, name: str, path: Path, line: int) -> str | None:
    if value is None:
        return None
    if name == "user" and isinstance(value, int) and not isinstance(value, bool):
        return _whole(value)
    kinds = "text or a whole number" if name == "user" else "text"
    raise ValueError(f"{path}: line {line}: column {name} must hold {kinds}, got {_show(value)}.")


def _json_number(value: object, name: str, path: Path, line: int) -> float | None:
    if value is None:
        return None
    if isinstance(value, (bool, int, float)):
        try:
            return float(value)
        except OverflowError:
            pass
    raise ValueError(f"{path}: line {line}: column {name} must hold a number, got {_show(value)}.")


def _whole(value: int) -> str:
    """Digits of a whole number, also beyond the length that Python prints."""
    return str(value) if abs(value) < 10**4000 else hex(value)


def _show(value: object) -> str:
    shown = json.dumps(value) if not isinstance(value, int) else _whole(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"


def _read_csv(path: Path) -> pa.Table:
    options = pa_csv.ConvertOptions(
        column_types=dict.fromkeys((*TEXT, *NUMBERS), pa.large_string()),
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=[""],
    )
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    try:
        table = pa_csv.read_csv(path, parse_options=parse, convert_options=options)
        names = table.column_names
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} cannot be read as CSV ({error}{_not_utf8(path)}); expected columns "
            f"{', '.join((*TEXT, 'label'))}."
        ) from error
    if "prompt" in names:
        index = names.index("prompt")
        table = table.set_column(index, "prompt", table["prompt"].fill_null(""))
    return table


def _not_utf8(path: Path) -> str:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return f"; line {number} is not UTF-8, save the file as UTF-8"
    return ""


def _arrow_texts(column: pa.ChunkedArray, name: str, path: Path) -> Texts:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_name = name == "user" and pa.types.is_integer(kind)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (is_name or is_text or pa.types.is_string_view(kind) or pa.types.is_null(kind)):
        kinds = "text or whole numbers" if name == "user" else "text"
        first = _show_scalar(column)
        raise ValueError(f"{path}: column {name} must hold {kinds}, got {kind}{first}.")
    try:
        column = column.cast(kind).cast(pa.large_string())
        column.validate(full=True)
        encoded = column.combine_chunks().dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        index = encoded.indices.fill_null(_MISSING).to_numpy(zero_copy_only=False)
        values = tuple(encoded.dictionary.to_pylist())
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: column {name} does not hold text ({error}).") from error
    return Texts(values, index.astype(np.int32))


def _arrow_numbers(column: pa.ChunkedArray, name: str, path: Path) -> np.ndarray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise ValueError(f"{path}: column {name} has no value in row {row}.")
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _parse_numbers(column, name, path)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if not (is_number or pa.types.is_decimal(kind) or pa.types.is_null(kind)):
        first = _show_scalar(column)
        raise ValueError(f"{path}: column {name} must hold numbers, got {kind}{first}.")
    try:
        return column.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
    except pa.ArrowException as error:
        raise ValueError(f"{path}: column {name} does not hold numbers ({error}).") from error


def _parse_numbers(column: pa.ChunkedArray, name: str, path: Path) -> np.ndarray:
    """Numbers written as text, as a CSV file has them; true and false are 1 and 0."""
    try:
        return column.cast(pa.float64()).to_numpy()
    except pa.ArrowException:
        texts = _arrow_texts(column, name, path)
    values = np.empty(len(column))
    words = {"true": 1.0, "false": 0.0}
    for row, text in enumerate(texts.values[index] for index in texts.index.tolist()):
        try:
            values[row] = words.get(text.strip().lower(), np.nan)
            if np.isnan(values[row]):
                values[row] = float(text)
        except ValueError as error:
            raise ValueError(
                f"{path}: column {name} (text) must hold numbers, but row {row} has {_show(text)}."
            ) from error
    return values


def _show_scalar(column: pa.ChunkedArray) -> str:
    try:
        return f", row 0 has {str(column[0].as_py())[:60]!r}" if len(column) else ""
    except ValueError:  # bytes that no type can show
        return ""
