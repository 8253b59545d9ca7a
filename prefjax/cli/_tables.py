"""Tables of any columns: Parquet, JSONL and CSV, read and written whole."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from prefjax.io import write_atomically

SUFFIXES = (".parquet", ".jsonl", ".csv")


def read_rows(path: str) -> pa.Table:
    """A table.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The suffix is unknown, or the file is damaged.
    """
    _check(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    read = {".parquet": pq.read_table, ".jsonl": pa_json.read_json, ".csv": _read_csv}
    try:
        return read[Path(path).suffix](path)
    except pa.ArrowException as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _read_csv(path: str) -> pa.Table:
    """Every column as the text that stands there: 0012 may be a name."""
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    with pa_csv.open_csv(path, parse_options=parse) as reader:
        names = reader.schema.names
    convert = pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    return pa_csv.read_csv(path, parse_options=parse, convert_options=convert)


def write_rows(table: pa.Table, path: str) -> None:
    """Writes a table, all of it or nothing.

    Raises:
        ValueError: The suffix is unknown, or CSV cannot hold a column.
    """
    _check(path)

    def write(partial: Path) -> None:
        if Path(path).suffix == ".parquet":
            pq.write_table(table, partial)
        elif Path(path).suffix == ".csv":
            pa_csv.write_csv(table, partial)
        else:
            with partial.open("w", encoding="utf-8") as file:
                for row in table.to_pylist():
                    file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")

    try:
        write_atomically(path, write)
    except pa.ArrowException as error:
        raise ValueError(f"{path} cannot hold the table: {error}") from error


def _check(path: str) -> None:
    if Path(path).suffix not in SUFFIXES:
        raise ValueError(f"{path}: the suffix must be one of {', '.join(SUFFIXES)}")
