"""Equal rows become weights, raw ids become names."""

import numpy as np
import pytest

from prefjax.data import index_names, merge_rows
from prefjax.types import BASELINE, Comparisons


def rows(num_rows=300, seed=0):
    rng = np.random.default_rng(seed)
    return Comparisons(
        user=rng.integers(0, 3, num_rows).astype(np.int32),
        first=rng.integers(0, 3, num_rows).astype(np.int32),
        second=rng.integers(-1, 3, num_rows).astype(np.int32),
        label=rng.choice([0, 0.5, 1], num_rows).astype(np.float32),
        sample_weight=rng.random(num_rows).astype(np.float32),
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_merged_rows_equal_a_dictionary(seed):
    table = rows(seed=seed)
    weights: dict[tuple, float] = {}
    for *key, weight in zip(*(column.tolist() for column in table), strict=True):
        weights[tuple(key)] = weights.get(tuple(key), 0.0) + weight
    merged = merge_rows(table)
    keys = list(zip(*(column.tolist() for column in merged[:4]), strict=True))
    assert keys == list(weights)
    np.testing.assert_allclose(merged.sample_weight, list(weights.values()), rtol=1e-6)
    assert [column.dtype for column in merged] == [column.dtype for column in table]


def test_a_million_copies_are_one_row_and_distinct_rows_are_not_copied():
    ids = (np.array([value], np.int32) for value in (4, 2, BASELINE))
    one = Comparisons(*ids, np.ones(1, np.float32), np.ones(1, np.float32))
    many = Comparisons(*(np.repeat(column, 1_000_000) for column in one))
    merged = merge_rows(many)
    assert [column.tolist() for column in merged] == [[4], [2], [BASELINE], [1.0], [1_000_000.0]]
    assert merge_rows(merged) is merged
    empty = Comparisons(*(column[:0] for column in one))
    assert len(merge_rows(empty).user) == 0


@pytest.mark.parametrize("ids", [[10**9 + 7, 3, 10**9 + 7], [2**70, 0, 2**70], ["x", "3", "x"]])
def test_raw_ids_become_indices_without_a_table_as_long_as_the_largest(ids):
    names, index = index_names(ids)
    assert names == (str(ids[0]), str(ids[1]))
    np.testing.assert_array_equal(index, [0, 1, 0])
    assert index_names(np.array([5, 9, 5]))[0] == ("5", "9")


@pytest.mark.parametrize("bad", [True, 1.5, None, b"x"])
def test_what_is_no_name_is_refused_by_row(bad):
    with pytest.raises(TypeError, match=r"whole number or a text, got .* in row 1"):
        index_names(["ann", bad])
