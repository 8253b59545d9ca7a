"""A data set keeps ids and texts together and looks names up without guessing."""

import numpy as np
import pytest

from prefjax.data.dataset import Dataset
from prefjax.types import BASELINE, Comparisons


def make(**fields):
    given = {
        "name": "toy",
        "comparisons": Comparisons(
            user=np.array([0, 1, 1]),
            first=np.array([0, 2, 1]),
            second=np.array([1, BASELINE, 0]),
            label=np.array([1.0, 0.0, 0.5]),
            sample_weight=np.ones(3),
        ),
        "responses": ("yes", "no", "yes"),
        "prompt_index": np.array([0, 0, 1], dtype=np.int32),
        "prompts": ("Tea?", "Coffee?"),
        "users": ("ann", "bob"),
        "meta": {"simulated": True},
    }
    return Dataset(**{**given, **fields})


def test_lookups_find_the_name_or_raise():
    data = make()
    assert (data.num_users, data.num_responses, data.num_prompts) == (2, 3, 2)
    assert data.user_id("bob") == 1
    assert data.response_id("yes", "Coffee?") == 2
    with pytest.raises(KeyError, match="'eve'"):
        data.user_id("eve")
    with pytest.raises(KeyError, match="maybe"):
        data.response_id("maybe", "Tea?")


def test_select_keeps_the_meaning_of_ids():
    data = make()
    by_index, by_mask = data.select(np.array([2, 0])), data.select(np.array([True, False, True]))
    np.testing.assert_array_equal(by_index.comparisons.first, [1, 0])
    np.testing.assert_array_equal(by_mask.comparisons.first, [0, 1])
    assert by_index.responses == data.responses
    with pytest.raises(ValueError, match="no comparisons"):
        data.select(np.zeros(3, dtype=bool))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"users": ("ann", "ann")}, "two users named 'ann'"),
        ({"prompt_index": np.array([0, 0, 2])}, "prompt_index must lie"),
        ({"prompt_index": np.array([0, 0])}, "2 entries in prompt_index"),
        ({"responses": ("yes", "no"), "prompt_index": np.array([0, 0])}, "first must lie"),
        ({"responses": ("yes", "n\ud83co", "yes")}, r"responses\[1\] .* half a character"),
        ({"prompts": ("Tea?", "\udfff")}, r"prompts\[1\] .* half a character, '\\udfff' at 0"),
        ({"users": ("ann", "b\0b")}, r"users\[1\] .* holds NUL at character 1"),
    ],
)
def test_illegal_data_sets_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        make(**fields)


@pytest.mark.parametrize("rows", [[1], [0, 2]])
def test_rows_that_compare_a_response_with_itself_are_refused(rows):
    table = make().comparisons
    second = table.second.copy()
    second[rows] = table.first[rows]
    with pytest.raises(ValueError, match=rf"{len(rows)} rows .* itself, first rows \[{rows[0]}"):
        make(comparisons=table._replace(second=second))
