"""Shards of training from Parquet files, by the tasks of a Ray cluster.

    files ──split──▶ rows by partition ──write──▶ one file a partition

Ranges of rows are split by partition in any order, on any node; the file of a partition takes its
pieces in the order of the files. Ray makes a piece again that was lost with its node, and holds on
disk what does not fit in memory. The folder is that of `prefjax.train.write_shards`, byte for byte.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from prefjax.data.files import naming
from prefjax.data.row_groups import RowGroup
from prefjax.io import atomic_folder
from prefjax.parallel import start_ray
from prefjax.train.layout import UserLayout
from prefjax.train.parquet_rows import list_comparisons, read_comparisons
from prefjax.train.shard_files import BLOCK_ROWS, Format
from prefjax.train.shard_writing import (
    PartitionWriter,
    Written,
    split_rows,
    write_shard_manifest,
)

ROWS_A_TASK = 2**22
"""Rows that a task splits at once: 100 MB, and as much again while it does."""


def write_shards_on_ray(
    source: str | Path,
    folder: Path,
    *,
    layout: UserLayout,
    num_responses: int,
    format: Format = "arrow",
    block_rows: int = BLOCK_ROWS,
    rows_a_task: int = ROWS_A_TASK,
) -> None:
    """Does what `write_shards` does, on a Ray cluster.

    Args:
        source: Files that all nodes see, as `read_parquet_rows` takes them.
        folder: The folder to make, on a disk that all nodes share.
        layout: Places of the users.
        num_responses: Number of responses.
        format: Arrow is mapped into memory, Parquet is smaller.
        block_rows: Rows of a block.
        rows_a_task: Rows that a task splits at once, at least a row group of the files.

    Raises:
        ModuleNotFoundError: Ray is not installed (extra ``ray``).
        FileExistsError: The folder is there.
        ValueError: A comparison is not legal, or there are none.
    """
    groups = list_comparisons(source)
    ray = start_ray()
    split = ray.remote(_split).options(num_returns=layout.num_partitions + 1)
    write = ray.remote(_write)
    compared = np.zeros(num_responses, bool)
    with atomic_folder(Path(folder).absolute()) as target:
        pieces = [
            split.remote(some, layout, num_responses) for some in _cut_ranges(groups, rows_a_task)
        ]
        for *_, one in pieces:
            compared |= ray.get(one)
        written = [
            write.remote([piece[p] for piece in pieces], target, p, layout, format, block_rows)
            for p in range(layout.num_partitions)
        ]
        write_shard_manifest(target, ray.get(written), compared, layout, block_rows)


def _cut_ranges(groups: Sequence[RowGroup], rows_a_task: int) -> Iterator[list[RowGroup]]:
    """Row groups that follow each other, together of about so many rows."""
    some: list[RowGroup] = []
    for group in groups:
        if some and sum(one.num_rows for one in some) + group.num_rows > rows_a_task:
            yield some
            some = []
        some.append(group)
    if some:
        yield some


def _split(groups: Sequence[RowGroup], layout: UserLayout, num_responses: int) -> list[Any]:
    """A table a partition, and which responses were compared."""
    compared = np.zeros(num_responses, bool)
    parts: list[list[pa.Table]] = [[] for _ in range(layout.num_partitions)]
    for group in groups:
        with naming(group.path):
            found = split_rows(read_comparisons(group), layout, num_responses)
        compared |= found.compared
        for part, table in zip(parts, found.tables, strict=True):
            part.append(table)
    return [*(pa.concat_tables(part).combine_chunks() for part in parts), compared]


def _write(
    pieces: Sequence[Any],
    folder: Path,
    partition: int,
    layout: UserLayout,
    format: Format,
    block_rows: int,
) -> Written:
    """The file of a partition, from its pieces one after the other."""
    import ray

    with PartitionWriter(folder, partition, layout, format, block_rows) as writer:
        for piece in pieces:
            writer.add(ray.get(piece))
        return writer.finish()
