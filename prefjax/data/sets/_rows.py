"""Rows of published sets from files whose names differ between revisions and mirrors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefjax.data.files import naming
from prefjax.data.hub import hub_folder
from prefjax.data.sources import Source, open_source

SUFFIXES = (".parquet", ".jsonl", ".json", ".csv")
_PARTS = ("train", "validation", "valid", "val", "dev", "test")


def open_rows(
    name: str,
    repository: str,
    folder: Path | None,
    revision: str | None,
    columns: Sequence[str],
    *,
    pattern: str = "**/*",
) -> Source:
    """All rows of all files of a set, in the order of the files' names.

    Args:
        name: Name of the set, the folder under ``PREFJAX_DATA``.
        repository: Its ``owner/name`` on the hub.
        folder: The folder itself; None to look under ``PREFJAX_DATA``.
        revision: A commit of the hub to fetch the files from instead.
        columns: Columns that must be there; others are left alone.
        pattern: Names of the files without their suffix.

    Returns:
        The rows; where there is no column ``split`` and a file is named after a part, such as
        ``test-00000-of-00001.parquet``, that part is the split of its rows.

    Raises:
        FileNotFoundError: If no such file is there; the message says what to put where.
        OSError: If the hub cannot be reached.
        ValueError: If a file is damaged or lacks a column; the message names it.
    """
    patterns = tuple(f"{pattern}{suffix}" for suffix in SUFFIXES)
    folder = hub_folder(name, repository, patterns, folder=folder, revision=revision, one_of=True)
    rows: list[Mapping[str, Any]] = []
    places: list[str] = []
    for path in sorted(path for one in patterns for path in folder.glob(one)):
        if path.name == RECEIPT:
            continue
        source = open_source(path)
        missing = [column for column in columns if column not in source.names]
        if missing:
            raise ValueError(
                f"{path}: expected columns {', '.join(columns)}, found "
                f"{', '.join(source.names) or 'none'}; {', '.join(missing)} are missing."
            )
        part = next((part for part in _PARTS if path.stem.startswith(part)), None)
        named = part is not None and "split" not in source.names
        with naming(path):
            rows += [{**row, "split": part} for row in source.rows] if named else source.rows
        places += [f"{path.name} {source.place(row)}" for row in range(source.num_rows)]
    return Source(rows, where=str(folder), stem=name, place=places.__getitem__)


RECEIPT = "prepared.json"
"""What `prefjax.data.prepare` leaves beside the files; no data."""
