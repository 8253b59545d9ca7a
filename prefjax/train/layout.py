"""Where a user's row lies: users → (partition, row), the same on any number of devices.

    v = π_s(u − start_s),    partition = v mod P,    row = base_s + ⌊v / P⌋

with π_s the permutation of `prefjax.train.permutation` for segment s. A table of users is an array
``[partition, row, factor]``; devices get whole partitions, so the number of partitions P, not the
number of devices, fixes what is trained. P is chosen once, stored, and never changed; partitions
differ by at most one user a segment. Users who join later are a new segment, and nobody moves.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int, Int32

from prefjax.train.permutation import make_permutation, permute_on_host

STREAM = 2**32
"""Streams from here on permute users, those below the rows of a partition."""


@dataclass(frozen=True)
class UserLayout:
    """Gives every user a partition and a row in it.

    Attributes:
        segments: Number of users of the first fit, then of each growth.
        num_partitions: P, the number of partitions.
        seed: Seed of the permutations.
    """

    segments: tuple[int, ...]
    num_partitions: int = 16
    seed: int = 0

    def __post_init__(self):
        if self.num_partitions < 1 or not self.segments or min(self.segments) < 1:
            raise ValueError(
                f"A layout needs users and partitions, got segments {self.segments} and "
                f"{self.num_partitions} partitions."
            )

    @property
    def num_users(self) -> int:
        """U, the number of users."""
        return sum(self.segments)

    @property
    def num_rows(self) -> int:
        """Number of rows of a partition, including those that no user has."""
        return sum(self._rows(size) for size in self.segments)

    def grow(self, num_users: int) -> "UserLayout":
        """The layout with users up to ``num_users``; everybody keeps their place.

        Raises:
            ValueError: There are already as many.
        """
        more = num_users - self.num_users
        if more < 1:
            raise ValueError(
                f"The table has {self.num_users} users already, it cannot grow to {num_users}."
            )
        return replace(self, segments=(*self.segments, more))

    def locate(
        self, user: Int[np.ndarray, " place"]
    ) -> tuple[Int32[np.ndarray, " place"], Int32[np.ndarray, " place"]]:
        """Partition and row of users, who must exist.

        >>> partition, row = UserLayout((5,), num_partitions=2).locate(np.arange(5))
        >>> sorted(zip(partition.tolist(), row.tolist()))
        [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
        """
        partition = np.empty(len(user), np.int32)
        row = np.empty(len(user), np.int32)
        start = base = 0
        for segment, size in enumerate(self.segments):
            inside = (
                slice(None) if len(self.segments) == 1 else (user >= start) & (user < start + size)
            )
            order = make_permutation(size, self.seed, STREAM + segment, 0)
            place = permute_on_host(order, user[inside] - start)
            partition[inside] = place % self.num_partitions
            row[inside] = base + place // self.num_partitions
            start, base = start + size, base + self._rows(size)
        return partition, row

    def _rows(self, size: int) -> int:
        return -(-size // self.num_partitions)
