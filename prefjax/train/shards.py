"""Judgments on disk, one file for each partition of users: the source for more than memory holds.

    <folder>/shards.json           layout, counts, digests
    <folder>/part-00000.arrow      or .parquet: user, first, second (int32), label, weight (float32)
    <folder>/mass-00000.npy        weight of the answers of every row of the partition

A file is read in blocks of `BLOCK_ROWS` rows. An epoch takes the blocks of a partition in a seeded
permutation, `WINDOW_BLOCKS` of them at a time, and permutes the rows inside this window, so that
any position of it is found by reading one window: the state of the sampler is (epoch, t) here too.
The last block of a file is filled with judgments of weight 0. A thread reads ahead.

Each process reads the files of its own devices.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
from jax.sharding import Mesh
from jaxtyping import Float, Int

from prefjax.data.files import naming
from prefjax.data.validate import validate_comparisons
from prefjax.io import digest_json
from prefjax.parallel import own_rows, padded_size, place_rows
from prefjax.train.batch import PADDING, Batch, Stacked
from prefjax.train.layout import UserLayout
from prefjax.train.order import make_order, permute_on_host
from prefjax.train.shard_files import MANIFEST, SCHEMA, open_blocks, read_manifest, read_mass
from prefjax.types import Comparisons

WINDOW_BLOCKS = 16
WINDOW_STREAM = 2**31
"""Streams from here on permute the rows of a window, those below the blocks of a partition."""


class ShardSource:
    """Judgments of a folder of shards.

    Args:
        folder: As `write_shards` made it.
        verify: Whether to compare the digest of every file that this process reads.

    Raises:
        FileNotFoundError: There is no manifest or a file is missing.
        ValueError: A file is short, damaged or has other columns; the message names it.
    """

    def __init__(self, folder: Path, *, verify: bool = True):
        self.folder = Path(folder)
        about = read_manifest(self.folder / MANIFEST)
        saved = about["layout"]
        self.layout = UserLayout(tuple(saved["segments"]), saved["num_partitions"], saved["seed"])
        self.num_responses: int = about["num_responses"]
        self.total_weight: float = about["total_weight"]
        self.num_judgments = sum(file["rows"] for file in about["files"])
        self.fingerprint = digest_json(about)
        self._block_rows: int = about["block_rows"]
        self._files = about["files"]
        self._blocks = [-(-file["rows"] // self._block_rows) for file in self._files]
        self._readers: dict[int, Callable[[int], pa.Table]] = {}
        self._windows: dict[int, tuple[tuple[int, int, int], Batch]] = {}
        self._verify = verify

    def num_steps(self, num_slots: int) -> int:
        """Steps of an epoch with ``num_slots`` judgments a partition in a batch."""
        return max(1, -(-max(self._blocks) * self._block_rows // num_slots))

    def user_names(self, num_users: int) -> str:
        """Nothing: shards have numbers of users only."""
        return ""

    def mass(self) -> Float[np.ndarray, "partition row"]:
        """Weight of the answers of every user.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is damaged; the message names it.
        """
        return read_mass(self.folder, self._files)

    def feeds(
        self, seed: int, epoch: int, t: int, num_slots: int, num_steps: int, mesh: Mesh
    ) -> Iterator[Stacked]:
        """Batches of the epoch from step t on, ``num_steps`` at a time, read ahead by a thread.

        Args:
            seed: Of the order.
            epoch: Which pass.
            t: First step.
            num_slots: Judgments of a partition in a batch.
            num_steps: Steps of a program.
            mesh: The devices.
        """
        num_partitions = padded_size(self.layout.num_partitions, mesh)

        def read(first: int) -> dict[int, Batch]:
            begin, length = first * num_slots, num_steps * num_slots
            return {
                p: self.rows(p, seed, epoch, np.arange(begin, begin + length))
                for p in own_rows(num_partitions, mesh)
            }

        def to_devices(parts: dict[int, Batch]) -> Stacked:
            def column(field: int):
                def rows_of(start: int, stop: int) -> np.ndarray:
                    return np.stack(
                        [parts[p][field].reshape(num_steps, num_slots) for p in range(start, stop)]
                    )

                return place_rows(rows_of, (num_partitions, num_steps, num_slots), mesh)

            return Stacked(Batch(*(column(field) for field in range(len(Batch._fields)))))

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
        """Judgments at these places of a partition's epoch; padding behind its end.

        Args:
            partition: Which one.
            seed: Of the order.
            epoch: Which pass.
            place: Ascending places.
        """
        blank = Batch(*(np.full(len(place), pad) for pad in PADDING))
        if partition >= len(self._files):
            return blank
        window_rows = WINDOW_BLOCKS * self._block_rows
        inside = place < self._blocks[partition] * self._block_rows
        for window in np.unique(place[inside] // window_rows).tolist():
            mine = inside & (place // window_rows == window)
            held = self._window(partition, seed, epoch, window)
            at = place[mine] - window * window_rows
            for column, values in zip(blank, held, strict=True):
                column[mine] = values[at]
        return blank

    def describe(self, seed: int, epoch: int, t: int, num_slots: int) -> str:
        """The batch of a step in words."""
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
        blocks = permute_on_host(make_order(num_blocks, seed, partition, epoch), places)
        parts = [self._read(partition, int(block)) for block in blocks]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        stream = WINDOW_STREAM + partition
        order = make_order(len(columns[0]), seed, stream, epoch * 2**20 + window)
        shuffled = permute_on_host(order, np.arange(len(columns[0])))
        held = Batch(*(column[shuffled] for column in columns))
        self._windows[partition] = name, held
        return held

    def _read(self, partition: int, block: int) -> Batch:
        """One block, checked, filled up to ``block_rows``."""
        path = self.folder / self._files[partition]["name"]
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
