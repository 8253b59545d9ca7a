"""Rows of tokens to padded batches of few shapes.

A length is rounded up to a multiple of the bucket, and each bucket has one batch size, about
``batch_tokens / length``; the last batch is filled with empty rows. The shape in which a text is
read, and with it its embedding to the last bit, then depends on its own length alone, and little is
computed for padding.

On several devices each one has such a batch to itself, and the batches stand one below the other:
the shape on a device, and with it the embedding, does not depend on how many there are.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int


class Batch(NamedTuple):
    """Tokens of some texts.

    Attributes:
        members: Indices of the texts.
        places: Row of each of them, the first ones if there is one device; other rows are empty.
        tokens: Token ids, padded with 0 on the right.
        mask: True at real tokens.
    """

    members: list[int]
    places: list[int]
    tokens: Int[np.ndarray, "batch token"]
    mask: Bool[np.ndarray, "batch token"]


def bucketed(
    rows: Mapping[int, Sequence[int]],
    *,
    bucket: int,
    batch_tokens: int,
    num_devices: int = 1,
    device_of: Mapping[int, int] | None = None,
) -> Iterator[Batch]:
    """Batches of rows of like length, short ones first.

    Args:
        rows: Token ids by index of the text; none may be empty.
        bucket: Lengths are rounded up to a multiple of this.
        batch_tokens: Tokens of a batch on one device, padding included.
        num_devices: How many devices read at once; device d has the d-th part of the rows.
        device_of: Which device reads a text; dealt out in turn by default.

    >>> shapes = [b.tokens.shape for b in bucketed({0: [5], 7: [5] * 9}, bucket=8, batch_tokens=32)]
    >>> shapes
    [(4, 8), (2, 16)]
    """
    buckets: dict[int, list[int]] = {}
    for index, row in rows.items():
        buckets.setdefault(-(-len(row) // bucket) * bucket, []).append(index)
    for size, members in sorted(buckets.items()):
        num_rows = max(1, batch_tokens // size)
        queues: list[list[int]] = [[] for _ in range(num_devices)]
        for turn, index in enumerate(members):
            queues[turn % num_devices if device_of is None else device_of[index]].append(index)
        for start in range(0, max(map(len, queues)), num_rows):
            some = {
                device * num_rows + place: index
                for device, queue in enumerate(queues)
                for place, index in enumerate(queue[start : start + num_rows])
            }
            tokens = np.zeros((num_devices * num_rows, size), np.int32)
            mask = np.zeros((num_devices * num_rows, size), bool)
            for place, index in some.items():
                tokens[place, : len(rows[index])] = rows[index]
                mask[place, : len(rows[index])] = True
            yield Batch([*some.values()], [*some], tokens, mask)
