"""Figures hold the numbers of the table, with intervals, and read them from saved rows alone."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from prefjax import metrics
from prefjax.lab import plots, row, runs

ANSWERS = (0, 5, 20)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    return runs.tidy(
        [
            {
                "method": method,
                "dataset": dataset,
                "questions": questions,
                "seed": seed,
                "num_answers": answers,
                "metric": "auc_user",
                "value": gain * answers + rng.normal(0.6, 0.01),
            }
            for dataset in ("jester5k", "mine")
            for method, gain in (("population", 0.0), ("lore", 0.005), ("pref", 0.01))
            for questions in ("random", "d_optimal")
            for seed in range(5)
            for answers in ANSWERS
        ]
    )


def of(table, **wanted):
    rows = [r for r in table.to_pylist() if all(r[name] == v for name, v in wanted.items())]
    return np.array([[r["value"] for r in rows if r["num_answers"] == a] for a in ANSWERS])


def test_lines_are_means_over_seeds_and_bands_their_t_intervals(table):
    figure = plots.learning_curves(table)
    panels = figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == ["Jester jokes", "mine"]
    assert len(panels[0].lines) == 6
    line = panels[1].lines[-2]
    assert line.get_color() == plots.METHOD_COLORS["pref"]
    values = of(table, method="pref", questions="random", dataset="mine")
    np.testing.assert_array_equal(line.get_xdata(), ANSWERS)
    np.testing.assert_allclose(line.get_ydata(), values.mean(axis=1))

    band = next(
        c for c, other in zip(panels[1].collections, panels[1].lines, strict=True) if other is line
    )
    heights = np.sort(band.get_paths()[0].vertices[:, 1])
    interval = stats.ttest_1samp(values, 0.0, axis=1).confidence_interval()
    assert (heights[0], heights[-1]) == pytest.approx((interval.low.min(), interval.high.max()))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [
        "PReF (marginal)",
        "population model",
        "LoRe",
        "D-optimal questions",
        "random questions",
    ]


def test_summary_rows_are_drawn_as_they_stand_and_controls_in_gray():
    row = {"dataset": "mine", "metric": "nll", "num_answers": 5}
    table = runs.tidy(
        [
            row | {"method": "pref", "value": 0.5, "low": 0.4, "high": 0.7},
            row | {"method": "pref", "value": 0.6, "control": "wrong-user"},
            row | {"method": "pref", "value": 9.0, "metric": "ece"},
        ]
    )
    axes = plots.learning_curves(table, metric="nll").axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0.6], [0.5]]
    assert axes.lines[0].get_color() == "#999999"
    assert plots.make_table(table, metric="nll").splitlines()[2:] == [
        "| method | 5 |",
        "|---|---|",
        "| pref | 0.500 ± 0.150 |",
        "| pref, wrong-user | 0.600 |",
    ]


def test_question_rules_as_panels(table):
    jester = table.filter(pa.array([name == "jester5k" for name in table["dataset"].to_pylist()]))
    figure = plots.learning_curves(jester, panel="questions")
    assert [a.get_title(loc="left") for a in figure.axes] == [
        "random questions",
        "D-optimal questions",
    ]
    assert [len(axes.lines) for axes in figure.axes] == [3, 3]


def test_table_cells_are_means_and_half_widths(table):
    blocks = plots.make_table(table).split("\n\n")
    values = of(table, method="lore", questions="d_optimal", dataset="jester5k")[1]
    interval = metrics.mean_interval(values)
    half = (interval.high - interval.low) / 2
    row = next(r for r in blocks[1].splitlines() if r.startswith("| lore, d_optimal"))
    assert row.split(" | ")[2] == f"{values.mean():.3f} ± {half:.3f}"
    with pytest.raises(ValueError, match="No row has metric 'win_rate'"):
        plots.make_table(table, metric="win_rate")


def test_every_figure_can_be_printed(table, tmp_path):
    bins = metrics.reliability(np.linspace(0.01, 0.99, 90), np.tile([0.0, 1.0, 1.0], 30))
    spectrum = np.array([3.0, 1.0, 0.5])
    for index, figure in enumerate(
        [
            plots.learning_curves(table),
            plots.scree(spectrum, heldout=np.array([0.6, 0.5, 0.55]), chosen=2),
            plots.reliability(*bins),
        ]
    ):
        figure.savefig(tmp_path / f"{index}.png")
    np.testing.assert_array_equal(plots.scree(spectrum).axes[0].lines[0].get_ydata(), spectrum)


def test_strips_have_a_point_a_seed_and_lines_a_band():
    rows = [
        {
            "method": method,
            "dataset": "attributes",
            "metric": "auc_user",
            "seed": seed,
            "value": 0.5 + 0.1 * seed + place,
        }
        for place, method in enumerate(("pref", "lore"))
        for seed in range(3)
    ]
    (axes,) = plots.strip(runs.tidy(rows)).axes
    assert [len(points.get_offsets()) for points in axes.collections] == [3, 3]
    np.testing.assert_allclose([line.get_xdata()[0] for line in axes.lines], [0.6, 1.6])
    summed = [
        {**row, "seed": None, "size": row["seed"], "low": 0.4, "high": 0.9}
        for row in rows[:3][::-1]
    ]
    (axes,) = plots.lines(runs.tidy(summed), x="size", xlabel="size", log=False).axes
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [0, 1, 2])
    with pytest.raises(ValueError, match="nothing"):
        plots.strip(runs.tidy(rows), metric="nothing")
    with pytest.raises(ValueError, match="nothing"):
        plots.lines(runs.tidy(rows), x="seed", xlabel="", metric="nothing")


def test_bands_of_two_seeds_do_not_leave_the_range_of_the_metric():
    rows = [
        row("pref", "mine", "auc_user", value, seed=seed, num_answers=number)
        for seed, value in enumerate((0.4, 0.9))
        for number in ANSWERS
    ]
    axes = plots.learning_curves(runs.tidy(rows)).axes[0]
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert heights.min() >= 0
    assert heights.max() <= 1
