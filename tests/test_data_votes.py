"""Votes and ratings as comparisons, against a loop over users."""

import itertools

import numpy as np
import pytest

from prefjax.data.votes import ratings_table, ratings_to_comparisons, votes_to_comparisons
from prefjax.types import BASELINE


def test_votes_become_comparisons_with_the_baseline():
    user, item, vote = np.array([0, 0, 1]), np.array([3, 1, 2]), np.array([1, 0, -1], np.int8)
    dropped = votes_to_comparisons(user, item, vote)
    np.testing.assert_array_equal(dropped.first, [3, 2])
    np.testing.assert_array_equal(dropped.label, [1, 0])
    half = votes_to_comparisons(user, item, vote, passes="half")
    np.testing.assert_array_equal(half.label, [1, 0.5, 0])
    np.testing.assert_array_equal(half.second, [BASELINE] * 3)
    with pytest.raises(ValueError, match="first in row 1: 2"):
        votes_to_comparisons(user, item, np.array([1, 2, 0]))


def ratings():
    rng = np.random.default_rng(3)
    table = rng.integers(-4, 5, size=(30, 7)).astype(np.float32)
    return np.where(rng.random(table.shape) < 0.3, np.float32(np.nan), table)


@pytest.mark.parametrize("prompt_index", [None, np.array([0, 0, 0, 1, 1, 1, 1])])
@pytest.mark.parametrize("min_gap", [0.0, 2.0])
def test_all_pairs_of_ratings_equal_a_loop(min_gap, prompt_index):
    table = ratings()
    rows = ratings_to_comparisons(*ratings_table(table), min_gap=min_gap, prompt_index=prompt_index)
    expected = {}
    for user, (one, two) in itertools.product(range(30), itertools.combinations(range(7), 2)):
        gap = table[user, one] - table[user, two]
        same = prompt_index is None or prompt_index[one] == prompt_index[two]
        if abs(gap) >= min_gap and same:
            expected[user, one, two] = (np.sign(gap) + 1) / 2
    low, high = np.minimum(rows.first, rows.second), np.maximum(rows.first, rows.second)
    label = np.where(rows.first < rows.second, rows.label, 1 - rows.label)
    keys = zip(rows.user.tolist(), low.tolist(), high.tolist(), strict=True)
    assert dict(zip(keys, label.tolist(), strict=True)) == expected
    assert len(rows.user) == len(expected)


def test_sampling_keeps_at_most_so_many_different_pairs_and_depends_on_the_seed_only():
    full = ratings_to_comparisons(*ratings_table(ratings()), min_gap=1.0)
    few = ratings_to_comparisons(*ratings_table(ratings()), min_gap=1.0, max_pairs=4, seed=1)
    again = ratings_to_comparisons(*ratings_table(ratings()), min_gap=1.0, max_pairs=4, seed=1)
    other = ratings_to_comparisons(*ratings_table(ratings()), min_gap=1.0, max_pairs=4, seed=2)
    counts = np.minimum(np.bincount(full.user, minlength=30), 4)
    np.testing.assert_array_equal(np.bincount(few.user, minlength=30), counts)
    low, high = np.minimum(few.first, few.second), np.maximum(few.first, few.second)
    assert len({*zip(few.user, low, high, strict=True)}) == len(few.user)
    np.testing.assert_array_equal(few.first, again.first)
    assert not np.array_equal(few.first, other.first)


def test_orientation_hides_the_label_even_when_ids_are_sorted_by_quality():
    table = np.tile(np.arange(12, dtype=np.float32), (300, 1))
    rows = ratings_to_comparisons(*ratings_table(table), min_gap=1.0)
    assert abs(rows.label.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(rows.user))


def test_bad_ratings_are_named_and_too_few_make_no_pair():
    zero = np.zeros(2, dtype=np.int32)
    with pytest.raises(ValueError, match="User 0 rated response 0 more than once"):
        ratings_to_comparisons(zero, zero, np.ones(2))
    with pytest.raises(ValueError, match="1 ratings are NaN, first in row 1"):
        ratings_to_comparisons(zero, np.arange(2), np.array([1.0, np.nan]))
    assert len(ratings_to_comparisons(zero[:1], zero[:1], np.ones(1)).user) == 0
