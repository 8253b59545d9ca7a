"""How many people, with how many answers, until personalization can be detected?

    python -m experiments.power smoke     # two sizes, four repeats
    python -m experiments.power paper     # six sizes, ten repeats

Expected (paper, 4 minutes of one core), power of the default with 50, 100, 200 people whose
personal logit has deviation 1: .00 .00 .00 with 20 answers each, .00 .40 .80 with 40 (gain +.016
+.020 +.033 AUC); with deviation .5 none of these sizes is enough. With the smoke preset the
published fit has no power (gain −.02 and −.04): its answers cost more than they tell.

A study collects some answers from some people and asks whether a personal model beats one for
everybody. In a planted world (simulated people) whose personal part is as strong as given, power is
the share of repeats in which the interval of personal − population, over the new people, lies above
0. Training and new people come out of the same study: a fifth of the people is new, and each new
person's answers are as many as the others gave.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binomtest

from prefjax.families import get_family
from prefjax.lab import compare, interval_of, plots, row, runs
from prefjax.metrics import Interval


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        people: Numbers of people in the study.
        answers: Numbers of answers of each person.
        sharpness: Strengths of the personal part: standard deviation of a person's own logit.
        shared: Length of what everybody shares, beside 1 for a person.
        num_repeats: Studies of each kind.
        family: Method.
    """

    people: tuple[int, ...] = (50, 100, 200)
    answers: tuple[int, ...] = (20, 40)
    sharpness: tuple[float, ...] = (0.5, 1.0)
    shared: float = 1.0
    num_repeats: int = 10
    family: str = "pref"


PRESETS = {
    "smoke": Config(
        people=(50, 100), answers=(20,), sharpness=(1.0,), num_repeats=4, family="pref-map"
    ),
    "paper": Config(),
}


def study(config: Config, people: int, answers: int, sharpness: float) -> np.ndarray:
    """Personal − population of every repeat: value, low, high, people."""
    world = compare.PlantedConfig(
        num_users=people,
        rows_per_user=answers,
        tests_per_user=20,
        sharpness=sharpness,
        shared=config.shared,
        num_inputs=16,
    )
    seeds = range(config.num_repeats)
    sources = [compare.make_planted(world, seed).source for seed in seeds]
    family, numbers = compare.as_given(get_family(config.family)), (0, answers)
    cells = compare.run_families([family], sources, seeds, numbers, dataset="planted")
    gains = [np.diff(cell.scores["random", ""].auc, axis=0)[0] for cell in cells]
    return np.array([interval_of("minus_population", gain) for gain in gains])


def share_above(low: np.ndarray) -> tuple[float, float, float]:
    """Share of repeats whose lower end lies above 0, with Wilson's interval."""
    found = binomtest(int(np.sum(low > 0)), len(low))
    ends = found.proportion_ci(method="wilson")
    return float(found.statistic), float(ends.low), float(ends.high)


def run(config: Config) -> runs.Result:
    """Power of every kind of study."""
    rows, lines = [], ["| personal logit | answers each | people | gain | power |"]
    lines.append("|---" * 5 + "|")
    for sharpness, answers, people in product(config.sharpness, config.answers, config.people):
        found = study(config, people, answers, sharpness)
        share, gain = share_above(found[:, 1]), float(np.mean(found[:, 0]))
        power = Interval(*map(np.asarray, (*share, len(found))))
        name, dataset = f"{answers} answers each", f"personal logit {sharpness}"
        rows.append(row(name, dataset, "power", power, num_answers=answers, num_people=people))
        rows.append(
            row(name, dataset, "minus_population", gain, num_answers=answers, num_people=people)
        )
        shown = f"{gain:+.3f} | {share[0]:.2f} |"
        lines.append(f"| {sharpness} | {answers} | {people} | {shown}")
    lines.append(
        f"\nShare of {config.num_repeats} simulated studies whose interval over the new people "
        "lies above 0."
    )
    return runs.Result(rows=rows, summary="\n".join(lines))


def plot(result: runs.Result) -> Figure:
    """Power against the number of people."""
    return plots.lines(result.table, x="num_people", xlabel="people in the study", metric="power")


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
