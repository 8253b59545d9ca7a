"""PReF beside VPL and PAL after 5, 10 and 20 answers: Table 1 of the paper.

    python -m experiments.table1 smoke     # two seeds
    python -m experiments.table1 paper     # ten seeds

New people of the Attributes world (simulated people, real differences in text) answer random
questions and are scored on prompts that nobody saw. Settings are chosen among at most eight on
held-out training people, for every method alike. Published, with answers, people and texts from a
large language model (its caption says win rate, its text AUC; in percent, ± 1.6 to 2.2):

    PReF 77 / 83 / 85        VPL 78 / 80 / 80        PAL 56 / 59 / 61

Expected (paper, 4 minutes of one core), AUC: PReF .658 / .701 / .740, as published .653 / .696 /
.737, PAL-A .631 / .667 / .694, PAL-B .585 / .621 / .643, VPL .598 / .610 / .621, each ± .02, and
.518 for everybody alike. The world differs, so the order and the growth with answers can be
compared, the level cannot.
"""

from dataclasses import dataclass, field

from matplotlib.figure import Figure

from prefjax.data.attributes import WorldConfig
from prefjax.lab import compare, plots, runs


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        families: Methods, the first of them against the others.
        num_seeds: Worlds.
        num_answers: After how many answers.
        world: Size and noise of a world.
    """

    families: tuple[str, ...] = ("pref", "pref-map", "vpl", "pal-a", "pal-b", "bradley-terry")
    num_seeds: int = 10
    num_answers: tuple[int, ...] = (5, 10, 20)
    world: WorldConfig = field(default_factory=WorldConfig)


PRESETS = {"smoke": Config(families=("pref-map", "pal-a"), num_seeds=2), "paper": Config()}


def run(config: Config) -> runs.Result:
    """The table, with intervals over people."""
    seeds = range(config.num_seeds)
    sources = [compare.attributes("hashed", seed, config.world) for seed in seeds]
    numbers = (0, *config.num_answers)
    cells = compare.run_families(config.families, sources, seeds, numbers, dataset="attributes")
    rows = [
        row for row in compare.tidy_rows(cells, numbers) if row["metric"] in ("auc_user", "nll")
    ]
    told = [row for row in rows if row["num_answers"] > 0]
    table = plots.make_table(runs.tidy(told))
    return runs.Result(rows=rows, summary=f"{table}\n\nThe people are simulated.")


def plot(result: runs.Result) -> Figure:
    """AUC against the number of answers."""
    return plots.learning_curves(result.table)


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
