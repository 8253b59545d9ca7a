import dataclasses

import numpy as np
import pytest

from experiments import quickstart
from experiments.quickstart import RULES
from prefjax.data.attributes import WorldConfig
from prefjax.lab import runs

TINY = dataclasses.replace(
    quickstart.PRESETS["smoke"],
    num_seeds=2,
    world=WorldConfig(
        num_prompts=12, responses_per_prompt=6, pairs_per_prompt=15, pairs_per_user=60, num_users=20
    ),
    num_factors=2,
    num_inputs=8,
    num_own_inputs=8,
    num_answers=(0, 2, 4),
)


@pytest.fixture(scope="module")
def sources():
    return quickstart.make_sources(TINY)


@pytest.fixture(scope="module")
def cells(sources):
    return quickstart.all_cells(sources, TINY)


@pytest.fixture(scope="module")
def result(sources, cells):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quickstart, "make_sources", lambda config: sources)
        patch.setattr(quickstart, "all_cells", lambda sources, config: cells)
        return quickstart.run(TINY)


def values(cells, method, metric="auc", rule="random", control=""):
    """Scores [seed, number of answers, user] of one method."""
    return np.stack(
        [getattr(cell.scores[rule, control], metric) for cell in cells if cell.method == method]
    )


@pytest.mark.parametrize("method", ["per-user", "pref-map", "pref"])
@pytest.mark.parametrize("metric", ["auc", "nll"])
def test_nothing_is_known_of_a_person_before_the_first_answer(cells, method, metric):
    curves = {rule: values(cells, method, metric, rule) for rule in RULES}
    np.testing.assert_allclose(curves["random"][:, 0], curves["d_optimal"][:, 0], rtol=1e-5)
    if method == "pref":
        wrong = values(cells, method, metric, control="wrong-user")
        np.testing.assert_array_equal(curves["random"][:, 0], wrong[:, 0])
    if method == "per-user":
        assert not np.array_equal(curves["random"][:, 2], curves["d_optimal"][:, 2])
        expected = {"auc": 0.5, "nll": np.log(2)}[metric]
        np.testing.assert_allclose(curves["random"][:, 0], expected, rtol=1e-5)


def test_population_and_oracle_hear_no_answers(cells):
    for method in ("bradley-terry", "oracle"):
        curve = values(cells, method)
        np.testing.assert_array_equal(curve, np.broadcast_to(curve[:, :1], curve.shape))
    others = [scores.auc for cell in cells for scores in cell.scores.values()]
    assert np.nanmean(values(cells, "oracle")) > np.nanmean(np.stack(others)) + 0.1


def test_the_best_of_the_candidates_by_the_true_weights_wins(cells):
    oracle = values(cells, "oracle", "win_rate")[:, 0]
    for cell in cells:
        for scores in cell.scores.values():
            assert (scores.win_rate >= 0).all()
            assert (scores.win_rate <= oracle[cell.seed][None] + 1e-6).all()


def test_every_seed_has_its_own_world(cells):
    assert np.ptp(np.nanmean(values(cells, "oracle")[:, 0], axis=1)) > 0
    assert np.ptp(np.nanmean(values(cells, "bradley-terry")[:, 0], axis=1)) > 0


def test_new_people_and_new_prompts_are_kept_apart(sources):
    for source in sources:
        split, people = source.draw.split, source.people
        seen = set(people.seen.ravel().tolist())
        for rows, inside in ((split.train, True), (split.validation, False), (split.test, False)):
            used = {*rows.first.tolist(), *rows.second.tolist()}
            assert used <= seen if inside else not used & seen
        assert {*split.calibration.first.tolist()} <= seen
        assert len(people.weights) == len(split.new_users) == 4
        assert len(split.known_users) == split.train.user.max() + 1 == 16


def test_intervals_come_over_people_and_stay_inside_the_range(result):
    """Two seeds of four people are eight people, not two seeds."""
    for row in result.rows:
        assert row["seed"] is None
        assert row["num_users"] <= 8
        if row["metric"] in ("auc_user", "win_rate"):
            assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    curve = [row for row in result.rows if row["metric"] == "auc_user"]
    assert max(row["high"] - row["low"] for row in curve) < 0.9


def test_rows_are_tidy_and_the_figure_is_drawn_from_what_was_saved(result, tmp_path):
    assert result.table.column_names == [*runs.COLUMNS, "encoder", "num_users"]
    assert "simulated" in result.summary
    assert result.summary.count("after 4 answers:") == 2
    runs.save(tmp_path, result)
    figure = quickstart.plot(runs.load(tmp_path))
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"population model", "PReF (marginal)", "PReF as published"} <= legend
    assert "another user's weights" not in legend
