"""Rows of tokens to padded batches of few shapes.

A length is rounded up to a multiple of the bucket, and each bucket has one batch size, about
``batch_tokens / length``; the last batch is filled with empty rows. The shape in which a text is
read, and with it its embedding to the last bit, then depends on its own length alone, and little is
computed for padding.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int


class Batch(NamedTuple):
    """Tokens of some texts.

    Attributes:
        members: Index of the text in each row; rows beyond these are empty.
        tokens: Token ids, padded with 0 on the right.
        mask: True at real tokens.
    """

    members: list[int]
    tokens: Int[np.ndarray, "batch token"]
    mask: Bool[np.ndarray, "batch token"]


def bucketed(
    rows: Mapping[int, Sequence[int]], *, bucket: int, batch_tokens: int
) -> Iterator[Batch]:
    """Batches of rows of like length, short ones first.

    Args:
        rows: Token ids by index of the text; none may be empty.
        bucket: Lengths are rounded up to a multiple of this.
        batch_tokens: Tokens of a batch, padding included.

    >>> shapes = [b.tokens.shape for b in bucketed({0: [5], 7: [5] * 9}, bucket=8, batch_tokens=32)]
    >>> shapes
    [(4, 8), (2, 16)]
    """
    buckets: dict[int, list[int]] = {}
    for index, row in rows.items():
        buckets.setdefault(-(-len(row) // bucket) * bucket, []).append(index)
    for size, members in sorted(buckets.items()):
        num_rows = max(1, batch_tokens // size)
        for start in range(0, len(members), num_rows):
            some = members[start : start + num_rows]
            tokens = np.zeros((num_rows, size), np.int32)
            mask = np.zeros((num_rows, size), bool)
            for place, index in enumerate(some):
                tokens[place, : len(rows[index])] = rows[index]
                mask[place, : len(rows[index])] = True
            yield Batch(some, tokens, mask)
