"""Judgments in memory, about 20 bytes each: the source for up to some 10⁸ of them.

All judgments go to the devices once, cut by partition, and every step forms its batch there;
nothing is copied while training. Each process makes the table of its own devices.
"""

import hashlib
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from prefjax.data.validate import validate_comparisons
from prefjax.io import digest_json
from prefjax.parallel import padded_size, place, place_rows
from prefjax.train.batch import PADDING, Batch, Table, pack
from prefjax.train.layout import UserLayout
from prefjax.train.order import Order, make_order, permute_on_host
from prefjax.types import Comparisons


class MemorySource:
    """Judgments of known users, sorted by partition.

    Args:
        comparisons: The judgments; columns are checked and never written to.
        num_responses: Number of responses.
        layout: Places of the users.
        shuffle: Whether an epoch is a permutation, or takes them as they lie.
        users: Name of each user, so that nobody else takes their place in a run that grows.

    Raises:
        ValueError: A row is not legal; see `prefjax.data.validate`.
    """

    def __init__(
        self,
        comparisons: Comparisons,
        num_responses: int,
        layout: UserLayout,
        *,
        shuffle: bool = True,
        users: Sequence[str] = (),
    ):
        rows = validate_comparisons(comparisons, layout.num_users, num_responses)
        self.layout, self.shuffle, self.num_responses = layout, shuffle, num_responses
        partition_of, row_of = layout.locate(np.arange(layout.num_users))
        partition = partition_of[rows.user].astype(np.uint16)
        self._users = users
        self._by_partition = np.argsort(partition, kind="stable")
        self.counts = np.bincount(partition, minlength=layout.num_partitions)
        self._starts = np.concatenate([[0], np.cumsum(self.counts)])
        self._columns = Batch(row_of[rows.user], *rows[1:])
        self._place = partition_of, row_of
        weight = np.bincount(rows.user, weights=rows.sample_weight, minlength=layout.num_users)
        self._weight = weight.astype(np.float32)
        self.total_weight = float(weight.sum())
        self.num_judgments = len(rows.user)
        digest = hashlib.sha256(repr((layout.num_users, num_responses)).encode())
        for column in rows:
            digest.update(np.ascontiguousarray(column).data)
        self._placed: tuple[Mesh, Table] | None = None
        self.fingerprint = digest.hexdigest()

    def num_steps(self, num_slots: int) -> int:
        """Steps of an epoch with ``num_slots`` judgments a partition in a batch."""
        return max(1, -(-int(self.counts.max()) // num_slots))

    def user_names(self, num_users: int) -> str:
        """Digest of the names of the first users; empty if there are no names."""
        return digest_json(list(self._users[:num_users])) if self._users else ""

    def mass(self) -> Float[np.ndarray, "partition row"]:
        """Weight of the answers of every user."""
        table = np.zeros((self.layout.num_partitions, self.layout.num_rows), np.float32)
        table[self._place] = self._weight
        return table

    def feeds(
        self, seed: int, epoch: int, t: int, num_slots: int, num_steps: int, mesh: Mesh
    ) -> Iterator[Table]:
        """What each program of the epoch reads, from step t on: always the same table.

        Args:
            seed: Of the order.
            epoch: Which pass.
            t: First step.
            num_slots: Judgments of a partition in a batch.
            num_steps: Steps of a program.
            mesh: The devices.
        """
        if self._placed is None or self._placed[0] != mesh:
            self._placed = mesh, self._place_table(mesh)
        feed = self._placed[1]
        if self.shuffle:
            orders = [self._order(p, seed, epoch) for p in range(feed.count.shape[0])]
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *orders)
            feed = feed._replace(order=place(stacked, "sharded", mesh))
        for _ in range(t, self.num_steps(num_slots), num_steps):
            yield feed

    def describe(self, seed: int, epoch: int, t: int, num_slots: int) -> str:
        """The batch of a step in words: which of the caller's rows it holds."""
        rows = []
        for p, count in enumerate(self.counts):
            places = np.arange(t * num_slots, min((t + 1) * num_slots, int(count)))
            if self.shuffle and len(places):
                places = permute_on_host(self._order(p, seed, epoch), places)
            rows.append(self._by_partition[self._starts[p] + places])
        batch = np.sort(np.concatenate(rows))
        return f"{len(batch)} judgments, rows {batch[:5].tolist()} …"

    def _order(self, partition: int, seed: int, epoch: int) -> Order:
        size = int(self.counts[partition]) if partition < len(self.counts) else 0
        return make_order(size, seed, partition, epoch)

    def _place_table(self, mesh: Mesh) -> Table:
        num_partitions = padded_size(self.layout.num_partitions, mesh)
        length = max(1, int(self.counts.max()))
        padding = pack(PADDING)

        def rows_of(start, stop):
            block = np.broadcast_to(padding, (stop - start, length, len(padding))).copy()
            for p in range(start, min(stop, self.layout.num_partitions)):
                mine = self._by_partition[self._starts[p] : self._starts[p + 1]]
                block[p - start, : len(mine)] = pack(Batch(*(c[mine] for c in self._columns)))
            return block

        words = place_rows(rows_of, (num_partitions, length, len(padding)), mesh)
        counts = np.pad(self.counts, (0, num_partitions - len(self.counts))).astype(np.int32)
        return Table(words, place(counts, "sharded", mesh), None)
