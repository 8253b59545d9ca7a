"""Comparisons in Parquet files, a row group at a time, by any process that sees the files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from prefjax.data.row_groups import RowGroup, list_row_groups
from prefjax.train.shard_files import SCHEMA
from prefjax.types import Comparisons


def read_parquet_rows(source: str | Path) -> Iterator[Comparisons]:
    """Yields the comparisons of Parquet files, a row group at a time.

    Args:
        source: A file, or a folder whose ``*.parquet`` files are taken in the order of their names;
            or a URL of fsspec, such as ``s3://bucket/folder``. Columns: ``user``, ``first`` and
            ``second``, whole numbers, −1 for the baseline; ``label``; ``weight``, 1 where there is
            none.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is no Parquet, or has not these columns; the message names it.
    """
    for group in list_comparisons(source):
        yield read_comparisons(group)


def list_comparisons(source: str | Path) -> list[RowGroup]:
    """The row groups of what `read_parquet_rows` takes; raises what it does."""
    checks = dict.fromkeys(("user", "first", "second"), pa.types.is_integer)
    checks |= {"label": _is_number}
    groups = list_row_groups(source, checks, "numbers")
    if groups and "weight" in groups[0].names:
        groups = list_row_groups(source, checks | {"weight": _is_number}, "numbers")
    return groups


def read_comparisons(group: RowGroup) -> Comparisons:
    """The comparisons of a row group.

    Args:
        group: From `list_comparisons`.
    """
    names = [name for name in SCHEMA.names if name in group.names]
    table = group.read(names)
    columns = [table[name].to_numpy() for name in names]
    if len(columns) < len(SCHEMA.names):
        columns.append(np.ones(len(table), np.float32))
    return Comparisons(*columns)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)
