"""Comparisons on disk, one file for each partition of users: the source for more than memory holds.

    <folder>/shards.json           layout, counts, digests
    <folder>/part-00000.arrow      or .parquet: user, first, second (int32), label, weight (float32)
    <folder>/mass-00000.npy        sum of the sample weights of every user of the partition
    <folder>/compared.npy          which responses stand in a comparison with weight

A file is read in blocks of `BLOCK_ROWS` rows. An epoch takes the blocks of a partition in a seeded
permutation, `WINDOW_BLOCKS` of them at a time, and permutes the rows inside this window, so that
any position of it is found by reading one window: the state of the sampler is (epoch, t) here too.
The last block of a file is filled with comparisons of weight 0. A thread reads ahead.

Each process reads the files of its own devices.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int, Shaped
from tqdm import tqdm

from prefjax.data.files import naming
from prefjax.data.validate import validate_comparisons
from prefjax.io import digest_json
from prefjax.parallel import own_rows, padded_size, place_rows
from prefjax.train.batch import PADDING, Batch, StackedBatches
from prefjax.train.memory import find_compared
from prefjax.train.permutation import make_permutation, permute_on_host
from prefjax.train.shard_files import (
    MANIFEST,
    SCHEMA,
    open_blocks,
    read_compared,
    read_manifest,
    read_mass,
)
from prefjax.types import Comparisons

WINDOW_BLOCKS = 16
WINDOW_STREAM = 2**31
"""Streams from here on permute the rows of a window, those below the blocks of a partition."""


class ShardSource:
    """Comparisons of a folder of shards.

    Args:
        folder: As `write_shards` made it.
        verify: Whether to compare the digest of every file that this process reads.

    Raises:
        FileNotFoundError: There is no manifest or a file is missing.
        ValueError: A file is short, damaged or has other columns; the message names it.
    """

    def __init__(self, folder: Path, *, verify: bool = True):
        self.folder = Path(folder)
        manifest = read_manifest(self.folder / MANIFEST)
        self._manifest, self._files = manifest, manifest.files
        self.users: tuple[str, ...] = ()
        self.layout, self.num_responses = manifest.layout, manifest.num_responses
        self.total_weight = manifest.total_weight
        self.num_comparisons = sum(file.rows for file in manifest.files)
        self.fingerprint = digest_json(json.loads((self.folder / MANIFEST).read_bytes()))
        self._block_rows = manifest.block_rows
        self._blocks = [-(-file.rows // manifest.block_rows) for file in manifest.files]
        self._readers: dict[int, Callable[[int], pa.Table]] = {}
        self._windows: dict[int, tuple[tuple[int, int, int], Batch]] = {}
        self._verify = verify

    def num_steps(self, num_slots: int) -> int:
        """Counts the steps of an epoch with ``num_slots`` comparisons a partition in a batch."""
        return max(1, -(-max(self._blocks) * self._block_rows // num_slots))

    def user_names(self, num_users: int) -> str:
        """Gives nothing: shards have numbers of users only."""
        return ""

    def index_users(self, user: Shaped[np.ndarray, " pair"]) -> Shaped[np.ndarray, " pair"]:
        """Gives the users back: shards have numbers of users only."""
        return user

    def compared(self) -> Bool[np.ndarray, " response"]:
        """Tells which responses stand in a comparison with weight.

        A folder that was written before this was kept in a file is read whole once.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is damaged; the message names it.
        """
        if self._manifest.compared_sha256 is not None:
            return read_compared(self.folder, self._manifest)
        compared = np.zeros(self.num_responses, bool)
        blocks = [(p, block) for p, count in enumerate(self._blocks) for block in range(count)]
        for p, block in tqdm(blocks, desc="responses that were compared", delay=3.0):
            compared |= find_compared(self._read(p, block), self.num_responses)
        return compared

    def mass(self) -> Float[np.ndarray, "partition row"]:
        """Sums the sample weights of every user's comparisons.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is damaged; the message names it.
        """
        return read_mass(self.folder, self._files)

    def batches(
        self, seed: int, epoch: int, t: int, num_slots: int, num_steps: int, mesh: Mesh
    ) -> Iterator[StackedBatches]:
        """Yields the batches of an epoch, ``num_steps`` at a time, read ahead by a thread.

        Args:
            seed: Seed of the order.
            epoch: Number of the pass over the data.
            t: First step.
            num_slots: Comparisons of a partition in a batch.
            num_steps: Steps of a program, whose batches are stacked.
            mesh: The devices.
        """
        num_partitions = padded_size(self.layout.num_partitions, mesh)

        def read(first: int) -> dict[int, Batch]:
            begin, length = first * num_slots, num_steps * num_slots
            return {
                p: self.rows(p, seed, epoch, np.arange(begin, begin + length))
                for p in own_rows(num_partitions, mesh)
            }

        def to_devices(parts: dict[int, Batch]) -> StackedBatches:
            def column(field: int):
                def rows_of(start: int, stop: int) -> np.ndarray:
                    return np.stack(
                        [parts[p][field].reshape(num_steps, num_slots) for p in range(start, stop)]
                    )

                return place_rows(rows_of, (num_partitions, num_steps, num_slots), mesh)

            return StackedBatches(Batch(*(column(field) for field in range(len(Batch._fields)))))

        with ThreadPoolExecutor(1, thread_name_prefix="shards") as reader:
            ahead = reader.submit(read, t)
            for first in range(t, self.num_steps(num_slots), num_steps):
                parts = ahead.result()
                if first + num_steps < self.num_steps(num_slots):
                    ahead = reader.submit(read, first + num_steps)
                yield to_devices(parts)

    def rows(
        self, partition: int, seed: int, epoch: int, place: Int[np.ndarray, " place"]
    ) -> Batch:
        """Reads the comparisons at these places of a partition's epoch; padding behind its end.

        Args:
            partition: Number of the partition.
            seed: Seed of the order.
            epoch: Number of the pass over the data.
            place: Ascending places in the order of the epoch.
        """
        padded = Batch(*(np.full(len(place), pad) for pad in PADDING))
        if partition >= len(self._files):
            return padded
        window_rows = WINDOW_BLOCKS * self._block_rows
        inside = place < self._blocks[partition] * self._block_rows
        for window in np.unique(place[inside] // window_rows).tolist():
            mine = inside & (place // window_rows == window)
            rows = self._window(partition, seed, epoch, window)
            at = place[mine] - window * window_rows
            for column, values in zip(padded, rows, strict=True):
                column[mine] = values[at]
        return padded

    def describe(self, seed: int, epoch: int, t: int, num_slots: int) -> str:
        """Names the comparisons in the batch of a step by their places in the files."""
        return (
            f"places {t * num_slots} to {(t + 1) * num_slots - 1} of every file of {self.folder} "
            f"in the order of seed {seed}"
        )

    def _window(self, partition: int, seed: int, epoch: int, window: int) -> Batch:
        """The rows of one window in the order of the epoch; the last one read is kept."""
        name = (seed, epoch, window)
        if partition in self._windows and self._windows[partition][0] == name:
            return self._windows[partition][1]
        num_blocks = self._blocks[partition]
        start = window * WINDOW_BLOCKS
        places = np.arange(start, min(start + WINDOW_BLOCKS, num_blocks))
        blocks = permute_on_host(make_permutation(num_blocks, seed, partition, epoch), places)
        parts = [self._read(partition, int(block)) for block in blocks]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        stream = WINDOW_STREAM + partition
        order = make_permutation(len(columns[0]), seed, stream, epoch * 2**20 + window)
        shuffled = permute_on_host(order, np.arange(len(columns[0])))
        rows = Batch(*(column[shuffled] for column in columns))
        self._windows[partition] = name, rows
        return rows

    def _read(self, partition: int, block: int) -> Batch:
        """One block, checked, filled up to ``block_rows``."""
        path = self.folder / self._files[partition].name
        if partition not in self._readers:
            self._readers[partition] = open_blocks(path, self._files[partition], self._verify)
        with naming(path):
            table = self._readers[partition](block)
            columns = Comparisons(*(table[name].to_numpy() for name in SCHEMA.names))
            rows = validate_comparisons(columns, self.layout.num_users, self.num_responses)
            home, row = self.layout.locate(np.asarray(rows.user))
            if (home != partition).any():
                stray = rows.user[home != partition][:5].tolist()
                raise ValueError(f"block {block} has users of other partitions, such as {stray}.")
        more = self._block_rows - len(row)
        batch = Batch(row, *rows[1:])
        if not more:
            return batch
        return Batch(
            *(
                np.concatenate([column, np.full(more, pad)])
                for column, pad in zip(batch, PADDING, strict=True)
            )
        )
