"""Whose answers tell little, counted over shards: a partition at a time, on any node.

A person's comparisons are all in one partition, in the order in which they came, and every count
is of one person: partitions are counted apart and put together, with the numbers of one pass over
everything. What texts would tell is not seen here; shards hold none.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Int

from prefjax.data.answer_counts import AnswerCounts, count_answers, join_counts
from prefjax.data.answers import AnswersConfig, AnswersReport, judge_answers
from prefjax.parallel import start_ray
from prefjax.train.shard_files import MANIFEST, SCHEMA, ShardFile, open_blocks, read_manifest
from prefjax.types import Comparisons


def inspect_shards(
    folder: Path, config: AnswersConfig | None = None, *, on_ray: bool = False
) -> AnswersReport:
    """Does what `prefjax.data.answers.inspect_answers` does, without texts.

    Args:
        folder: Of `write_shards`; where ``on_ray``, on a disk that all nodes share.
        config: Thresholds; the defaults if None.
        on_ray: Count by tasks of a Ray cluster, one for each partition.

    Raises:
        FileNotFoundError: There is no manifest or a file is missing.
        ValueError: A file is short, damaged or has other columns; the message names it.
        ModuleNotFoundError: Ray is not installed (extra ``ray``).
    """
    folder = Path(folder).absolute()
    manifest = read_manifest(folder / MANIFEST)
    parts: Iterable[tuple[np.ndarray, AnswerCounts]]
    if on_ray:
        ray = start_ray()
        count = ray.remote(_count)
        block_rows = manifest.block_rows
        waiting = [count.remote(folder, file, block_rows) for file in manifest.files]
        parts = (ray.get(one) for one in waiting)
    else:
        parts = (_count(folder, file, manifest.block_rows) for file in manifest.files)
    num_users = manifest.layout.num_users
    return judge_answers(join_counts(parts, num_users), range(num_users), config)


def _count(
    folder: Path, file: ShardFile, block_rows: int
) -> tuple[Int[np.ndarray, " part"], AnswerCounts]:
    """The people of a partition, and their counts."""
    read = open_blocks(folder / file.name, file, verify=True)
    blocks = [read(block) for block in range(-(-file.rows // block_rows))]
    columns = [
        np.concatenate([np.empty(0, kind.to_pandas_dtype()), *(b[name].to_numpy() for b in blocks)])
        for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True)
    ]
    users, user = np.unique(columns[0], return_inverse=True)
    return users, count_answers(Comparisons(user, *columns[1:]), len(users))
