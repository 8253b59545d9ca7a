"""How many more answers does a model of one person alone need? Fig. 11 of the paper.

    python -m experiments.fig11_per_user smoke     # up to 80 answers, one seed
    python -m experiments.fig11_per_user paper     # up to 800 answers, three seeds

Expected (paper, 50 seconds of one core): PReF has an AUC of .680 after ten answers, the other needs
73: 7.3 times as many. With 16 inputs (smoke) 5.4 times.

A planted world of simulated people over Gaussian embeddings, since Attributes has not as many
questions: after how many answers is ridge logistic regression on the embedding alone as good as
PReF after ten? Published: 25 times as many. The ratio grows with the length of the embedding over
J, here 64 over 6.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from prefjax.data.cut import first_rows
from prefjax.lab import compare, plots, row, runs


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        planted: The world.
        num_seeds: Worlds.
        few: Where PReF is read off; the last number is what the other must reach.
        many: Where the model of one person alone is read off.
    """

    planted: compare.PlantedConfig
    num_seeds: int = 3
    few: tuple[int, ...] = (0, 1, 3, 5, 10)
    many: tuple[int, ...] = (0, 1, 3, 5, 10, 20, 40, 80, 160, 320, 800)


PRESETS = {
    "smoke": Config(
        compare.PlantedConfig(num_users=60, num_inputs=16, rows_per_user=80),
        num_seeds=1,
        many=(0, 5, 10, 20, 80),
    ),
    "paper": Config(compare.PlantedConfig(num_inputs=64, rows_per_user=800, shared=0.0)),
}


def shortened(source: compare.Source) -> compare.Source:
    """Sixty training rows a person are enough for PReF and keep its fit short."""

    def short(draw: compare.Draw) -> compare.Draw:
        train = first_rows(draw.split.train, 60)
        return draw._replace(split=draw.split._replace(train=train))

    return source._replace(draw=short(source.draw), inner=short(source.inner))


def run(config: Config) -> runs.Result:
    """Both curves, with intervals over people, and the ratio."""
    seeds = range(config.num_seeds)
    sources = [shortened(compare.make_planted(config.planted, seed).source) for seed in seeds]
    rows, means = [], {}
    for name, numbers in (("pref", config.few), ("per-user", config.many)):
        cells = compare.run_families([name], sources, seeds, numbers, dataset="planted")
        tidy = compare.tidy_rows(cells, numbers)
        some = [one for one in tidy if one["metric"] == "auc_user"]
        means[name] = np.array([one["value"] for one in some])
        rows += some
    target, number = means["pref"][-1], config.few[-1]
    reached = np.flatnonzero(np.maximum.accumulate(means["per-user"]) >= target)
    if reached.size and reached[0] > 0:
        after = reached[0]
        needed = np.interp(
            target, means["per-user"][after - 1 : after + 1], config.many[after - 1 : after + 1]
        )
        line = f"a model of one person alone needs {needed:.0f}: × {needed / number:.1f}"
        ratio = needed / number
        rows.append(row("per-user", "planted", "answers_ratio", ratio, num_answers=number))
    else:
        line = f"a model of one person alone does not reach it in {config.many[-1]}"
    summary = f"PReF has AUC {target:.3f} after {number} answers; {line}. People are simulated."
    return runs.Result(rows=rows, summary=summary)


def plot(result: runs.Result) -> Figure:
    """AUC against the number of answers."""
    return plots.learning_curves(result.table)


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
