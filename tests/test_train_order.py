"""The order of an epoch is a permutation; users have places that never change."""

import jax
import numpy as np
import pytest
from scipy import stats

from prefjax.train.layout import UserLayout
from prefjax.train.permutation import LARGEST, make_permutation, permute, permute_on_host


def by_hand(order, x):
    """The module's equations in whole numbers, one place at a time."""
    rows, columns = (int(side) for side in order.sides)
    while True:
        left, right = divmod(x, columns)
        for i, key in enumerate(order.keys.tolist()):
            word = ((right if i % 2 == 0 else left) ^ key) * 0x9E3779B1 % 2**32
            word = (word ^ word >> 15) * 0x85EBCA77 % 2**32
            word = (word ^ word >> 13) * 0xC2B2AE3D % 2**32
            word ^= word >> 16
            if i % 2 == 0:
                left = (left + ((word >> 16) * rows >> 16)) % rows
            else:
                right = (right + ((word >> 16) * columns >> 16)) % columns
        x = left * columns + right
        if x < order.size:
            return x


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 100, 4096, 10_007])
def test_every_place_is_taken_once(size):
    order = make_permutation(size, seed=3, stream=1, epoch=2)
    everything = permute_on_host(order, np.arange(size))
    assert sorted(everything.tolist()) == list(range(size))
    some = np.random.default_rng(0).integers(0, size, 20)
    assert everything[some].tolist() == [by_hand(order, int(x)) for x in some]


def test_the_device_finds_what_the_host_finds_up_to_the_largest_size():
    places = np.array([0, 1, 4242, LARGEST // 2, LARGEST - 1], np.uint32)
    order = make_permutation(LARGEST, seed=0, stream=0, epoch=0)
    expected = [by_hand(order, int(x)) for x in places]
    assert permute_on_host(order, places).tolist() == expected
    assert np.asarray(jax.jit(permute)(order, places)).tolist() == expected
    small = make_permutation(10, seed=0, stream=0, epoch=0)
    batch = np.arange(10, dtype=np.uint32)[[0, 9, 3, 4, 5]]
    ours = np.asarray(jax.jit(permute)(small, batch))
    assert ours.tolist() == permute_on_host(small, batch).tolist()


def test_the_order_looks_drawn_at_random():
    size, num_orders = 12, 6000
    first = np.array(
        [permute_on_host(make_permutation(size, 0, 0, e), np.arange(3)) for e in range(num_orders)]
    )
    for place in range(3):
        assert stats.chisquare(np.bincount(first[:, place], minlength=size)).pvalue > 1e-3
    pairs = np.bincount(first[:, 0] * size + first[:, 1], minlength=size**2).reshape(size, size)
    assert not pairs.diagonal().any()
    assert stats.chisquare(pairs[~np.eye(size, dtype=bool)]).pvalue > 1e-3
    long = permute_on_host(make_permutation(100_000, 0, 0, 0), np.arange(100_000)).astype(float)
    for other in (np.arange(100_000.0), np.roll(long, 1)):
        assert abs(np.corrcoef(long, other)[0, 1]) < 0.015


def test_epochs_streams_and_seeds_differ_and_repeat():
    names = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    orders = [permute_on_host(make_permutation(1000, *name), np.arange(1000)) for name in names]
    for i, order in enumerate(orders):
        again = permute_on_host(make_permutation(1000, *names[i]), np.arange(1000))
        np.testing.assert_array_equal(order, again)
        assert all((order == other).mean() < 0.01 for other in orders[i + 1 :])
    with pytest.raises(ValueError, match="places"):
        make_permutation(2**32, 0, 0, 0)
    with pytest.raises(ValueError, match="negative"):
        make_permutation(5, -1, 0, 0)


def test_users_have_a_row_each_and_keep_it_when_others_join():
    layout = UserLayout((101,), num_partitions=7, seed=5)
    partition, row = layout.locate(np.arange(101))
    assert len({*zip(partition.tolist(), row.tolist(), strict=True)}) == 101
    assert np.ptp(np.bincount(partition)) <= 1
    assert row.max() < layout.num_rows
    grown = layout.grow(140)
    new_partition, new_row = grown.locate(np.arange(140))
    np.testing.assert_array_equal(new_partition[:101], partition)
    np.testing.assert_array_equal(new_row[:101], row)
    assert len({*zip(new_partition.tolist(), new_row.tolist(), strict=True)}) == 140
    assert new_row.max() < grown.num_rows
    assert grown.num_users == 140
    with pytest.raises(ValueError, match="101 users already"):
        layout.grow(101)
    with pytest.raises(ValueError, match="needs users"):
        UserLayout(())
