"""Arrays on disk are made once for all that they depend on."""

import numpy as np

from prefjax.lab.stored import stored


def test_arrays_are_made_once_for_what_they_depend_on(tmp_path):
    made = []

    def make(value):
        made.append(value)
        return {"x": np.full(3, value)}

    for value in (1, 1, 2):
        found = stored(tmp_path / "kept", {"value": value}, lambda value=value: make(value))
        np.testing.assert_array_equal(found["x"], value)
    assert made == [1, 2]
    assert len(list((tmp_path / "kept").iterdir())) == 2
    stored(None, {"value": 1}, lambda: make(1))
    assert made == [1, 2, 1]
