"""The chunked layout against dense twins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefjax.basis import make_rows, rows
from prefjax.types import BASELINE, Comparisons

NUM_USERS, NUM_RESPONSES = 7, 9


@pytest.fixture(scope="module")
def comparisons():
    """Ragged: user 0 has many rows, user 3 none, response 8 never stands; some baseline rows."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(NUM_USERS), [40, 3, 17, 0, 1, 8, 9]).astype(np.int32)
    rng.shuffle(user)
    first = rng.integers(0, 8, len(user)).astype(np.int32)
    second = ((first + rng.integers(1, 8, len(user))) % 8).astype(np.int32)
    second[::5] = BASELINE
    label = rng.random(len(user)).astype(np.float32)
    weight = rng.integers(0, 3, len(user)).astype(np.float32)
    return Comparisons(user, first, second, label, weight)


@pytest.fixture(scope="module")
def layout(comparisons):
    return jax.tree.map(jnp.asarray, make_rows(comparisons, NUM_RESPONSES))


def dense_gap(comparisons):
    """Row by response: +1 where it stands first, −1 where second."""
    matrix = np.zeros((len(comparisons.user), NUM_RESPONSES))
    matrix[np.arange(len(matrix)), comparisons.first] = 1
    real = comparisons.second != BASELINE
    matrix[np.flatnonzero(real), comparisons.second[real]] -= 1
    return matrix


def by_row(layout, values):
    """Values of slots in the order of the table; padding left out."""
    order, values = np.asarray(layout.order), np.asarray(values)
    back = np.zeros((order.max() + 1, *values.shape[2:]))
    back[order[order >= 0]] = values[order >= 0]
    return back


def test_every_row_lies_in_one_slot_of_its_user(comparisons, layout):
    order = np.asarray(layout.order)
    present = order >= 0
    np.testing.assert_array_equal(np.sort(order[present]), np.arange(len(comparisons.user)))
    users = np.broadcast_to(np.asarray(layout.user)[:, None], order.shape)
    np.testing.assert_array_equal(comparisons.user[order[present]], users[present])
    np.testing.assert_array_equal(by_row(layout, layout.sample_weight), comparisons.sample_weight)
    assert np.all(np.asarray(layout.sample_weight)[~present] == 0)


def test_gap_and_sums_equal_their_dense_twins(comparisons, layout):
    rng = np.random.default_rng(1)
    table = rng.normal(size=(NUM_RESPONSES, 3)).astype(np.float32)
    matrix = dense_gap(comparisons)
    gap = rows.feature_gap(table, layout)
    np.testing.assert_allclose(by_row(layout, gap), matrix @ table, atol=1e-6)

    values = rng.normal(size=(*layout.first.shape, 3)).astype(np.float32)
    want = matrix.T @ by_row(layout, values)
    got = rows.sum_by_response(values, layout, NUM_RESPONSES)
    np.testing.assert_allclose(got, want, atol=1e-5)
    unsigned = rows.sum_by_response(values, layout, NUM_RESPONSES, signed=False)
    np.testing.assert_allclose(unsigned, np.abs(matrix).T @ by_row(layout, values), atol=1e-5)

    flat = by_row(layout, values)
    want = np.stack([flat[comparisons.user == u].sum(0) for u in range(NUM_USERS)])
    present = (np.asarray(layout.order) >= 0)[..., None]
    got = rows.sum_by_user(np.where(present, values, 0).sum(1), layout, NUM_USERS)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_sum_by_response_is_the_transpose_of_gap(layout):
    rng = np.random.default_rng(2)
    table = rng.normal(size=(NUM_RESPONSES, 2)).astype(np.float32)
    values = rng.normal(size=(*layout.first.shape, 2)).astype(np.float32)
    left = np.sum(np.asarray(rows.feature_gap(table, layout)) * values)
    right = np.sum(np.asarray(rows.sum_by_response(values, layout, NUM_RESPONSES)) * table)
    assert left == pytest.approx(right, rel=1e-5)


def test_pairs_are_the_distinct_ones_and_sums_by_pair_are_dense(comparisons, layout):
    shown = {(a, b if b >= 0 else NUM_RESPONSES) for a, b in zip(*comparisons[1:3], strict=True)}
    pairs = list(zip(np.asarray(layout.pairs.first), np.asarray(layout.pairs.second), strict=True))
    assert set(pairs[:-1]) == shown
    assert len(pairs) - 1 == len(shown)
    values = np.random.default_rng(3).normal(size=(*layout.first.shape, 2)).astype(np.float32)
    pair, flat = by_row(layout, layout.pair).astype(int), by_row(layout, values)
    want = np.stack([flat[pair == p].sum(0) for p in range(len(pairs))])
    np.testing.assert_allclose(rows.sum_by_pair(values, layout), want, atol=1e-5)
    first, second = np.random.default_rng(4).normal(size=(2, len(pairs), 2)).astype(np.float32)
    want = np.zeros((NUM_RESPONSES, 2))
    for place, (a, b) in enumerate(pairs[:-1]):
        want[a] += first[place]
        if b < NUM_RESPONSES:
            want[b] += second[place]
    got = rows.sum_sides_by_response(first, second, layout, NUM_RESPONSES)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_rows_of_no_weight_may_hold_anything(comparisons):
    absent = comparisons.sample_weight == 0
    label = np.where(absent, np.nan, comparisons.label).astype(np.float32)
    layout = make_rows(comparisons._replace(label=label), NUM_RESPONSES)
    assert np.isfinite(layout.label).all()


def test_no_rows_at_all_still_lay_out():
    empty = Comparisons(*(np.zeros(0, np.int32),) * 3, *(np.zeros(0, np.float32),) * 2)
    layout = jax.tree.map(jnp.asarray, make_rows(empty, NUM_RESPONSES))
    assert float(layout.sample_weight.sum()) == 0
    total = rows.sum_by_response(jnp.ones((*layout.first.shape, 1)), layout, NUM_RESPONSES)
    np.testing.assert_array_equal(total, np.zeros((NUM_RESPONSES, 1)))
