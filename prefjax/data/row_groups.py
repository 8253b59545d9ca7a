"""The row groups of Parquet files, which are read one at a time, by any process that sees them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from prefjax.io.buckets import list_files, open_file


class RowGroup(NamedTuple):
    """Some rows of a file that are read together.

    Attributes:
        path: The file, or its URL.
        number: Number of the row group in it.
        num_rows: Number of rows.
        names: All columns of the file.
    """

    path: str | Path
    number: int
    num_rows: int
    names: tuple[str, ...]

    def read(self, columns: list[str]) -> pa.Table:
        """The rows.

        Args:
            columns: Names of the columns.
        """
        return _open(self.path).read_row_group(self.number, columns=columns)


def list_row_groups(
    source: str | Path, columns: Mapping[str, Callable[[pa.DataType], bool]], kind: str
) -> list[RowGroup]:
    """The row groups of a file or of a folder, in the order of the files' names.

    Args:
        source: A file, or a folder whose ``*.parquet`` files are taken; or a URL of fsspec.
        columns: What must be true of the type of each column that is needed.
        kind: What such a column holds, for the error.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is no Parquet, or has no such column; the message names it. Or the URL
            cannot be read.
    """
    paths = list_files(source, ".parquet")
    if not paths:
        raise FileNotFoundError(f"There is no Parquet file {source}.")
    groups = []
    for path in paths:
        try:
            file = _open(path)
        except pa.ArrowException as error:
            raise ValueError(f"{path} cannot be read as Parquet ({error}).") from error
        kinds = {field.name: field.type for field in file.schema_arrow}
        for name, is_legal in columns.items():
            if name not in kinds or not is_legal(kinds[name]):
                raise ValueError(
                    f"{path} has no column {name!r} of {kind}; it has "
                    f"{', '.join(f'{n} ({k})' for n, k in kinds.items())}."
                )
        counts = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        groups += [
            RowGroup(path, number, count, tuple(kinds)) for number, count in enumerate(counts)
        ]
    return groups


def _open(path: str | Path) -> pq.ParquetFile:
    return pq.ParquetFile(path if isinstance(path, Path) else open_file(path))
