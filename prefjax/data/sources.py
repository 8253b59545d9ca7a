"""Rows from wherever they lie: files by suffix, and tables of other libraries by what they can do.

    .jsonl  one object a line        .json  a list of objects, or one object
    .csv    text in every cell       .parquet

An Arrow table, a pandas frame, a `datasets.Dataset`, whatever has ``__arrow_c_stream__``, a list of
dictionaries and a dictionary of columns are taken as they are; none of those libraries is imported.
"""

import codecs
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from prefjax.data.files import naming, open_parquet

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


class Source:
    """Rows with named columns, and a name for each row in messages.

    Attributes:
        where: The file, or what the table is called in messages.
        stem: Short name, for the data set.
        table: The rows as an Arrow table, or None where they came as objects.
        place: Names a row, such as ``line 3``.
        names: All columns, in the order of their first appearance.
        is_csv: Whether every value is text because the file says no types.
    """

    def __init__(
        self,
        rows: pa.Table | Sequence[Mapping[str, Any]],
        *,
        where: str = "the table",
        stem: str = "table",
        place: Callable[[int], str] = "row {}".format,
        is_csv: bool = False,
    ):
        self.where, self.stem, self.place, self.is_csv = where, stem, place, is_csv
        self.num_rows = len(rows)
        self.table: Any = None
        self._rows: Sequence[Mapping[str, Any]] = ()
        if isinstance(rows, pa.Table):
            self.table = rows
            try:
                self.names = tuple(self.table.column_names)
            except UnicodeDecodeError as error:
                raise ValueError(f"the name of a column is not UTF-8 ({error}).") from error
        else:
            self._rows = rows
            seen: dict[str, None] = {}
            for row in rows:
                if not row.keys() <= seen.keys():
                    seen.update(dict.fromkeys(row))
            self.names = tuple(seen)

    @cached_property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows as dictionaries."""
        if self.table is None:
            return self._rows
        try:
            return self.table.to_pylist()
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise ValueError(f"a column does not hold text ({error}).") from error

    def values(self, name: str) -> list[Any]:
        """One column; None where a row lacks it.

        Args:
            name: The column.

        Returns:
            A value for each row.
        """
        if self.table is not None:
            return self.table[name].to_pylist()
        return [row.get(name) for row in self.rows]

    def first(self, name: str) -> Any:
        """The first value of a column that is not missing, which shows what kind it holds.

        Args:
            name: The column.

        Returns:
            The value; None if the column is not there or empty.
        """
        if name not in self.names:
            return None
        if self.table is not None:
            column = self.table[name].drop_null()
            return column[0].as_py() if len(column) else None
        return next((row[name] for row in self.rows if row.get(name) is not None), None)

    def renamed(self, columns: Mapping[str, str]) -> "Source":
        """The same rows with columns under the names that a layout knows them by.

        Args:
            columns: Name of a column in the file, by the name it shall have; a column that already
                has such a name without being meant is left out.

        Returns:
            The rows; names of ``columns`` that are not there change nothing.
        """
        new = {old: name for name, old in columns.items() if old in self.names}
        if all(old == name for old, name in new.items()):
            return self
        names = [new.get(name, name) for name in self.names]
        keep = [
            place
            for place, (old, name) in enumerate(zip(self.names, names, strict=True))
            if old in new or name not in new.values()
        ]
        if self.table is not None:
            table = self.table.select(keep).rename_columns([names[place] for place in keep])
            rows: Any = table
        else:
            pairs = [(self.names[place], names[place]) for place in keep]
            rows = [{name: row[old] for old, name in pairs if old in row} for row in self.rows]
        return Source(rows, where=self.where, stem=self.stem, place=self.place, is_csv=self.is_csv)


def open_source(data: Any) -> Source:
    """Rows of a file or of a table.

    Args:
        data: A path with one of ``SUFFIXES``; or an Arrow table, a pandas or polars frame, a
            `datasets.Dataset`, a list of dictionaries, a dictionary of columns.

    Returns:
        The rows, not yet looked at.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If the object has no rows; a `datasets.DatasetDict` is refused with its splits.
        ValueError: If the suffix is unknown or the file is damaged; the message names the file.
    """
    if isinstance(data, (str, Path)):
        return _open_file(Path(data))
    if isinstance(data, pa.Table):
        return Source(data)
    if hasattr(data, "with_format") and hasattr(data, "features"):  # honors select and shuffle
        return Source(data.with_format("arrow")[:])
    if hasattr(data, "iloc") and hasattr(data, "to_dict"):
        return Source(pa.Table.from_pandas(data, preserve_index=False))
    if hasattr(data, "__arrow_c_stream__"):
        return Source(pa.table(data))
    if isinstance(data, Mapping):
        return _open_mapping(data)
    if isinstance(data, Iterable):
        rows = list(data)
        wrong = [place for place, row in enumerate(rows) if not isinstance(row, Mapping)]
        if not wrong:
            return Source(rows)
        raise TypeError(f"Row {wrong[0]} is no dictionary of columns but {rows[wrong[0]]!r:.60}.")
    raise TypeError(
        f"{type(data).__name__} has no rows: pass a file ({', '.join(SUFFIXES)}), an Arrow table, "
        "a pandas frame, a datasets.Dataset, a list of dictionaries or a dictionary of columns."
    )


def _open_mapping(data: Mapping[Any, Any]) -> Source:
    splits = [name for name, part in data.items() if hasattr(part, "with_format")]
    if splits:
        raise TypeError(
            f"These are several tables, {', '.join(map(repr, splits))}: pass one of them, such as "
            f"data[{splits[0]!r}]."
        )
    try:
        return Source(pa.table(dict(data)))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise TypeError(
            f"A dictionary must hold columns of one length, one type each ({error})."
        ) from error


def _open_file(path: Path) -> Source:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: the suffix must be one of {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    where, stem = str(path), path.stem
    if path.suffix == ".parquet":
        table = open_parquet(path, {})
        with naming(path):
            return Source(table, where=where, stem=stem)
    if path.suffix == ".csv":
        return Source(_read_csv(path), where=where, stem=stem, is_csv=True)
    if path.suffix == ".json":
        return Source(_read_json(path), where=where, stem=stem, place="entry {}".format)
    numbers, rows = [], []
    for number, row in _json_lines(path):
        numbers.append(number)
        rows.append(row)
    return Source(rows, where=where, stem=stem, place=lambda row: f"line {numbers[row]}")


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line that is not blank."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            try:
                row = _DECODER.decode(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}: line {number} is not UTF-8 ({error}); save the file as UTF-8."
                ) from error
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}: line {number} is not JSON ({error}).") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}: line {number} is not an object with columns.")
            yield number, row


def _read_json(path: Path) -> list[dict[str, Any]]:
    try:
        document = _DECODER.decode(path.read_bytes().removeprefix(codecs.BOM_UTF8).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}); save it as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}).") from error
    rows = [document] if isinstance(document, dict) else document
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} must hold a list of objects with columns, or one object.")
    return rows


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is there twice")
    return row


_DECODER = json.JSONDecoder(object_pairs_hook=_no_key_twice)


def _read_csv(path: Path) -> pa.Table:
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    try:
        with pa_csv.open_csv(path, parse_options=parse) as reader:
            names = reader.schema.names
        options = pa_csv.ConvertOptions(
            # Otherwise a response that reads 2020-01-01 would become a date.
            column_types=dict.fromkeys(names, pa.large_string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        )
        return pa_csv.read_csv(path, parse_options=parse, convert_options=options)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as CSV ({error}{_not_utf8(path)}).") from error


def _not_utf8(path: Path) -> str:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return f"; line {number} is not UTF-8, save the file as UTF-8"
    return ""
