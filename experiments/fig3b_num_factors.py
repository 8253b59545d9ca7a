"""How many base rewards are needed? Fig. 3B of the paper.

    python -m experiments.fig3b_num_factors smoke     # two seeds
    python -m experiments.fig3b_num_factors paper     # five seeds

New people of the Attributes world (simulated people who care for two of seven attributes, real
differences in text) after 5, 10 and 20 random answers, with J = 1 … 16 base rewards, by the default
and by the published fit. Published: no gain beyond J = 6.

Expected (paper, 5 minutes of one core), AUC after 20 answers with J = 1, 2, 4, 6, 8, 12, 16, ±
.03: the default .586 .633 .697 .738 .748 .746 .746, as published .581 .626 .691 .729 .737 .733
.730. There is no gain beyond 8, one more than the world's seven attributes, and the default loses
nothing with too many.
"""

from dataclasses import dataclass, field

from matplotlib.figure import Figure

from prefjax.data.attributes import WorldConfig
from prefjax.lab import compare, plots, runs


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        factors: Candidates for J.
        families: Methods, among ``pref`` and ``pref-map``.
        num_seeds: Worlds.
        num_answers: After how many answers; the largest is drawn.
        world: Size and noise of a world.
    """

    factors: tuple[int, ...] = (1, 2, 4, 6, 8, 12, 16)
    families: tuple[str, ...] = ("pref", "pref-map")
    num_seeds: int = 5
    num_answers: tuple[int, ...] = (5, 10, 20)
    world: WorldConfig = field(default_factory=WorldConfig)


PRESETS = {
    "smoke": Config(factors=(1, 2, 6), families=("pref-map",), num_seeds=2),
    "paper": Config(),
}
PENALTIES = {"penalty": 1.0, "utility_penalty": 1.0}
"""Penalties of the published fit, the same for every J; chosen on no test row."""


def run(config: Config) -> runs.Result:
    """AUC by J, with intervals over people."""
    seeds = range(config.num_seeds)
    sources = [compare.attributes("hashed", seed, config.world) for seed in seeds]
    numbers = config.num_answers
    rows, lines = [], ["| method | J | " + " | ".join(map(str, numbers)) + " |"]
    lines.append("|---" * (len(numbers) + 2) + "|")
    for name in config.families:
        for num_factors in config.factors:
            settings = PENALTIES if name == "pref-map" else {}
            family = [compare.with_factors(name, num_factors, **settings)]
            cells = compare.run_families(family, sources, seeds, numbers, dataset="attributes")
            some = [
                row | {"num_factors": num_factors}
                for row in compare.tidy_rows(cells, numbers)
                if row["metric"] == "auc_user"
            ]
            rows += some
            shown = (f"{row['value']:.3f} ± {row['high'] - row['value']:.3f}" for row in some)
            lines.append(f"| {name} | {num_factors} | " + " | ".join(shown) + " |")
    lines.append("\nAUC by number of answers; the people are simulated.")
    return runs.Result(rows=rows, summary="\n".join(lines))


def plot(result: runs.Result) -> Figure:
    """AUC against J after the largest number of answers."""
    most = max(row["num_answers"] for row in result.rows)
    table = runs.tidy([row for row in result.rows if row["num_answers"] == most])
    return plots.lines(table, x="num_factors", xlabel="base rewards J")


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
