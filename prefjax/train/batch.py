"""Batches: from every partition the same number of judgments, at one position of the epoch.

Step t of an epoch takes, from every partition p, the judgments at places t b … t b + b − 1 of that
partition's order. Which judgments meet in a batch is therefore fixed by P, the seed and (epoch, t),
never by the number of devices, and a device that owns partition p owns all users of its judgments.
Partitions that end before others, and the last batch, are filled with judgments of weight 0.

A feed holds what a program of several steps reads: all judgments, from which it takes its batches
(`Table`), or these batches themselves (`Stacked`). A table keeps the five numbers of a judgment
side by side: in random order each would otherwise be fetched from memory on its own.
"""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Int32

from prefjax.train.order import Order, permute
from prefjax.types import BASELINE, Array


class Batch(NamedTuple):
    """Judgments by partition; ``row`` is the user's row in the partition."""

    row: Int[Array, "*lead slot"]
    first: Int[Array, "*lead slot"]
    second: Int[Array, "*lead slot"]
    label: Float[Array, "*lead slot"]
    sample_weight: Float[Array, "*lead slot"]


PADDING = Batch(
    row=np.asarray(0, np.int32),
    first=np.asarray(0, np.int32),
    second=np.asarray(BASELINE, np.int32),
    label=np.asarray(0.5, np.float32),
    sample_weight=np.asarray(0, np.float32),
)
"""A judgment that counts as absent."""


def pack(batch: Batch) -> Int32[np.ndarray, "*lead word"]:
    """The words of every judgment; floats as the bits they are. On the host."""
    return np.stack([np.asarray(column).view(np.int32) for column in batch], axis=-1)


def unpack(words: Int32[Array, "*lead word"]) -> Batch:
    """Undoes `pack`; inside ``jit``."""
    columns = (words[..., number] for number in range(len(Batch._fields)))
    return Batch(
        *(
            jax.lax.bitcast_convert_type(column, pad.dtype)
            for column, pad in zip(columns, PADDING, strict=True)
        )
    )


class Table(NamedTuple):
    """All judgments of each partition, padded to one length, and how many there are.

    ``words`` are those of `pack`; ``order`` None takes the judgments as they lie.
    """

    words: Int32[Array, "partition judgment word"]
    count: Int[Array, " partition"]
    order: Order | None


class Stacked(NamedTuple):
    """Batches of consecutive steps, ``[partition, step, slot]``."""

    table: Batch


Feed: TypeAlias = Table | Stacked


def take(feed: Feed, index: Array, t: Array, num_slots: int) -> Batch:
    """The batch of one step.

    Args:
        feed: Where it comes from.
        index: Number of the step in this program; which of the stacked batches.
        t: Number of the step in the epoch; the position in the table.
        num_slots: b, judgments of a partition in a batch.
    """
    if isinstance(feed, Stacked):
        return Batch(*(column[:, index] for column in feed.table))

    def of_partition(words, count, order):
        place = t * num_slots + jnp.arange(num_slots)
        present = (place >= 0) & (place < count)
        place = jnp.where(present, place, 0)
        if order is not None:
            place = permute(order, place.astype(jnp.uint32)).astype(jnp.int32)
        return Batch(
            *(
                jnp.where(present, column, pad)
                for column, pad in zip(unpack(words[place]), PADDING, strict=True)
            )
        )

    return jax.vmap(of_partition)(feed.words, feed.count, feed.order)
