"""Small pieces of every ``prepare``: a file of the source, its columns, and a table to write."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prefjax.data.sources import Source


def find_file(folder: Path, name: str, where: str, *, within: str = "") -> Path:
    """A file at any depth below a folder.

    Args:
        folder: The folder.
        name: The name of the file.
        where: Where a user gets it, for the message.
        within: Name of the folder it lies in, where several files have that name.

    Returns:
        Its path.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is there more than once.
    """
    found = sorted(folder.glob(f"**/{name}"))
    if len(found) > 1 and within:
        found = [path for path in found if path.parent.name == within] or found
    if not found:
        raise FileNotFoundError(f"There is no {name} below {folder} (from {where}).")
    if len(found) > 1:
        raise ValueError(f"{name} is there twice, as {found[0]} and {found[1]}.")
    return found[0]


def require(source: Source, names: Sequence[str]) -> Sequence[str]:
    """Names of columns that a table must have.

    Args:
        source: The table.
        names: The columns.

    Returns:
        The names.

    Raises:
        ValueError: If one is not there.
    """
    missing = [name for name in names if name not in source.names]
    if missing:
        raise ValueError(
            f"expected columns {', '.join(names)}, found {', '.join(source.names)}; "
            f"{', '.join(missing)} are missing."
        )
    return names


def write_columns(path: Path, **columns: np.ndarray | Sequence[Any]) -> None:
    """Writes a Parquet file; texts as large strings.

    Args:
        path: The file.
        columns: Arrays of numbers, or lists of text.
    """
    pq.write_table(
        pa.table(
            {
                name: pa.array(column)
                if isinstance(column, np.ndarray)
                else pa.array(column, pa.large_string())
                for name, column in columns.items()
            }
        ),
        path,
    )
