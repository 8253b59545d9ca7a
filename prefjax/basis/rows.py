"""Comparisons laid out for sums by user, by pair of responses and by response at once.

Rows are sorted by user and cut into chunks of one user each, ``[chunk, slot]``, so that every
per-user sum is a dense sum over slots followed by a short ``segment_sum`` over chunks. What a row
shows is one of the distinct *pairs* of responses: features are formed once for each pair, and sums
over responses go by pairs, which are few where many people answer about the same responses. Both
sums are tables of chunks of one pair or one response, so that scatter-adds over all rows, slow on
every backend, never occur.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax.basis.choice_slots import ChoiceSlots
from prefjax.types import Array, Comparisons


class Pairs(NamedTuple):
    """The distinct pairs of responses, and where they stand.

    The last pair is the zero baseline against itself; padding points at it.

    Attributes:
        first: First response of each pair, ``num_responses`` for padding.
        second: Second response, ``num_responses`` for the zero baseline.
        slot: Flat slots of the rows that show the pair of each chunk.
        in_slot: 1 where a row stands, 0 for padding.
        pair: The pair of each chunk of slots.
        entry: Pairs in which the response of each chunk stands.
        sign: +1 where it stands as first, −1 as second, 0 for padding.
        response: The response of each chunk of entries.
    """

    first: Int[Array, " pair"]
    second: Int[Array, " pair"]
    slot: Int[Array, "pair_chunk pair_slot"]
    in_slot: Float[Array, "pair_chunk pair_slot"]
    pair: Int[Array, " pair_chunk"]
    entry: Int[Array, "entry_chunk entry_slot"]
    sign: Float[Array, "entry_chunk entry_slot"]
    response: Int[Array, " entry_chunk"]


class Rows(NamedTuple):
    """Comparisons in chunks by user; padding has ``sample_weight`` 0.

    Attributes:
        pair: What each slot shows, an index into ``pairs``.
        label: Probability that the first response of the pair is preferred.
        sample_weight: Weight of the row, 0 for padding.
        user: The user of each chunk.
        order: Row of the `Comparisons` in each slot, −1 for padding.
        pairs: The distinct pairs.
        choices: Which slots are parts of choices among three or more; None where there are none.
    """

    pair: Int[Array, "chunk slot"]
    label: Float[Array, "chunk slot"]
    sample_weight: Float[Array, "chunk slot"]
    user: Int[Array, " chunk"]
    order: Int[Array, "chunk slot"]
    pairs: Pairs
    choices: ChoiceSlots | None = None

    @property
    def first(self) -> Int[Array, "chunk slot"]:
        """First response of every slot."""
        return self.pairs.first[self.pair]

    @property
    def second(self) -> Int[Array, "chunk slot"]:
        """Second response of every slot, ``num_responses`` for the zero baseline."""
        return self.pairs.second[self.pair]


def chunk(
    segment: Int[np.ndarray, " row"], num_slots: int
) -> tuple[Int[np.ndarray, "chunk slot"], Int[np.ndarray, " chunk"]]:
    """Cuts the rows of every segment into chunks of ``num_slots``.

    Args:
        segment: Segment of each row, from 0.
        num_slots: Rows of a chunk.

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
    comparisons: Comparisons,
    num_responses: int,
    *,
    num_slots: tuple[int, int, int] | None = None,
) -> Rows:
    """Lays validated comparisons out; a host function, NumPy in and NumPy out.

    Args:
        comparisons: Rows whose ids have been checked (`prefjax.data.validate_comparisons`).
        num_responses: Number of responses, the id that the zero baseline takes.
        num_slots: Widths of the chunks of users, pairs and responses; by default little is wasted.
    """
    user, first, second, label, sample_weight = (np.asarray(column) for column in comparisons)
    widths = (None, None, None) if num_slots is None else num_slots
    index, chunk_user = chunk(user, widths[0] or slots_for(user))
    second = np.where(second < 0, num_responses, second).astype(np.int64)
    code = first.astype(np.int64) * (num_responses + 1) + second
    distinct, pair = np.unique(code, return_inverse=True)
    pairs = _make_pairs(distinct, pair, index, num_responses, widths[1:])

    def by_slot(column, fill, dtype):
        return np.append(column, fill)[index].astype(dtype)  # −1 takes the fill

    return Rows(
        pair=by_slot(pair, len(distinct), np.int32),
        label=by_slot(np.where(sample_weight > 0, label, 0.5), 0.5, np.float32),
        sample_weight=by_slot(sample_weight, 0.0, np.float32),
        user=chunk_user,
        order=index,
        pairs=pairs,
    )


