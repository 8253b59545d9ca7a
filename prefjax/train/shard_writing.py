"""Comparisons partitioned by user and written as shards, all files or none.

A partition's file has its comparisons in the order in which they came. Rows are first split by
partition, piece by piece, and a writer a partition then takes its pieces in order; both can be done
elsewhere (`prefjax.train.shards_on_ray`), with the same bytes.
"""

import json
import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool

from prefjax.data.validate import validate_comparisons
from prefjax.io import atomic_folder, digest_file
from prefjax.train.layout import UserLayout
from prefjax.train.memory import find_compared
from prefjax.train.shard_files import (
    BLOCK_ROWS,
    COMPARED,
    MANIFEST,
    SCHEMA,
    Format,
    Manifest,
    ShardFile,
    mass_path,
)
from prefjax.types import Comparisons

_SPLIT_SCHEMA = SCHEMA.append(pa.field("row", pa.int32()))


class Split(NamedTuple):
    """Comparisons by partition.

    Attributes:
        tables: Those of each partition in order, with the row of the user in the partition.
        compared: Which responses stand in a comparison with weight.
    """

    tables: list[pa.Table]
    compared: Bool[np.ndarray, " response"]


class Written(NamedTuple):
    """What was written of a partition.

    Attributes:
        file: What the manifest promises of it.
        total_weight: Sum of the sample weights.
    """

    file: ShardFile
    total_weight: float


def write_shards(
    chunks: Iterable[Comparisons],
    folder: Path,
    *,
    layout: UserLayout,
    num_responses: int,
    format: Format = "arrow",
    block_rows: int = BLOCK_ROWS,
) -> None:
    """Partitions comparisons by user and writes them, all files or none.

    Args:
        chunks: The comparisons, in pieces that fit in memory; each is checked.
        folder: The folder to make.
        layout: Places of the users.
        num_responses: Number of responses.
        format: Arrow is mapped into memory, Parquet is smaller.
        block_rows: Rows of a block.

    Raises:
        FileExistsError: The folder is there.
        ValueError: A comparison is not legal, or there are none.
    """
    compared = np.zeros(num_responses, bool)
    with atomic_folder(folder) as target:
        with ExitStack() as stack:
            writers = [
                stack.enter_context(PartitionWriter(target, p, layout, format, block_rows))
                for p in range(layout.num_partitions)
            ]
            for chunk in chunks:
                split = split_rows(chunk, layout, num_responses)
                compared |= split.compared
                for writer, table in zip(writers, split.tables, strict=True):
                    writer.add(table)
            written = [writer.finish() for writer in writers]
        write_shard_manifest(target, written, compared, layout, block_rows)


def split_rows(chunk: Comparisons, layout: UserLayout, num_responses: int) -> Split:
    """Checks comparisons and splits them by partition, in order.

    Args:
        chunk: The comparisons.
        layout: Places of the users.
        num_responses: Number of responses.

    Raises:
        ValueError: A comparison is not legal.
    """
    rows = validate_comparisons(chunk, layout.num_users, num_responses)
    partition, row = layout.locate(np.asarray(rows.user))
    order = np.argsort(partition.astype(np.uint16), kind="stable")
    starts = np.searchsorted(partition[order], np.arange(layout.num_partitions + 1))
    tables = []
    for start, stop in pairwise(starts):
        mine = order[start:stop]
        columns = [column[mine] for column in (*rows, row)]  # in the order of the schema
        tables.append(pa.table(columns, schema=_SPLIT_SCHEMA))
    return Split(tables, find_compared(rows, num_responses))


class PartitionWriter:
    """Writes the file of one partition, block by block; a context.

    Args:
        folder: The folder of the shards.
        partition: Number of the partition.
        layout: Places of the users.
        format: Of the file.
        block_rows: Rows of a block.
    """

    def __init__(
        self, folder: Path, partition: int, layout: UserLayout, format: Format, block_rows: int
    ):
        self._path = folder / f"part-{partition:05d}.{format}"
        self._mass_path, self._block_rows = mass_path(folder, partition), block_rows
        self._mass, self._num_rows = np.zeros(layout.num_rows), 0
        self._waiting = SCHEMA.empty_table()
        self._writer: Any = (
            pq.ParquetWriter(self._path, SCHEMA)
            if format == "parquet"
            else pa.ipc.new_file(self._path, SCHEMA)
        )

    def __enter__(self) -> "PartitionWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, table: pa.Table) -> None:
        """Takes comparisons of the partition, as `split_rows` gives them."""
        row = table["row"].to_numpy()
        np.add.at(self._mass, row, table["weight"].to_numpy())
        self._num_rows += len(table)
        self._waiting = pa.concat_tables([self._waiting, table.select(SCHEMA.names)])
        whole = len(self._waiting) - len(self._waiting) % self._block_rows
        if whole:
            self._write(whole)

    def finish(self) -> Written:
        """Writes what is left and closes the file; gives what it holds."""
        if len(self._waiting):
            self._write(len(self._waiting))
        self._close()
        np.save(self._mass_path, self._mass.astype(np.float32))
        digests = digest_file(self._path), digest_file(self._mass_path)
        return Written(
            ShardFile(self._path.name, self._num_rows, *digests), float(self._mass.sum())
        )

    def _close(self) -> None:
        """Once: a second end would be written behind the first."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _write(self, count: int) -> None:
        table = self._waiting.slice(0, count).combine_chunks()
        for start in range(0, count, self._block_rows):
            block = table.slice(start, self._block_rows)
            if isinstance(self._writer, pq.ParquetWriter):
                self._writer.write_table(block, row_group_size=self._block_rows)
            else:
                self._writer.write_table(block, max_chunksize=self._block_rows)
        self._waiting = self._waiting.slice(count).combine_chunks()


def write_shard_manifest(
    folder: Path,
    written: Sequence[Written],
    compared: Bool[np.ndarray, " response"],
    layout: UserLayout,
    block_rows: int,
) -> None:
    """Writes what makes a folder of partitions one of shards.

    Args:
        folder: The folder.
        written: Every partition, in order.
        compared: Which responses stand in a comparison with weight.
        layout: Places of the users.
        block_rows: Rows of a block.

    Raises:
        ValueError: There are no comparisons.
    """
    if not sum(one.file.rows for one in written):
        raise ValueError("There are no comparisons: at least one row is needed.")
    np.save(folder / COMPARED, compared)
    manifest = Manifest(
        version=2,
        layout=layout,
        num_responses=len(compared),
        block_rows=block_rows,
        total_weight=math.fsum(one.total_weight for one in written),
        files=tuple(one.file for one in written),
        compared_sha256=digest_file(folder / COMPARED),
    )
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1))
