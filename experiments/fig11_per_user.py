"""How many more answers does a model of one person alone need? Fig. 11 of the paper.

    python -m experiments.fig11_per_user smoke     # up to 80 answers, one seed
    python -m experiments.fig11_per_user paper     # up to 800 answers, three seeds

Expected (paper, 50 seconds of one core): PReF has an AUC of .680 after ten answers, the other needs
72: 7.2 times as many. With 16 inputs (smoke) 5.4 times.

A planted world of simulated people over Gaussian embeddings, since Attributes has not as many
questions: after how many answers is ridge logistic regression on the embedding alone as good as
PReF after ten? Published: 25 times as many. The ratio grows with the length of the embedding over
J, here 64 over 6.
"""

from dataclasses import dataclass

import jax
import numpy as np
from matplotlib.figure import Figure

from prefjax import metrics
from prefjax.data.cut import first_rows
from prefjax.families import get_family
from prefjax.lab import compare, plots, runs


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
    seeds = list(range(config.num_seeds))
    sources = [shortened(compare.make_planted(config.planted, seed).source) for seed in seeds]
    cases = compare.make_cases(sources, seeds)
    rows, means = [], {}
    for name, numbers in (("pref", config.few), ("per-user", config.many)):
        family = get_family(name)
        fit, _ = compare.programs(family, numbers, False)
        people = []
        for seed, case in zip(seeds, cases, strict=True):
            key = jax.random.key(seed)
            chosen, _ = compare.choose(key, family, case, numbers)
            params = fit(key, case.outer.data, chosen)
            people.append(
                compare.scores_of(family, params, chosen, case.outer, case.num_new, numbers).auc.T
            )
        value, low, high, _ = metrics.mean_interval(np.concatenate(people))
        means[name] = value
        rows += [
            {
                "method": name,
                "dataset": "planted",
                "questions": "random",
                "num_answers": number,
                "metric": "auc_user",
                "value": value[place],
                "low": low[place],
                "high": high[place],
            }
            for place, number in enumerate(numbers)
        ]
    target, number = means["pref"][-1], config.few[-1]
    reached = np.flatnonzero(np.maximum.accumulate(means["per-user"]) >= target)
    if reached.size and reached[0] > 0:
        after = reached[0]
        needed = np.interp(
            target, means["per-user"][after - 1 : after + 1], config.many[after - 1 : after + 1]
        )
        line = f"a model of one person alone needs {needed:.0f}: × {needed / number:.1f}"
        rows.append(
            {
                "method": "per-user",
                "dataset": "planted",
                "num_answers": number,
                "metric": "answers_ratio",
                "value": needed / number,
            }
        )
    else:
        line = f"a model of one person alone does not reach it in {config.many[-1]}"
    summary = f"PReF has AUC {target:.3f} after {number} answers; {line}. People are simulated."
    return runs.Result(rows=rows, summary=summary)


def plot(result: runs.Result) -> Figure:
    """AUC against the number of answers."""
    return plots.learning_curves(result.table)


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
