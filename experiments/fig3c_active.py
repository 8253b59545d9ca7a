"""How many answers does a good choice of questions save? Fig. 3C of the paper.

    python -m experiments.fig3c_active smoke     # two seeds
    python -m experiments.fig3c_active paper     # four seeds, some minutes on two cores

Expected with four seeds: 5 chosen answers are worth 9.2 random ones (ratio 1.85 [1.70, 1.98]), 10
are worth 32.4 (3.24 [2.72, 4.92]) and 15 are worth 51.5 (3.44 [2.13, 3.94]).

PReF is fitted to the training people of the Attributes world (simulated people, real differences
in text). New people are then asked pairs of answers to the prompts that everybody saw, at random or
chosen by a rule, and scored on prompts that nobody saw. The gap: after how many random answers is
the AUC as good as after n chosen ones? Published, on other texts and people: 15 against over 40,
a ratio of 2.7. Intervals are bootstrap over people.
"""

from dataclasses import dataclass, field

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from prefjax.data.attributes import WorldConfig
from prefjax.families import get_family
from prefjax.lab import compare, curve, interval_of, plots, row, runs
from prefjax.metrics import Interval


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        num_seeds: Worlds.
        world: Size and noise of a world.
        new_users: Part of the people who are new.
        num_inputs: Principal components of the text embedding.
        rules: Rules that choose; ``random`` is always run.
        num_random: Random questions to each person.
        num_chosen: Chosen questions to each person.
        gaps: Numbers of chosen answers whose worth in random ones is reported.
    """

    num_seeds: int = 4
    world: WorldConfig = field(default_factory=WorldConfig)
    new_users: float = 0.2
    num_inputs: int = 64
    rules: tuple[str, ...] = ("d_optimal",)
    num_random: int = 60
    num_chosen: int = 16
    gaps: tuple[int, ...] = (5, 10, 15)


PRESETS = {"smoke": Config(num_seeds=2, num_random=40, num_chosen=15), "paper": Config()}


def curves_of(config: Config) -> dict[str, Float[np.ndarray, "user answers"]]:
    """AUC of the new people of all seeds by rule, without those whom no test can score."""
    sizes = {"new_users": config.new_users, "num_inputs": config.num_inputs}
    sources = [
        compare.attributes("hashed", seed, config.world, max_answers=config.num_random, **sizes)
        for seed in range(config.num_seeds)
    ]
    family = compare.as_given(get_family("pref"))
    asked = {"random": config.num_random} | dict.fromkeys(config.rules, config.num_chosen)
    found: dict[str, list[np.ndarray]] = {rule: [] for rule in asked}
    for seed, cases in enumerate(compare.make_cases(sources, range(config.num_seeds))):
        key, case = jax.random.key(seed), cases.outer
        params = compare.fit(key, family, case.data)
        for rule, number in asked.items():
            numbers = tuple(range(number + 1))
            states = compare.states_of(key, family, params, case, numbers, questions=rule)
            auc = compare.scores_of(family, params, states, case._replace(people=None), numbers).auc
            found[rule].append(auc.T)
    curves = {rule: np.concatenate(some) for rule, some in found.items()}
    scored = ~np.any([np.isnan(auc).any(axis=1) for auc in curves.values()], axis=0)
    return {rule: auc[scored] for rule, auc in curves.items()}


def answers_needed(curve: np.ndarray, target: float) -> float:
    """Answers after which a curve reaches a value, by straight lines between two; ∞ if never.

    The curve is made monotone first: noise that lifts one point early must not count.
    """
    rising = np.minimum.accumulate(curve[::-1])[::-1]
    if rising[-1] < target:
        return float("inf")
    after = int(np.argmax(rising >= target))
    if after == 0:
        return 0.0
    low, high = rising[after - 1], rising[after]
    return after - 1 + float((target - low) / (high - low))


def gap(
    random: Float[np.ndarray, "user answers"],
    chosen: Float[np.ndarray, "user chosen_answers"],
    number: int,
) -> tuple[float, float, float]:
    """Random answers worth ``number`` chosen ones, with a bootstrap interval over people.

    Args:
        random: AUC of every person after 0, 1, … random answers.
        chosen: The same after chosen ones.
        number: Chosen answers.
    """
    rng = np.random.default_rng(0)
    draws = [np.arange(len(random)), *rng.integers(len(random), size=(1000, len(random)))]
    values = [answers_needed(random[d].mean(0), chosen[d].mean(0)[number]) for d in draws]
    low, high = np.quantile(values[1:], [0.025, 0.975], method="nearest")
    return values[0], float(low), float(high)


def run(config: Config) -> runs.Result:
    """Both curves and what the choice of questions is worth."""
    curves = curves_of(config)
    rows = [
        one
        for rule, auc in curves.items()
        for one in curve(
            *("pref", "attributes", "auc_user"),
            range(auc.shape[1]),
            interval_of("auc_user", auc),
            questions=rule,
        )
        if one["num_answers"] <= 20 or one["num_answers"] % 5 == 0
    ]
    lines = ["Simulated people. Random answers that are worth as much as chosen ones:"]
    for rule in config.rules:
        for number in config.gaps:
            worth = gap(curves["random"], curves[rule], number)
            value, low, high = (np.asarray(end) / number for end in worth)
            ratio = Interval(value, low, high, np.asarray(0))
            told = {"questions": rule, "num_answers": number}
            rows.append(row("pref", "attributes", "answers_ratio", ratio, **told))
            value, low, high = (float(end) for end in ratio[:3])
            lines.append(
                f"{number} {plots.label(rule)}: {worth[0]:.1f} random "
                f"(ratio {value:.2f} [{low:.2f}, {high:.2f}])"
            )
    return runs.Result(rows=rows, summary="\n".join(lines))


def plot(result: runs.Result) -> Figure:
    """AUC by number of answers, with the gap at the largest number drawn in."""
    figure = plots.learning_curves(result.table)
    *_, last = (row for row in result.rows if row["metric"] == "answers_ratio")
    number, worth = last["num_answers"], last["num_answers"] * last["value"]
    if np.isfinite(worth):
        at = {(one["metric"], one["questions"], one["num_answers"]): one for one in result.rows}
        height = at["auc_user", last["questions"], number]["value"]
        axes = figure.axes[0]
        axes.annotate(
            "", (worth, height), (number, height), arrowprops={"arrowstyle": "<->", "lw": 0.8}
        )
        axes.annotate(f"× {last['value']:.1f}", (worth, height), fontsize=7, va="bottom")
    return figure


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
