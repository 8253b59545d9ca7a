"""Batches: from every partition the same number of comparisons, at one position of the epoch.

Step t of an epoch takes, from every partition p, the comparisons at places t b … t b + b − 1 of
that partition's order. Which comparisons meet in a batch is therefore fixed by P, the seed and
(epoch, t), never by the number of devices, and a device that owns partition p owns all users of its
comparisons. Partitions that end before others, and the last batch, are filled with comparisons of
weight 0.

A program of several steps reads all comparisons and forms its batches from them (`PackedRows`), or
it reads these batches themselves (`StackedBatches`). Packed rows keep the five numbers of a
comparison side by side: in random order each would otherwise be fetched from memory on its own.
Where one among several was chosen, a choice stands for a comparison, with what was shown and the
probability that each was chosen: 2 + 2 k numbers for k shown.
"""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Int32

from prefjax.train.permutation import Permutation, permute
from prefjax.types import BASELINE, Array


class Batch(NamedTuple):
    """Comparisons by partition.

    Attributes:
        row: Row of the user in the partition's part of the user table.
        first: Response that was shown first.
        second: Response that was shown second, or ``BASELINE``.
        label: Probability that the first is preferred.
        sample_weight: Weight of the comparison; 0 counts as absent.
    """

    row: Int[Array, "*lead slot"]
    first: Int[Array, "*lead slot"]
    second: Int[Array, "*lead slot"]
    label: Float[Array, "*lead slot"]
    sample_weight: Float[Array, "*lead slot"]


class ChoiceBatch(NamedTuple):
    """Choices of one among several by partition, in the place of comparisons.

    Attributes:
        row: Row of the user in the partition's part of the user table.
        shown: Responses, ``BASELINE`` or, behind them, ``ABSENT`` where nothing is shown.
        label: Probability that each was chosen.
        sample_weight: Weight of the choice; 0 counts as absent.
    """

    row: Int[Array, "*lead slot"]
    shown: Int[Array, "*lead slot shown"]
    label: Float[Array, "*lead slot shown"]
    sample_weight: Float[Array, "*lead slot"]


AnyBatch: TypeAlias = Batch | ChoiceBatch
ABSENT = BASELINE - 1
"""Stands where a choice shows nothing."""
PADDING = Batch(
    row=np.asarray(0, np.int32),
    first=np.asarray(0, np.int32),
    second=np.asarray(BASELINE, np.int32),
    label=np.asarray(0.5, np.float32),
    sample_weight=np.asarray(0, np.float32),
)
"""A comparison that counts as absent."""


def padding_of(rows: AnyBatch) -> AnyBatch:
    """One row of the same kind and size that counts as absent.

    Args:
        rows: Some.
    """
    if isinstance(rows, Batch):
        return PADDING
    size = rows.shown.shape[-1]
    shown, label = np.full(size, BASELINE, np.int32), np.zeros(size, np.float32)
    label[0] = 1
    return ChoiceBatch(PADDING.row, shown, label, PADDING.sample_weight)


def pack(batch: AnyBatch) -> Int32[np.ndarray, "*lead word"]:
    """Packs every row into words, five for a comparison, floats as the bits they are; on the host.

    Args:
        batch: Comparisons or choices.
    """
    lead = np.ndim(batch.row)
    words = [np.asarray(column).view(np.int32) for column in batch]
    return np.concatenate([w[..., None] if w.ndim == lead else w for w in words], axis=-1)


def unpack(words: Int32[Array, "*lead word"]) -> AnyBatch:
    """Undoes `pack`, an odd number of words being a comparison; inside ``jit``."""
    if words.shape[-1] % 2 == 0:
        half = words.shape[-1] // 2
        label, weight = (
            jax.lax.bitcast_convert_type(part, jnp.float32)
            for part in (words[..., half:-1], words[..., -1])
        )
        return ChoiceBatch(words[..., 0], words[..., 1:half], label, weight)
    columns = (words[..., number] for number in range(len(Batch._fields)))
    return Batch(
        *(
            jax.lax.bitcast_convert_type(column, pad.dtype)
            for column, pad in zip(columns, PADDING, strict=True)
        )
    )


class PackedRows(NamedTuple):
    """All comparisons of each partition, padded to one length, and how many there are.

    Attributes:
        words: Comparisons as `pack` gives them.
        count: Number of comparisons of each partition.
        order: Order in which they are taken; None takes them as they lie.
    """

    words: Int32[Array, "partition comparison word"]
    count: Int[Array, " partition"]
    order: Permutation | None


class StackedBatches(NamedTuple):
    """Batches of consecutive steps, ``[partition, step, slot]``."""

    table: Batch


Batches: TypeAlias = PackedRows | StackedBatches


def get_batch(batches: Batches, index: Array, t: Array, num_slots: int) -> AnyBatch:
    """Gives the batch of one step; inside ``jit``.

    Args:
        batches: What the program reads.
        index: Number of the step in this program, which picks one of stacked batches.
        t: Number of the step in the epoch, which is the position in packed rows.
        num_slots: b, the comparisons of a partition in a batch.
    """
    if isinstance(batches, StackedBatches):
        return Batch(*(column[:, index] for column in batches.table))

    def of_partition(words, count, order):
        place = t * num_slots + jnp.arange(num_slots)
        present = (place >= 0) & (place < count)
        place = jnp.where(present, place, 0)
        if order is not None:
            place = permute(order, place.astype(jnp.uint32)).astype(jnp.int32)
        rows = unpack(words[place])

        def fill(column, pad):
            if column.ndim == 1:
                return jnp.where(present, column, pad)
            return jnp.where(present[:, None], column, jnp.asarray(pad)[None])

        return jax.tree.map(fill, rows, padding_of(rows))

    return jax.vmap(of_partition)(batches.words, batches.count, batches.order)
