"""Comparisons in memory, about 20 bytes each: the source for up to some 10⁸ of them, or choices.

All comparisons go to the devices once, cut by partition, and every step forms its batch there;
nothing is copied while training. Each process makes the table of its own devices. A comparison that
stands in several rows is one row with the sum of their weights, so that one repeated a million
times costs as much as one with weight 10⁶.
"""

import hashlib
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int, Shaped

from prefjax.data import index_names
from prefjax.data.choices import validate_choices
from prefjax.data.validate import validate_comparisons
from prefjax.io import digest_json
from prefjax.parallel import padded_size, place, place_rows
from prefjax.train.batch import ABSENT, AnyBatch, Batch, ChoiceBatch, PackedRows, pack, padding_of
from prefjax.train.layout import UserLayout
from prefjax.train.permutation import Permutation, make_permutation, permute_on_host
from prefjax.types import BASELINE, Choices, Comparisons


class MemorySource:
    """Comparisons in memory, sorted by partition.

    Args:
        comparisons: The comparisons; columns are checked and never written to. Or choices of one
            among several, 8 + 8 k bytes each where the most that one shows is k; choices that are
            all among two are comparisons.
        num_responses: Number of responses.
        layout: Places of the users ``0 … num_users − 1``. None takes users by any names or
            numbers, however sparse, as `prefjax.data.index_names` does.
        shuffle: Whether an epoch is a permutation, or takes them as they lie.
        users: Name of each user, so that nobody else takes their place in a run that grows.

    Attributes:
        users: Name of each user, where there are names.

    Raises:
        ValueError: A row is not legal, as `prefjax.data.validate_comparisons` says, or
            `prefjax.data.choices.validate_choices`.
        TypeError: The name of a user is neither a whole number nor a text.
    """

    def __init__(
        self,
        comparisons: Comparisons | Choices,
        num_responses: int,
        layout: UserLayout | None = None,
        *,
        shuffle: bool = True,
        users: Sequence[str] = (),
    ):
        self._index_of: dict[str, int] | None = None
        if layout is None:
            users, user = _index(np.asarray(comparisons.user))
            comparisons = comparisons._replace(user=user)
            layout = UserLayout((max(1, len(users)),))
            self._index_of = {name: index for index, name in enumerate(users)}
        rows = _validate(comparisons, layout.num_users, num_responses)
        digest = hashlib.sha256(repr((layout.num_users, num_responses)).encode())
        for column in rows:
            digest.update(np.ascontiguousarray(column).data)
        self.fingerprint = digest.hexdigest()
        rows, self._row = merge_equal(rows)
        self.layout, self.shuffle, self.num_responses = layout, shuffle, num_responses
        partition_of, row_of = layout.locate(np.arange(layout.num_users))
        partition = partition_of[rows[0]].astype(np.uint16)
        self.users = tuple(users)
        self._by_partition = np.argsort(partition, kind="stable")
        self.counts = np.bincount(partition, minlength=layout.num_partitions)
        self._starts = np.concatenate([[0], np.cumsum(self.counts)])
        kind = Batch if isinstance(rows, Comparisons) else ChoiceBatch
        self._columns: AnyBatch = kind(row_of[rows[0]], *rows[1:])
        self._place = partition_of, row_of
        weight = np.bincount(rows[0], weights=rows.sample_weight, minlength=layout.num_users)
        self._weight = weight.astype(np.float32)
        self.total_weight = float(weight.sum())
        self.num_comparisons = len(rows[0])
        self._placed: tuple[Mesh, PackedRows] | None = None

    def num_steps(self, num_slots: int) -> int:
        """Counts the steps of an epoch with ``num_slots`` comparisons a partition in a batch."""
        return max(1, -(-int(self.counts.max()) // num_slots))

    def user_names(self, num_users: int) -> str:
        """Gives the digest of the names of the first users; empty if there are no names."""
        return digest_json(list(self.users[:num_users])) if self.users else ""

    def mass(self) -> Float[np.ndarray, "partition row"]:
        """Sums the sample weights of every user's comparisons."""
        table = np.zeros((self.layout.num_partitions, self.layout.num_rows), np.float32)
        table[self._place] = self._weight
        return table

    def compared(self) -> Bool[np.ndarray, " response"]:
        """Tells which responses stand in a comparison with weight."""
        return find_compared(self._columns, self.num_responses)

    def index_users(self, user: Shaped[np.ndarray, " pair"]) -> Shaped[np.ndarray, " pair"]:
        """Gives the numbers of users by the ids that this source was made from.

        Args:
            user: Id of the user of each comparison.

        Raises:
            ValueError: A user has no comparison here; the message names the row.
        """
        if self._index_of is None:
            return user
        names, index = _index(np.asarray(user))
        place = np.array([self._index_of.get(name, -1) for name in names], np.int32)[index]
        unknown = np.flatnonzero(place < 0)
        if unknown.size:
            raise ValueError(
                f"{unknown.size} comparisons are of users without training comparisons, first row "
                f"{unknown[0]} with user {user[unknown[0]]!r}: leave them out."
            )
        return place

    def batches(
        self, seed: int, epoch: int, t: int, num_slots: int, num_steps: int, mesh: Mesh
    ) -> Iterator[PackedRows]:
        """Yields what each program of an epoch reads, from step t on: always the same table.

        Args:
            seed: Seed of the order.
            epoch: Number of the pass over the data.
            t: First step.
            num_slots: Comparisons of a partition in a batch.
            num_steps: Steps of a program.
            mesh: The devices.
        """
        if self._placed is None or self._placed[0] != mesh:
            self._placed = mesh, self._place_table(mesh)
        batches = self._placed[1]
        if self.shuffle:
            orders = [self._order(p, seed, epoch) for p in range(batches.count.shape[0])]
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *orders)
            batches = batches._replace(order=place(stacked, "sharded", mesh))
        for _ in range(t, self.num_steps(num_slots), num_steps):
            yield batches

    def describe(self, seed: int, epoch: int, t: int, num_slots: int) -> str:
        """Names the comparisons in the batch of a step by the caller's row numbers."""
        rows = []
        for p, count in enumerate(self.counts):
            places = np.arange(t * num_slots, min((t + 1) * num_slots, int(count)))
            if self.shuffle and len(places):
                places = permute_on_host(self._order(p, seed, epoch), places)
            rows.append(self._by_partition[self._starts[p] + places])
        batch = np.sort(self._row[np.concatenate(rows)])
        return f"{len(batch)} comparisons, rows {batch[:5].tolist()} …"

    def _order(self, partition: int, seed: int, epoch: int) -> Permutation:
        size = int(self.counts[partition]) if partition < len(self.counts) else 0
        return make_permutation(size, seed, partition, epoch)

    def _place_table(self, mesh: Mesh) -> PackedRows:
        num_partitions = padded_size(self.layout.num_partitions, mesh)
        length = _rounded_up(int(self.counts.max()))
        padding, kind = pack(padding_of(self._columns)), type(self._columns)

        def rows_of(start, stop):
            block = np.broadcast_to(padding, (stop - start, length, len(padding))).copy()
            for p in range(start, min(stop, self.layout.num_partitions)):
                mine = self._by_partition[self._starts[p] : self._starts[p + 1]]
                block[p - start, : len(mine)] = pack(kind(*(c[mine] for c in self._columns)))
            return block

        words = place_rows(rows_of, (num_partitions, length, len(padding)), mesh)
        counts = np.pad(self.counts, (0, num_partitions - len(self.counts))).astype(np.int32)
        return PackedRows(words, place(counts, "sharded", mesh), None)


def _index(
    user: Shaped[np.ndarray, " pair"],
) -> tuple[tuple[str, ...], Int[np.ndarray, " pair"]]:
    """Names of users and the place of each row's user among them; only distinct ids are named."""
    if user.dtype.kind not in "iuU":
        return index_names(user.tolist())
    ids, place = np.unique(user, return_inverse=True)
    names, index = index_names(ids.tolist())
    return names, index[place]


def _rounded_up(count: int) -> int:
    """A length of at most a sixteenth more, so that data of about one size share a program."""
    step = 1 << max(0, count.bit_length() - 5)
    return max(1, -(-count // step) * step)


def _validate(
    rows: Comparisons | Choices, num_users: int, num_responses: int
) -> Comparisons | ChoiceBatch:
    """Checked rows; choices with what is shown in front, users in the place of their rows."""
    if isinstance(rows, Comparisons):
        return validate_comparisons(rows, num_users, num_responses)
    rows = validate_choices(rows, num_users, num_responses)
    order = np.argsort(~rows.mask, axis=1, kind="stable")[:, : int(rows.mask.sum(axis=1).max())]
    shown, label, mask = (
        np.take_along_axis(x, order, 1) for x in (rows.shown, rows.label, rows.mask)
    )
    if shown.shape[1] > 2:
        return ChoiceBatch(rows.user, np.where(mask, shown, ABSENT), label, rows.sample_weight)
    swap = shown[:, 0] == BASELINE
    first, second = (np.where(swap, shown[:, 1 - k], shown[:, k]) for k in (0, 1))
    said = np.where(swap, label[:, 1], label[:, 0])
    pairs = Comparisons(rows.user, first, second, said, rows.sample_weight)
    return validate_comparisons(pairs, num_users, num_responses)


def find_compared(
    rows: AnyBatch | Comparisons, num_responses: int
) -> Bool[np.ndarray, " response"]:
    """Tells which responses stand in a comparison with weight.

    Args:
        rows: Checked comparisons.
        num_responses: Number of responses.
    """
    compared = np.zeros(num_responses + 1, bool)  # the last place is that of BASELINE, -1
    weighted = rows.sample_weight > 0
    shown = rows.shown.T if isinstance(rows, ChoiceBatch) else (rows.first, rows.second)
    for column in shown:
        compared[np.maximum(column[weighted], BASELINE)] = True
    return compared[:-1]


def merge_equal(
    rows: Comparisons | ChoiceBatch,
) -> tuple[Comparisons | ChoiceBatch, Int[np.ndarray, " pair"]]:
    """Joins rows that differ in nothing but their weight, and gives them an order of their own.

    Neither the order of the rows nor a row that stands twice instead of with weight 2 changes what
    comes out. Unlike those of `prefjax.data.merge` rows are sorted by a hash, one number a row, and
    keep the number by which an error names them.

    Args:
        rows: Checked comparisons or choices.

    Returns:
        One row of each kind with the sum of the weights, and the number of its first row.

    Examples:
        >>> once = np.ones(3, np.float32)
        >>> same = np.zeros(3, np.int32)
        >>> merged, row = merge_equal(Comparisons(np.int32([0, 1, 0]), same, same + 1, once, once))
        >>> sorted(zip(merged.user.tolist(), merged.sample_weight.tolist(), row.tolist()))
        [(0, 2.0, 0), (1, 1.0, 1)]
    """
    key = np.zeros(len(rows[0]), np.uint64)
    columns = [part for column in rows[:-1] for part in np.atleast_2d(np.asarray(column).T)]
    for column in columns:
        key = (key ^ np.ascontiguousarray(column).view(np.uint32)) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(32)
    order = np.argsort(key)
    begins = np.ones(len(order), bool)
    begins[1:] = False
    for column in columns:
        begins[1:] |= column[order][1:] != column[order][:-1]
    start = np.flatnonzero(begins)
    weight = np.add.reduceat(np.asarray(rows.sample_weight)[order].astype(np.float64), start)
    merged = type(rows)(*(np.asarray(column)[order[start]] for column in rows))
    return merged._replace(sample_weight=weight.astype(np.float32)), np.minimum.reduceat(
        order, start
    )
