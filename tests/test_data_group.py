"""Grouping by user equals a loop over users, and back again is the identity."""

import numpy as np
import pytest

from prefjax.data.group import group_by_user, index_users, ungroup
from prefjax.types import BASELINE, Comparisons

NUM_USERS = 6


def rows():
    rng = np.random.default_rng(0)
    user = rng.choice([0, 1, 3, 4], size=25)
    return Comparisons(
        user=user.astype(np.int32),
        first=rng.integers(0, 9, 25).astype(np.int32),
        second=rng.integers(-1, 9, 25).astype(np.int32),
        label=rng.random(25).astype(np.float32),
        sample_weight=rng.random(25).astype(np.float32),
    )


def test_rows_of_each_user_keep_their_order():
    table = rows()
    batch = group_by_user(table, NUM_USERS)
    order, start = index_users(table.user, NUM_USERS)
    for user in range(NUM_USERS):
        own = np.flatnonzero(table.user == user)
        np.testing.assert_array_equal(order[start[user] : start[user + 1]], own)
        np.testing.assert_array_equal(batch.mask[user].sum(), len(own))
        for name in ("first", "second", "label", "sample_weight"):
            padded = getattr(batch, name)[user]
            np.testing.assert_array_equal(padded[: len(own)], getattr(table, name)[own])


def test_padding_is_legal_and_weightless():
    batch = group_by_user(rows(), NUM_USERS, length=30)
    for name, fill in (("first", 0), ("second", BASELINE), ("label", 0.5), ("sample_weight", 0.0)):
        assert (getattr(batch, name)[~batch.mask] == fill).all()
    assert not batch.mask[5].any()


def test_there_and_back_is_a_sort_by_user():
    table = rows()
    back = ungroup(group_by_user(table, NUM_USERS, length=30))
    order = np.argsort(table.user, kind="stable")
    for column, expected in zip(back, table, strict=True):
        np.testing.assert_array_equal(column, expected[order])


def test_a_fixed_length_refuses_or_truncates():
    with pytest.raises(ValueError, match=r"User \d has \d+ rows, more than the length 2"):
        group_by_user(rows(), NUM_USERS, length=2)
    short = group_by_user(rows(), NUM_USERS, length=2, longer="truncate")
    np.testing.assert_array_equal(short.first, group_by_user(rows(), NUM_USERS).first[:, :2])
