"""Answers that tell little are found where they are planted, and nobody in clean data."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from test_data_audit import RENDERINGS, clean, render

from prefjax.data import read
from prefjax.data.answers import AnswersConfig, describe_answers, inspect_answers
from prefjax.data.audit import find_formats
from prefjax.data.dataset import Dataset
from prefjax.types import BASELINE, Comparisons


def dataset(user, first, second, label):
    num_responses = int(max(np.max(first), np.max(second))) + 1
    return Dataset(
        name="toy",
        comparisons=Comparisons(
            np.asarray(user),
            np.asarray(first),
            np.asarray(second),
            np.asarray(label, float),
            np.ones(len(user)),
        ),
        responses=tuple(f"text {index}." for index in range(num_responses)),
        prompt_index=np.zeros(num_responses, int),
        prompts=("",),
        users=tuple(f"p{index}" for index in range(int(np.max(user)) + 1)),
        meta={},
    )


def crowd(num_users=200, rows=40, seed=0):
    """People who choose between random pairs in random positions, each side half of the time."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(num_users), rows)
    first = rng.integers(1000, size=len(user))
    second = (first + rng.integers(1, 1000, size=len(user))) % 1000
    return dataset(user, first, second, rng.integers(2, size=len(user)))


def relabeled(data, user, labels):
    label = data.comparisons.label.copy()
    mine = np.flatnonzero(data.comparisons.user == user)
    label[mine] = labels(len(mine))
    return replace(data, comparisons=data.comparisons._replace(label=label))


def test_repeats_and_their_ceiling_are_counted_by_hand():
    #      a question of p0 answered three times, twice for response 0; of p1 twice, the same
    user, first, second = [0, 0, 0, 1, 1, 1], [0, 1, 0, 2, 2, 4], [1, 0, 1, 3, 3, 5]
    report = inspect_answers(dataset(user, first, second, [1, 1, 1, 0, 0, 0.5]))
    np.testing.assert_array_equal(report.people.num_repeats, [3, 1])
    np.testing.assert_array_equal(report.people.num_disagree, [2, 0])
    assert (report.num_ties, report.num_swapped, report.num_same_side) == (1, 2, 2)
    assert report.flip == pytest.approx((1 - np.sqrt(1 - 2 * 0.5)) / 2)
    assert report.ceiling == 1 - report.flip
    assert report.first_rate == 3 / 5


def test_the_ceiling_is_the_planted_noise():
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(100), 60)
    first = np.tile(np.repeat(np.arange(30) * 2, 2), 100)
    truth = rng.integers(2, size=6000 // 2).repeat(2)
    flipped = rng.random(6000) < 0.12
    report = inspect_answers(dataset(user, first, first + 1, truth ^ flipped))
    assert report.num_repeats == 3000
    assert report.flip == pytest.approx(0.12, abs=0.015)


def test_votes_repeat_too_and_have_no_position():
    rows = dataset([0, 0, 0], [0, 0, 1], [BASELINE] * 3, [1, 0, 1])
    report = inspect_answers(rows)
    assert (report.num_repeats, report.num_disagree, report.num_swapped) == (1, 1, 0)
    assert np.isnan(report.first_rate)
    assert np.isnan(report.people.side_p).all()
    assert report.people.first_rate[0] == pytest.approx(2 / 3)
    assert "Nobody has enough pairs to be tested" in describe_answers(report)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (np.ones, "is_one_sided"),
        (np.zeros, "is_one_sided"),
        (lambda n: np.arange(n) % 2, "is_patterned"),
        (lambda n: np.arange(n) < n // 2, "is_patterned"),
    ],
)
def test_one_side_and_patterns_are_found(labels, kind):
    report = inspect_answers(relabeled(crowd(), 7, labels))
    np.testing.assert_array_equal(np.flatnonzero(getattr(report.people, kind)), [7])
    np.testing.assert_array_equal(report.flagged, [7])
    text = describe_answers(report)
    assert "1 people always take one side" in text
    assert "| p7 | 40 |" in text


def test_p_values_are_those_of_the_binomial_distribution():
    people = inspect_answers(crowd(30)).people
    for index in range(30):
        wins = round(people.first_rate[index] * 40)
        assert people.side_p[index] == pytest.approx(binomtest(wins, 40).pvalue)


@pytest.mark.parametrize("rows", [12, 40])
def test_clean_people_are_flagged_as_rarely_as_stated(rows):
    num_flagged = [len(inspect_answers(crowd(60, rows, seed)).flagged) for seed in range(20)]
    # Anybody at all in at most 5 % of data sets; 20 of them have more than 4 with p < .003.
    assert np.count_nonzero(num_flagged) <= 4


def test_people_with_few_answers_are_not_tested():
    data = relabeled(crowd(20, 9), 3, np.ones)
    assert np.isnan(inspect_answers(data).people.side_p).all()
    few = AnswersConfig(min_rows=5)
    assert np.isfinite(inspect_answers(data, few).people.side_p).all()


def test_a_judge_whose_position_decides_is_seen():
    questions = np.arange(50)
    first = np.concatenate([2 * questions, 2 * questions + 1])
    second = np.concatenate([2 * questions + 1, 2 * questions])
    label = np.ones(100)  # the first, in either order
    report = inspect_answers(dataset(np.zeros(100, int), first, second, label))
    assert (report.num_swapped, report.num_same_side) == (50, 50)
    assert report.first_rate == 1
    assert report.first_interval[0] > 0.95
    assert "the same side twice in 50 of 50" in describe_answers(report)


def test_leaks_of_form_are_told_and_not_raised():
    data = clean()
    assert find_formats(data)[1] == ()
    leaking = render(data, "rejected", RENDERINGS["a printed list"])
    (leak,) = (leak for leak in inspect_answers(leaking).leaks if "a printed list" in leak)
    assert leak in describe_answers(inspect_answers(leaking))
    assert "no mark gives the label away" in describe_answers(inspect_answers(data))


@pytest.mark.filterwarnings("ignore:Up to 3 responses")
def test_rows_that_share_a_winner_are_named():
    rows = [{"user": "u", "prompt": "p", "responses": ["x", "y", "z"], "choice": 1}]
    report = inspect_answers(read(rows))
    assert "share a winner" in report.caveat
    assert "Rows: pairs of one row share a winner" in describe_answers(report)
    assert inspect_answers(clean()).caveat == ""


def test_nothing_is_removed():
    data = relabeled(crowd(20), 3, np.ones)
    before = [column.copy() for column in data.comparisons]
    inspect_answers(data)
    for column, old in zip(data.comparisons, before, strict=True):
        np.testing.assert_array_equal(column, old)
