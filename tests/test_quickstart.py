import dataclasses

import numpy as np
import pytest

from experiments import quickstart
from experiments.quickstart.draw import draw
from experiments.quickstart.methods import RULES
from prefjax import basis
from prefjax.basis import rows as layout
from prefjax.data.attributes import WorldConfig
from prefjax.lab import runs
from prefjax.types import Comparisons

TINY = dataclasses.replace(
    quickstart.PRESETS["smoke"],
    num_seeds=2,
    world=WorldConfig(
        num_prompts=12, responses_per_prompt=6, pairs_per_prompt=15, pairs_per_user=60, num_users=20
    ),
    num_factors=2,
    num_inputs=8,
    num_own_inputs=8,
    own_answers=5,
    num_answers=(0, 2, 4),
    num_candidates=5,
)


@pytest.fixture(scope="module")
def result():
    return quickstart.run(TINY)


def values(result, metric="auc_user", **wanted):
    """Values [seed, number of answers] of one curve."""
    rows = [
        row
        for row in result.rows
        if row["metric"] == metric and all(row[name] == value for name, value in wanted.items())
    ]
    table = {(row["seed"], row["num_answers"]): row["value"] for row in rows}
    assert len(table) == len(rows) == TINY.num_seeds * len(TINY.num_answers)
    return np.array(
        [[table[seed, number] for number in TINY.num_answers] for seed in range(TINY.num_seeds)]
    )


@pytest.mark.parametrize("method", ["per-user", "pref-map", "pref"])
@pytest.mark.parametrize("metric", ["auc_user", "nll"])
def test_nothing_is_known_of_a_person_before_the_first_answer(result, method, metric):
    curves = {
        rule: values(result, metric, method=method, questions=rule, control=None) for rule in RULES
    }
    np.testing.assert_array_equal(curves["random"][:, 0], curves["d_optimal"][:, 0])
    if method == "pref":
        wrong = values(result, metric, method="pref", questions="random", control="wrong-user")
        np.testing.assert_array_equal(curves["random"][:, 0], wrong[:, 0])
    if method == "per-user":
        assert not np.array_equal(curves["random"][:, 2], curves["d_optimal"][:, 2])
        expected = {"auc_user": 0.5, "nll": np.log(2)}[metric]
        np.testing.assert_allclose(curves["random"][:, 0], expected, rtol=1e-5)


def test_population_and_oracle_hear_no_answers(result):
    for method in ("population", "oracle"):
        curve = values(result, method=method)
        np.testing.assert_array_equal(curve, np.broadcast_to(curve[:, :1], curve.shape))
    others = [row["value"] for row in result.rows if row["metric"] == "auc_user"]
    assert values(result, method="oracle").mean() > np.mean(others) + 0.1


def test_the_best_of_the_candidates_by_the_true_weights_wins(result):
    oracle = values(result, "win_rate", method="oracle")[:, 0]
    for row in result.rows:
        if row["metric"] == "win_rate":
            assert 0 <= row["value"] <= oracle[row["seed"]] + 1e-6


def test_every_seed_has_its_own_world(result):
    assert np.ptp(values(result, method="oracle")[:, 0]) > 0
    assert np.ptp(values(result, method="population")[:, 0]) > 0


def test_new_people_and_new_prompts_are_kept_apart():
    train, data = draw(TINY, seed=0)
    seen = set(data.seen.ravel().tolist())
    for batch, inside in ((data.practice, True), (data.validation, False), (data.test, False)):
        used = {*batch.first[batch.mask].tolist(), *batch.second[batch.mask].tolist()}
        assert used <= seen if inside else not used & seen
    assert {*train.first.tolist(), *train.second.tolist()} <= seen
    assert train.user.max() + 1 == len(data.practice.label) == 16
    assert len(data.weights) == len(data.test.label) == 4


def test_rows_are_tidy_and_the_figure_is_drawn_from_what_was_saved(result, tmp_path):
    assert result.table.column_names == list(runs.COLUMNS)
    assert "simulated" in result.summary
    assert result.summary.count("after 4 answers:") == 2
    runs.save(tmp_path, result)
    figure = quickstart.plot(runs.load(tmp_path))
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"population model", "PReF (marginal)", "PReF as published"} <= legend
    assert "another user's weights" not in legend


def test_rows_padded_to_one_size_change_no_sum():
    rng = np.random.default_rng(0)
    sets = [
        Comparisons(
            user=rng.integers(0, 5, size).astype(np.int32),
            first=rng.integers(0, 9, size).astype(np.int32),
            second=rng.integers(-1, 9, size).astype(np.int32),
            label=rng.random(size, np.float32),
            sample_weight=np.ones(size, np.float32),
        )
        for size in (20, 150)
    ]
    stacked = basis.stack_rows(sets, 9)
    table = rng.standard_normal((9, 2)).astype(np.float32)
    for index, comparisons in enumerate(sets):
        extended = np.concatenate([table, np.zeros((1, 2), np.float32)])
        gap = extended[comparisons.first] - extended[comparisons.second]
        by_user, by_response = np.zeros((5, 2)), np.zeros((10, 2))
        np.add.at(by_user, comparisons.user, gap)
        np.add.at(by_response, comparisons.first, gap)
        np.add.at(by_response, comparisons.second, -gap)
        rows = basis.Rows(*(np.asarray(column)[index] for column in stacked))
        laid = layout.gap(table, rows) * rows.sample_weight[..., None]
        np.testing.assert_allclose(
            layout.sum_by_user(laid.sum(1), rows, 5), by_user, rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(
            layout.sum_by_response(laid, rows, 9), by_response[:9], rtol=1e-5, atol=1e-5
        )
