"""The experiments of the papers: their arithmetic, their presets, and the page of results."""

import importlib

import numpy as np
import pytest

from experiments import fig3c_active, fig4_size, fig11_per_user, power, report
from prefjax.lab import compare, runs
from prefjax.types import Comparisons

MODULES = (
    "table1",
    "fig2_auc",
    "fig3a_ablations",
    "fig3b_num_factors",
    "fig3c_active",
    "fig4_size",
    "fig5_interpretation",
    "fig9_scree",
    "fig11_per_user",
    "worker_clusters",
    "power",
    "ukp_topics",
    "aligned_responses",
    "simulated_human_study",
    "human_study",
    "prompted_baselines",
    "uses_of_uncertainty",
)
PLANTED = compare.PlantedConfig(
    num_users=20, num_prompts=8, responses_per_prompt=4, num_inputs=8, rows_per_user=80
)


@pytest.mark.parametrize("name", MODULES)
def test_every_experiment_has_both_presets(name):
    module = importlib.import_module(f"experiments.{name}")
    assert {"smoke", "paper"} <= set(module.PRESETS)
    assert f"experiments.{name} smoke" in module.__doc__


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_every_experiment_runs_and_draws(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFJAX_RUNS", str(tmp_path))
    module = importlib.import_module(f"experiments.{name}")
    try:
        folder = runs.main(module.PRESETS, module.run, module.plot, ["smoke"])
    except FileNotFoundError as error:
        pytest.skip(f"no data: {error}")
    assert (folder / "figure.png").stat().st_size > 1000
    assert runs.load(folder).summary


def test_answers_needed_lie_between_two_numbers_and_early_luck_does_not_count():
    rising = np.array([0.5, 0.6, 0.7, 0.8])
    assert fig3c_active.answers_needed(rising, 0.65) == pytest.approx(1.5)
    assert fig3c_active.answers_needed(rising, 0.5) == 0
    assert fig3c_active.answers_needed(rising, 0.9) == float("inf")
    lucky = np.array([0.5, 0.75, 0.6, 0.7, 0.8])
    assert fig3c_active.answers_needed(lucky, 0.7) == pytest.approx(3)


def test_the_gap_of_curves_that_differ_by_a_factor_is_that_factor():
    answers = np.arange(61)
    noise = np.random.default_rng(0).normal(scale=1e-4, size=(8, 1))
    random, chosen = (0.5 + 0.3 * (1 - np.exp(-answers / s)) + noise for s in (30.0, 10.0))
    worth, low, high = fig3c_active.gap(random, chosen, 10)
    assert worth == pytest.approx(30, abs=0.1)
    assert low <= worth <= high


def test_less_data_is_weight_zero_and_a_smaller_encoder_fewer_columns():
    source = compare.make_planted(PLANTED, 0).source
    less = fig4_size.reduced(source, 0.25, 3, 0).draw
    assert 0.15 < np.mean(less.split.train.sample_weight) < 0.35
    assert less.embeddings.shape[1] == 3
    short = fig11_per_user.shortened(source).draw.split.train
    assert np.bincount(short.user).max() == 60


def test_no_power_in_ten_studies_may_still_be_some():
    value, low, high = power.share_above(np.full(10, -0.1))
    assert value == low == 0
    assert high == pytest.approx(1.96**2 / (10 + 1.96**2), abs=1e-3)


def made_up_run(root, name, rows, run="20260101T000000Z-paper-abc"):
    folder = root / name / run
    folder.mkdir(parents=True)
    runs.save(folder, runs.Result(rows=rows))


def test_the_page_takes_numbers_from_run_folders_and_says_what_was_not_run(tmp_path):
    row = {"dataset": "attributes", "questions": "random", "metric": "auc_user"}
    row["encoder"], five = "hashed", {"num_answers": 5, "low": 0.7, "high": 0.9}
    made_up_run(
        tmp_path,
        "compare",
        [
            {**row, **five, "method": "pref", "value": 0.9, "encoder": "another"},
            {**row, **five, "method": "pref", "value": 0.8},
            *(
                {**row, "method": "vpl", "num_answers": 5, "value": value, "seed": seed}
                for seed, value in enumerate((0.6, 0.7))
            ),
        ],
    )
    page = report.page([tmp_path])
    assert "| pref, 5 answers | 0.77 | 0.800 [0.700, 0.900] | +0.030 |" in page
    assert "| vpl, 5 answers | 0.78 | 0.650 [" in page
    assert "ratio | 2.7 | not run |" in page
    assert "- `compare`: 20260101T000000Z-paper-abc" in page
    assert "- `ukp_topics`: not run" in page
    smoke = [{**row, "method": "pref", "num_answers": 10, "value": 0.9}]
    made_up_run(tmp_path, "compare", smoke, "smoke")
    other = [{**row, "method": "pref", "num_answers": 5, "value": 0.3, "dataset": "dices350"}]
    made_up_run(tmp_path, "compare", other, "real")
    assert report.page([tmp_path]) == page, (
        "runs that have no such number, or are small, change none"
    )
    output = tmp_path / "docs" / "page.md"
    report.main(output, (tmp_path,))
    assert output.read_text() == page


@pytest.mark.slow
def test_rows_of_held_out_topics_are_predicted_with_the_state_of_their_worker():
    ukp = importlib.import_module("experiments.ukp_topics")
    rng = np.random.default_rng(0)
    table = rng.normal(size=(30, 4)).astype(np.float32)
    user = np.repeat(np.arange(6), 50)
    topic = rng.integers(5, size=300)
    first = topic * 6 + rng.integers(6, size=300)
    second = topic * 6 + (first + 1 + rng.integers(5, size=300)) % 6
    weight = np.array([[3.0, 0, 0, 0], [-3.0, 0, 0, 0]])[user % 2]
    gap = np.sum((table[first] - table[second]) * weight, axis=1)
    label = (rng.random(300) < 1 / (1 + np.exp(-gap))).astype(np.float32)
    ids = (column.astype(np.int32) for column in (user, first, second))
    rows = Comparisons(*ids, label, np.ones(300, np.float32))
    config = ukp.Config(families=("per-user",), max_topics=5)
    logit = ukp.logits_of("per-user", rows, topic, table, config)
    assert np.isfinite(logit).all()
    assert np.corrcoef(logit, gap)[0, 1] > 0.8
