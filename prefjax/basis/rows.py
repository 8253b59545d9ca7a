"""Comparisons laid out for sums by user and by response at once.

Rows are sorted by user and cut into chunks of one user each, ``[chunk, slot]``, so that every
per-user sum is a dense sum over slots followed by a short ``segment_sum`` over chunks. A second
table lists, for chunks of one response each, the rows in which that response stands, with its sign
(+1 as ``first``, −1 as ``second``). Scatter-adds over all rows, slow on every backend, never occur.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax.types import Array, Comparisons


class Rows(NamedTuple):
    """Comparisons in chunks by user, with the transposed table of responses.

    Padding has ``weight`` 0 and points at the zero baseline, row ``num_responses`` of a table that
    `gap` extends by one row of zeros.

    Attributes:
        first: First response of each slot.
        second: Second response, ``num_responses`` for the baseline.
        label: Probability that the first is preferred.
        sample_weight: Weight of the row, 0 for padding.
        user: The user of each chunk.
        entry: Flat slot of each place in which a response stands.
        sign: +1 where it stands as first, −1 as second, 0 for padding.
        response: The response of each chunk of entries.
        order: Row of the `Comparisons` in each slot, −1 for padding.
    """

    first: Int[Array, "chunk slot"]
    second: Int[Array, "chunk slot"]
    label: Float[Array, "chunk slot"]
    sample_weight: Float[Array, "chunk slot"]
    user: Int[Array, " chunk"]
    entry: Int[Array, "entry_chunk entry_slot"]
    sign: Float[Array, "entry_chunk entry_slot"]
    response: Int[Array, " entry_chunk"]
    order: Int[Array, "chunk slot"]


def chunk(
    segment: Int[np.ndarray, " row"], num_slots: int
) -> tuple[Int[np.ndarray, "chunk slot"], Int[np.ndarray, " chunk"]]:
    """Cuts the rows of every segment into chunks of ``num_slots``.

    Returns:
        The row index in each slot, −1 for padding, and the segment of each chunk.
    """
    order = np.argsort(segment, kind="stable")
    count = np.bincount(segment)
    chunks_of = -(-count // num_slots)
    start_chunk = np.cumsum(chunks_of) - chunks_of
    start_row = np.cumsum(count) - count
    ordered = segment[order]
    place = np.arange(len(segment)) - start_row[ordered]
    index = np.full((max(int(chunks_of.sum()), 1), num_slots), -1, np.int32)
    index[start_chunk[ordered] + place // num_slots, place % num_slots] = order
    of_chunk = np.repeat(np.arange(len(count)), chunks_of).astype(np.int32)
    return index, of_chunk if len(of_chunk) else np.zeros(1, np.int32)


def slots_for(segment: Int[np.ndarray, " row"]) -> int:
    """Width of a chunk that wastes little on ragged segments: half the mean, in [4, 64]."""
    mean = len(segment) / max(len(np.unique(segment)), 1)
    return int(np.clip(2 ** np.round(np.log2(max(mean / 2, 1))), 4, 64))


def make_rows(
    comparisons: Comparisons, num_responses: int, *, num_slots: tuple[int, int] | None = None
) -> Rows:
    """Lays validated comparisons out; a host function, NumPy in and NumPy out.

    Args:
        comparisons: Rows whose ids have been checked (`prefjax.data.validate_comparisons`).
        num_responses: Number of responses, the id that the zero baseline takes.
        num_slots: Widths of the chunks of users and of responses; by default little is wasted.
    """
    user, first, second, label, weight = (np.asarray(column) for column in comparisons)
    index, chunk_user = chunk(user, num_slots[0] if num_slots else slots_for(user))

    def lay(column, fill, dtype):
        return np.append(column, fill)[index].astype(dtype)  # −1 takes the fill

    label = np.where(weight > 0, label, 0.5)
    second = np.where(second < 0, num_responses, second)
    first_slots = lay(first, num_responses, np.int32)
    second_slots = lay(second, num_responses, np.int32)

    standing = np.concatenate([first_slots.ravel(), second_slots.ravel()])
    slot = np.tile(np.arange(first_slots.size), 2)
    sign = np.repeat([1.0, -1.0], first_slots.size)
    real = standing < num_responses
    standing, slot, sign = standing[real], slot[real], sign[real]
    entry_index, response = chunk(standing, num_slots[1] if num_slots else slots_for(standing))
    return Rows(
        first=first_slots,
        second=second_slots,
        label=lay(label, 0.5, np.float32),
        sample_weight=lay(weight, 0.0, np.float32),
        user=chunk_user,
        entry=np.append(slot, 0)[entry_index].astype(np.int32),
        sign=np.append(sign, 0.0)[entry_index].astype(np.float32),
        response=response,
        order=index,
    )


def stack_rows(sets: Sequence[Comparisons], num_responses: int) -> Rows:
    """Rows of several data sets along a leading axis, to ``vmap`` or ``lax.map`` one fit over them.

    Chunks without rows fill the shorter sets; they change no sum.

    Args:
        sets: Validated comparisons, each with the same users and responses.
        num_responses: Number of responses.
    """
    natural = [make_rows(comparisons, num_responses) for comparisons in sets]
    width = max(rows.label.shape[1] for rows in natural), max(r.sign.shape[1] for r in natural)
    laid = [make_rows(comparisons, num_responses, num_slots=width) for comparisons in sets]
    fill = num_responses, num_responses, 0.5, 0.0, None, 0, 0.0, None, -1

    def stack(value, *columns):
        longest = max(len(column) for column in columns)

        def pad(column):
            # The ids of chunks must stay sorted, so the last one is repeated.
            constant = column[-1] if value is None else value
            missing = [(0, longest - len(column))] + [(0, 0)] * (column.ndim - 1)
            return np.pad(column, missing, constant_values=constant)

        return np.stack([pad(column) for column in columns])

    return Rows(*(stack(value, *columns) for value, *columns in zip(fill, *laid, strict=True)))


def gap(table: Float[Array, "response feature"], rows: Rows) -> Float[Array, "chunk slot feature"]:
    """First minus second row of the table in every slot; the baseline is zero."""
    zero = jnp.zeros((1, table.shape[1]), table.dtype)
    extended = jnp.concatenate([table, zero])
    return extended[rows.first] - extended[rows.second]


def sum_by_user(
    values: Float[Array, "chunk *rest"], rows: Rows, num_users: int
) -> Float[Array, "user *rest"]:
    """Sum over the chunks of every user; the caller sums over slots."""
    return jax.ops.segment_sum(jnp.asarray(values), rows.user, num_users, indices_are_sorted=True)


def user_shares(rows: Rows, num_users: int) -> Float[Array, " user"]:
    """One over the number of users with rows, and 0 for users without: weights of a mean."""
    present = sum_by_user(rows.sample_weight.sum(1), rows, num_users) > 0
    return present / jnp.maximum(jnp.sum(present), 1)


def sum_by_response(
    values: Float[Array, "chunk slot feature"], rows: Rows, num_responses: int, signed: bool = True
) -> Float[Array, "response feature"]:
    """Transpose of `gap`: Σ sign·value over the slots in which each response stands.

    Args:
        values: One vector per slot.
        rows: The layout.
        num_responses: Number of responses.
        signed: False adds where `gap` would subtract, for sums of curvature.
    """
    flat = jnp.asarray(values).reshape(-1, values.shape[-1])
    sign = rows.sign if signed else jnp.abs(rows.sign)
    gathered = jnp.einsum("esf,es->ef", flat[rows.entry], sign)
    return jax.ops.segment_sum(gathered, rows.response, num_responses, indices_are_sorted=True)