def _make_pairs(distinct, pair, index, num_responses, widths) -> Pairs:
    """The tables of `Pairs` from the pair of every row and the row of every slot."""
    row = index.reshape(-1)
    standing = np.flatnonzero(row >= 0)
    pair_of = pair[row[standing]]
    slot_index, chunk_pair = chunk(pair_of, widths[0] or slots_for(pair_of))
    first = np.append(distinct // (num_responses + 1), num_responses)
    second = np.append(distinct % (num_responses + 1), num_responses)
    response = np.concatenate([first, second])
    place = np.tile(np.arange(len(first)), 2)
    sign = np.repeat([1.0, -1.0], len(first))
    real = response < num_responses
    response, place, sign = response[real], place[real], sign[real]
    entry_index, chunk_response = chunk(response, widths[1] or slots_for(response))
    return Pairs(
        first=first.astype(np.int32),
        second=second.astype(np.int32),
        slot=np.append(standing, 0)[slot_index].astype(np.int32),
        in_slot=(slot_index >= 0).astype(np.float32),
        pair=chunk_pair,
        entry=np.append(place, 0)[entry_index].astype(np.int32),
        sign=np.append(sign, 0.0)[entry_index].astype(np.float32),
        response=chunk_response,
    )


def stack_rows(sets: Sequence[Comparisons], num_responses: int) -> Rows:
    """Rows of several data sets along a leading axis, to ``vmap`` or ``lax.map`` one fit over them.

    Chunks and pairs without rows fill the shorter sets; they change no sum.

    Args:
        sets: Validated comparisons, each with the same users and responses.
        num_responses: Number of responses.
    """
    natural = [make_rows(comparisons, num_responses) for comparisons in sets]
    widths = tuple(
        max(table(rows).shape[1] for rows in natural)
        for table in (lambda r: r.label, lambda r: r.pairs.slot, lambda r: r.pairs.sign)
    )
    laid_out = [make_rows(comparisons, num_responses, num_slots=widths) for comparisons in sets]
    # The ids of chunks must stay sorted, so the last one is repeated.
    last = None
    values: list[Any] = [num_responses, num_responses, 0, 0.0, last, 0, 0.0, last]
    longest_pairs = max(len(rows.pairs.first) for rows in laid_out)
    fills: Any = Rows(*[longest_pairs - 1, 0.5, 0.0, last, -1, Pairs(*values)])

    def stack(fill, *columns):
        if columns[0] is None:
            return None
        longest = max(len(column) for column in columns)

        def pad(column):
            constant = column[-1] if fill is None else fill
            missing = [(0, longest - len(column))] + [(0, 0)] * (column.ndim - 1)
            return np.pad(column, missing, constant_values=constant)

        return np.stack([pad(column) for column in columns])

    return jax.tree.map(stack, fills, *laid_out, is_leaf=lambda leaf: leaf is None)


def extend(
    table: Float[Array, "response feature"],
) -> Float[jax.Array, "response_and_zero feature"]:
    """The table with the zero baseline as its last row."""
    table = jnp.asarray(table)
    return jnp.concatenate([table, jnp.zeros((1, table.shape[1]), table.dtype)])


def pair_gap(
    table: Float[Array, "response feature"], rows: Rows
) -> Float[jax.Array, "pair feature"]:
    """First minus second row of the table for every distinct pair; the baseline is zero."""
    extended = extend(table)
    return extended[rows.pairs.first] - extended[rows.pairs.second]


def feature_gap(
    table: Float[Array, "response feature"], rows: Rows
) -> Float[jax.Array, "chunk slot feature"]:
    """First minus second row of the table in every slot; the baseline is zero."""
    return pair_gap(table, rows)[rows.pair]


def sum_by_user(
    values: Float[Array, "chunk *rest"], rows: Rows, num_users: int
) -> Float[jax.Array, "user *rest"]:
    """Sum over the chunks of every user; the caller sums over slots."""
    return jax.ops.segment_sum(jnp.asarray(values), rows.user, num_users, indices_are_sorted=True)


def user_shares(rows: Rows, num_users: int) -> Float[jax.Array, " user"]:
    """One over the number of users with rows, and 0 for users without: weights of a mean."""
    present = sum_by_user(rows.sample_weight.sum(1), rows, num_users) > 0
    return present / jnp.maximum(jnp.sum(present), 1)


def sum_by_pair(
    values: Float[Array, "chunk slot *feature"], rows: Rows
) -> Float[jax.Array, "pair *feature"]:
    """Sum over the rows that show each distinct pair."""
    values = jnp.asarray(values)
    flat = values.reshape(-1, *values.shape[2:])
    chunks = jnp.einsum("es...,es->e...", flat[rows.pairs.slot], rows.pairs.in_slot)
    return jax.ops.segment_sum(
        chunks, rows.pairs.pair, len(rows.pairs.first), indices_are_sorted=True
    )


def sum_pairs_by_response(
    values: Float[Array, "pair feature"], rows: Rows, num_responses: int, *, signed: bool = True
) -> Float[jax.Array, "response feature"]:
    """Transpose of `pair_gap`: Σ sign·value over the pairs in which each response stands.

    Args:
        values: One vector per distinct pair.
        rows: The layout.
        num_responses: Number of responses.
        signed: False adds where `pair_gap` would subtract, for sums of curvature.
    """
    sign = rows.pairs.sign if signed else jnp.abs(rows.pairs.sign)
    chunks = jnp.einsum("esf,es->ef", jnp.asarray(values)[rows.pairs.entry], sign)
    return jax.ops.segment_sum(chunks, rows.pairs.response, num_responses, indices_are_sorted=True)


def sum_sides_by_response(
    first: Float[Array, "pair feature"],
    second: Float[Array, "pair feature"],
    rows: Rows,
    num_responses: int,
) -> Float[jax.Array, "response feature"]:
    """Sum over each response's pairs of ``first`` where it stands first, else of ``second``."""
    is_first = (rows.pairs.sign > 0)[..., None]
    sides = jnp.where(is_first, first[rows.pairs.entry], second[rows.pairs.entry])
    chunks = jnp.einsum("esf,es->ef", sides, jnp.abs(rows.pairs.sign))
    return jax.ops.segment_sum(chunks, rows.pairs.response, num_responses, indices_are_sorted=True)


def sum_by_response(
    values: Float[Array, "chunk slot feature"],
    rows: Rows,
    num_responses: int,
    *,
    signed: bool = True,
) -> Float[jax.Array, "response feature"]:
    """Transpose of `feature_gap`: Σ sign·value over the slots in which each response stands.

    Args:
        values: One vector per slot.
        rows: The layout.
        num_responses: Number of responses.
        signed: False adds where `feature_gap` would subtract.
    """
    return sum_pairs_by_response(sum_by_pair(values, rows), rows, num_responses, signed=signed)
