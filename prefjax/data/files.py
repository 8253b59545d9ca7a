"""Reads that name the file when it is not what was promised.

A read lists the columns it expects and whether each holds whole numbers, numbers or text, in any
of the types that Arrow has for them. A file that is missing, truncated, of another schema or with
holes raises a sentence naming the file, the expected and the found columns.
"""

import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Kind = Literal["number", "integer", "text"]

DATA_VARIABLE = "PREFJAX_DATA"
"""Environment variable with the folder under which each data set has its own folder."""


def source_folder(
    name: str, folder: Path | None, files: tuple[str, ...], where: str, *, one_of: bool = False
) -> Path:
    """The folder of one data set, checked to hold its files.

    Args:
        name: Name of the data set, the folder under ``PREFJAX_DATA``.
        folder: The folder itself; None to look under ``PREFJAX_DATA``.
        files: What must lie there; a name may be a pattern such as ``*.parquet``.
        where: Where a user gets the data, for the message.
        one_of: Whether one of the files is enough.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: If neither argument nor variable leads to the files; the message says
            what to put where.
    """
    shown = (" or " if one_of else ", ").join(file.removeprefix("**/") for file in files)
    if folder is None:
        root = os.environ.get(DATA_VARIABLE)
        if root is None:
            raise FileNotFoundError(
                f"Set {DATA_VARIABLE} to a folder that holds {name}/ with {shown} "
                f"(from {where}), or pass folder=."
            )
        folder = Path(root) / name
    missing = [file for file in files if not any(folder.glob(file))]
    if len(missing) > (len(files) - 1 if one_of else 0):
        lacks = shown if one_of else ", ".join(missing)
        raise FileNotFoundError(
            f"{folder} lacks {lacks}: put the files of {name} there (from {where})."
        )
    return folder


def read_parquet(
    path: Path, columns: Mapping[str, Kind], nullable: frozenset[str] = frozenset()
) -> pa.Table:
    """Read columns of one Parquet file.

    Args:
        path: The file.
        columns: Expected columns and what each holds.
        nullable: Columns that may have holes.

    Returns:
        The table with exactly these columns, in this order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read, lacks a column, has one of another kind or a hole.
    """
    return check_table(open_parquet(path, columns), path, columns, nullable)


def open_parquet(path: Path, columns: Mapping[str, Kind]) -> pa.Table:
    """Read all of a Parquet file, unchecked.

    Args:
        path: The file.
        columns: What is expected, for messages.

    Returns:
        The whole table.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read as Parquet.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; expected columns {_show(columns)}.")
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as Parquet ({error}); expected columns {_show(columns)}, "
            f"found none."
        ) from error


def check_table(
    table: pa.Table, path: Path, columns: Mapping[str, Kind], nullable: frozenset[str] = frozenset()
) -> pa.Table:
    """Check names, kinds and holes of a table that was read from ``path``.

    Args:
        table: The table, possibly with further columns.
        path: The file it came from, for messages.
        columns: Expected columns and what each holds.
        nullable: Columns that may have holes.

    Returns:
        The table with exactly these columns, in this order: text as large strings, whole numbers
        as int64.

    Raises:
        ValueError: If a column is missing, there twice, of another kind or has a hole.
    """
    found = {field.name: _kind(field.type) for field in table.schema}
    twice = [name for name in columns if table.column_names.count(name) > 1]
    if twice:
        raise ValueError(f"{path}: column {twice[0]} is there twice.")
    fits = all(found.get(name) in _ACCEPTED[kind] for name, kind in columns.items())
    if not fits:
        raise ValueError(f"{path}: expected columns {_show(columns)}, found {_show(found)}.")
    return pa.table(
        {
            name: _plain(table[name], kind, f"{path}: column {name}", name in nullable)
            for name, kind in columns.items()
        }
    )


def _plain(column: pa.ChunkedArray, kind: Kind, where: str, nullable: bool) -> pa.ChunkedArray:
    """The column as large strings, int64 or a floating type, whatever it was encoded as."""
    if column.null_count and not nullable:
        raise ValueError(f"{where} has no value in row {column.is_null().index(True).as_py()}.")
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if kind == "text":
            column = column.cast(pa.large_string())
            column.validate(full=True)
            return column
        if kind == "integer":
            return column.cast(pa.int64())
        if pa.types.is_decimal(column.type) or pa.types.is_null(column.type):
            return column.cast(pa.float64())
    except pa.ArrowException as error:
        raise ValueError(f"{where} does not hold {_NAMES[kind]}: {error}.") from error
    return column


def texts(table: pa.Table, name: str) -> tuple[str, ...]:
    """One text column as a tuple.

    Args:
        table: A table.
        name: The column.

    Returns:
        The texts in the order of the rows.
    """
    return tuple(table[name].to_pylist())


def read_npz(path: Path, name: str, num_axes: int) -> np.ndarray:
    """Read one array of an ``.npz`` file.

    Args:
        path: The file.
        name: The array.
        num_axes: How many axes it must have.

    Returns:
        The array.

    Raises:
        ValueError: If the file is damaged, lacks the array or the array has other axes.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = list(arrays.files)
            array = arrays[name] if name in found else None
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, TypeError) as error:
        raise ValueError(
            f"{path} cannot be read as npz ({error}); expected array {name!r}, found none."
        ) from error
    if array is None:
        raise ValueError(f"{path}: expected array {name!r}, found {found}.")
    if array.ndim != num_axes:
        raise ValueError(
            f"{path}: expected array {name!r} with {num_axes} axes, found shape {array.shape}."
        )
    return array


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Put the name of a file in front of every ValueError raised inside.

    Args:
        path: The file or folder whose content is being checked, or what else it is called.

    Yields:
        Nothing.

    Raises:
        ValueError: The one raised inside, with the path; its type if that is one of ours.
    """
    try:
        yield
    except ValueError as error:
        kind = type(error) if type(error).__module__.startswith("prefjax.") else ValueError
        raise kind(f"{path}: {error}") from error


_ACCEPTED: Mapping[Kind, tuple[str, ...]] = {
    "text": ("text", "null"),
    "number": ("number", "integer", "null"),
    "integer": ("integer", "number", "null"),
}
_NAMES: Mapping[Kind, str] = {"text": "text", "number": "numbers", "integer": "whole numbers"}


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    return str(kind)


def _show(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in columns.items()) or "none"
