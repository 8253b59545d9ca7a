"""Reasons that people wrote, beside the axes that predicted them."""

import dataclasses

import numpy as np
import pytest
from study_world import make_materials

from prefjax.data.dataset import Dataset
from prefjax.study._export import StudyExport
from prefjax.study.reasons import MIN_PEOPLE, compare_reasons
from prefjax.study.report import _reasons
from prefjax.types import Comparisons

MATERIALS = make_materials()
SAID = (
    ("I like short answers", "I want long answers with every detail"),
    ("funny jokes", "please stay serious and formal"),
    ("it should be polite", "blunt honesty, no flattery"),
)


def make_study(count=24, seed=0, written=None):
    """People who are predicted by one end of one axis each, and say which."""
    rng = np.random.default_rng(seed)
    num_factors = MATERIALS.model.num_factors
    participants, trials = [], []
    for person in range(count):
        axis, end = person % min(num_factors, len(SAID)), int(rng.integers(2))
        mean = 0.1 * rng.standard_normal(num_factors)
        mean[axis] = 2.0 - 4.0 * end
        text = SAID[axis][end] if written is None else written[person]
        about = {"participant": f"p{person:04d}", "end": "complete", "reasons": text}
        participants.append(about | {"final_mean": mean.astype(np.float32).tolist()})
        for _ in range(6):
            left, right = (int(one) for one in rng.integers(len(MATERIALS.responses), size=2))
            shown = {"participant": f"p{person:04d}", "kind": "test", "left": left, "right": right}
            trials.append(shown)
    one = np.zeros(1, np.int32)
    rows = Comparisons(one, one, one + 1, np.ones(1, np.float32), np.ones(1, np.float32))
    data = Dataset("study", rows, ("a", "b"), np.zeros(2, int), ("",), ("p",), {})
    return StudyExport(data, trials, participants, MATERIALS.items, {})


def test_people_who_say_what_predicts_them_are_told_from_shuffled_ones():
    study = make_study()
    found = compare_reasons(study)
    assert found.correlation > 0.3
    assert found.p == 0.001
    texts = [row["reasons"] for row in study.participants]
    p = [
        compare_reasons(make_study(written=np.random.default_rng(turn).permutation(texts))).p
        for turn in range(10)
    ]
    assert np.median(p) > 0.1


def test_an_axis_is_shown_with_what_those_said_whom_it_predicts():
    study = make_study()
    found = compare_reasons(study)
    for axis in range(min(MATERIALS.model.num_factors, len(SAID))):
        quoted = [found.texts[one] for one in found.most_predicted(axis)]
        assert quoted
        assert set(quoted) <= set(SAID[axis])
    said = _reasons(found)
    assert "predicted by the same axes: r = 0." in said
    assert "| 1, first end | “I like short answers” |" in said


def test_words_cannot_break_the_table():
    words = ["a | b\n<script> [x](y) *z*"] * MIN_PEOPLE
    said = _reasons(compare_reasons(make_study(MIN_PEOPLE, written=words)))
    assert r"“a \| b \<script\> \[x\](y) \*z\*”" in said
    assert "too few, or all alike" in said


def test_who_wrote_nothing_or_left_is_left_out():
    study = make_study(10)
    study.participants[0]["reasons"] = None
    study.participants[1]["reasons"] = " \n "
    study.participants[2]["end"] = "withdrawn"
    found = compare_reasons(study)
    assert found.names == tuple(f"p{person:04d}" for person in range(3, 10))
    assert np.isnan(found.correlation)
    nobody = dataclasses.replace(study, participants=[])
    assert _reasons(compare_reasons(nobody)) == ""


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_numbers(seed):
    first, second = (compare_reasons(make_study(), seed) for _ in range(2))
    assert (first.correlation, first.p) == (second.correlation, second.p)
