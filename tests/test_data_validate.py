"""Every line of the table of bad input that concerns data, on the host."""

import numpy as np
import pytest

from prefjax.data.validate import exclude_responses, validate_comparisons, validate_embeddings
from prefjax.types import BASELINE, Comparisons

NUM_USERS, NUM_RESPONSES = 3, 5


def table(**columns):
    rows = {
        "user": np.array([0, 1, 2]),
        "first": np.array([0, 4, 2]),
        "second": np.array([1, BASELINE, 3]),
        "label": np.array([1.0, 0.5, 0.0]),
        "sample_weight": np.ones(3),
    }
    return Comparisons(**{**rows, **columns})


def check(**columns):
    return validate_comparisons(table(**columns), NUM_USERS, NUM_RESPONSES)


def test_legal_rows_come_back_typed_with_the_same_values():
    checked = check()
    assert [column.dtype for column in checked] == [np.int32] * 3 + [np.float32] * 2
    for column, given in zip(checked, table(), strict=True):
        np.testing.assert_array_equal(column, given)


def test_whole_floats_are_ids():
    np.testing.assert_array_equal(check(first=np.array([0.0, 4.0, 2.0])).first, [0, 4, 2])


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("user", [0, -1, 2], r"user must lie in \[0, 3\).*rows \[1\].*\[-1\]"),
        ("user", [0, 1, 3], r"user must lie in \[0, 3\).*rows \[2\]"),
        ("first", [BASELINE, 0, 0], r"first must lie in \[0, 5\)"),
        ("first", [0, 0, 5], r"first must lie in \[0, 5\)"),
        ("second", [-2, 0, 0], r"second must lie in \[-1, 5\)"),
        ("second", [0, 0, 2**31], r"second does not fit into int32.*rows \[2\]"),
        ("first", [0, 0, 2.5], r"first must hold whole numbers.*rows \[2\].*2\.5"),
        ("first", [0, 0, np.nan], "first must hold whole numbers"),
        ("first", ["a", "b", "c"], "first must hold whole numbers"),
        ("label", [0, 1.5, 1], r"label must lie in \[0, 1\].*rows \[1\]"),
        ("label", [0, np.nan, 1], r"label must lie in \[0, 1\].*rows \[1\]"),
        ("label", [-1, 1, 1], r"\(label \+ 1\) / 2"),
        ("sample_weight", [1, -0.5, 1], r"weight must be finite and not negative.*rows \[1\]"),
        ("sample_weight", [1, np.nan, 1], "weight must be finite"),
        ("sample_weight", [1, 1, np.inf], "weight must be finite"),
        ("label", [0, 1], "differ in length"),
        ("label", [[0], [1], [1]], "must have one axis"),
    ],
)
def test_illegal_rows_are_named(column, values, words):
    with pytest.raises(ValueError, match=words):
        check(**{column: np.array(values)})


def test_empty_data_is_refused():
    with pytest.raises(ValueError, match="no comparisons"):
        validate_comparisons(Comparisons(*(np.zeros(0),) * 5), NUM_USERS, NUM_RESPONSES)


def test_read_only_and_memory_mapped_columns_are_neither_copied_nor_changed(tmp_path):
    np.save(tmp_path / "label.npy", np.array([1.0, 0.5, 0.0], dtype=np.float32))
    label = np.load(tmp_path / "label.npy", mmap_mode="r")
    user = np.array([0, 1, 2], dtype=np.int32)
    user.flags.writeable = False
    checked = check(user=user, label=label)
    assert np.shares_memory(checked.user, user)
    assert np.shares_memory(checked.label, label)
    np.testing.assert_array_equal(user, [0, 1, 2])


def test_embeddings_that_are_not_finite_are_counted():
    table = np.ones((6, 2), dtype=np.float64)
    table[[1, 4], [0, 1]] = np.nan, 1e300
    with pytest.raises(ValueError, match=r"2 of 6 embeddings.*\[1, 4\].*half precision"):
        validate_embeddings(table)
    with pytest.warns(UserWarning, match="2 of 6"):
        values, valid = validate_embeddings(table, on_bad="drop")
    np.testing.assert_array_equal(valid, [True, False, True, True, False, True])
    np.testing.assert_array_equal(values[valid], np.ones((4, 2)))
    np.testing.assert_array_equal(values[~valid], np.zeros((2, 2)))
    assert np.isnan(table[1, 0])


def test_embeddings_without_a_finite_row_or_without_rows_are_refused():
    with pytest.raises(ValueError, match="2 of 2"):
        validate_embeddings(np.full((2, 3), np.inf), on_bad="drop")
    with pytest.raises(ValueError, match="non-empty"):
        validate_embeddings(np.zeros((0, 3)))
    for kind in (complex, str):
        with pytest.raises(ValueError, match="must be real numbers, got dtype"):
            validate_embeddings(np.ones((2, 3), dtype=kind))


def test_excluded_responses_take_their_rows_with_them():
    rows = check()
    valid = np.array([True, False, True, True, True])
    np.testing.assert_array_equal(exclude_responses(rows, valid).user, [1, 2])
    with pytest.raises(ValueError, match="no row is left"):
        exclude_responses(rows, np.zeros(NUM_RESPONSES, dtype=bool))
