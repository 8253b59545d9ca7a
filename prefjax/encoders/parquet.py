"""Texts in Parquet files, read a range at a time, so that no process holds all of them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa

from prefjax.data.row_groups import list_row_groups
from prefjax.encoders.contract import Text
from prefjax.io import digest_file, digest_json


class ParquetTexts(Sequence[Text]):
    """The texts of one column, or of a column of prompts and one of responses.

    Args:
        source: A file, or a folder whose ``*.parquet`` files are taken in the order of their names;
            or a URL of fsspec, such as ``s3://bucket/folder``.
        response_column: Column of texts.
        prompt_column: Column of prompts; a text is then a pair, or the response alone where the
            prompt is empty. None for none.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is no Parquet, or has no such column of strings; the message names it.
    """

    def __init__(self, source: str | Path, response_column: str, prompt_column: str | None = None):
        self.columns = [name for name in (prompt_column, response_column) if name is not None]
        self._groups = list_row_groups(source, dict.fromkeys(self.columns, _is_text), "strings")
        self.names = self._groups[0].names if self._groups else ()
        self.paths = list(dict.fromkeys(group.path for group in self._groups))
        counts = [group.num_rows for group in self._groups]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the files say and of the columns that are read."""
        return digest_json([self.columns, [digest_file(path) for path in self.paths]])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> Text: ...

    @overload
    def __getitem__(self, index: slice) -> list[Text]: ...

    def __getitem__(self, index: int | slice) -> Text | list[Text]:
        if not isinstance(index, slice):
            row = index + len(self) if index < 0 else index
            if not 0 <= row < len(self):
                raise IndexError(f"There is no text {index} of {len(self)}.")
            return self[row : row + 1][0]
        start, stop, step = index.indices(len(self))
        if step != 1:
            raise ValueError("Texts of Parquet files are read in ranges without a step.")
        texts: list[Text] = []
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            begin, end = (int(place) for place in self._starts[first : first + 2])
            texts += self._read(first, start - begin, min(stop, end) - begin)
            start, first = end, first + 1
        return texts

    def _read(self, number: int, start: int, stop: int) -> list[Text]:
        """Some rows of a row group."""
        group = self._groups[number]
        table = group.read(self.columns)
        columns = [table[name].slice(start, stop - start).to_pylist() for name in self.columns]
        for name, column in zip(self.columns, columns, strict=True):
            if None in column:
                row = start + column.index(None)
                raise ValueError(
                    f"{group.path}: column {name} of row group {group.number} row {row} is null."
                )
        if len(columns) == 1:
            return columns[0]
        return [pair if pair[0] else pair[1] for pair in zip(*columns, strict=True)]


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
