"""How does quality grow with the answers of a new person? Fig. 2 (top) of the paper.

    python -m experiments.fig2_auc smoke     # Attributes, two seeds
    python -m experiments.fig2_auc paper     # Attributes, five seeds, and a world of PRISM's shape

Two sets of simulated people. ``attributes`` has real differences in text. ``prism-shaped`` has the
shape of the paper's PRISM experiment, 1,500 people and 2,262 prompts with 50 responses each, over
Gaussian embeddings with six planted base rewards and much that everybody shares; its texts do not
exist. Published: personal − classic RLHF is + .10 to + .15 AUC below ten answers on both.

Expected (paper, 3 minutes of one core), AUC after 5, 10, 20, 40 answers: ``attributes`` PReF .658
.706 .740 .767, per-user .619 .660 .701 .733, one model for all .505, PReF − that after 10 answers
+.201 [+.163, +.239]; ``prism-shaped`` PReF .801 .817 .841 .862, per-user .565 .593 .635 .683, one
model for all .774, PReF − that +.044 [+.037, +.050].
"""

from dataclasses import dataclass

from matplotlib.figure import Figure

from prefjax.lab import compare, plots, runs, show

PRISM_SHAPED = compare.PlantedConfig(
    num_users=1500,
    num_prompts=2262,
    responses_per_prompt=50,
    num_inputs=64,
    rows_per_user=40,
    tests_per_user=40,
    shared=1.0,
)


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        families: Methods.
        num_seeds: Worlds of Attributes.
        planted_seeds: Worlds of PRISM's shape.
        num_answers: Where the curves are read off.
        planted: The world of PRISM's shape.
    """

    families: tuple[str, ...] = ("bradley-terry", "per-user", "pref", "pref-map")
    num_seeds: int = 5
    planted_seeds: int = 1
    num_answers: tuple[int, ...] = (0, 1, 3, 5, 10, 20, 40)
    planted: compare.PlantedConfig = PRISM_SHAPED


PRESETS = {
    "smoke": Config(families=("bradley-terry", "pref-map"), num_seeds=2, planted_seeds=0),
    "paper": Config(),
}

LINES = {("minus_bradley_terry", number) for number in (5, 10)}


def run(config: Config) -> runs.Result:
    """Curves on both worlds, with intervals over people."""
    worlds = {
        "attributes": [compare.attributes("hashed", seed) for seed in range(config.num_seeds)],
        "prism-shaped": [
            compare.make_planted(config.planted, seed).source
            for seed in range(config.planted_seeds)
        ],
    }
    cells = [
        cell
        for name, sources in worlds.items()
        if sources
        for cell in compare.run_families(
            config.families, sources, range(len(sources)), config.num_answers, dataset=name
        )
    ]
    rows = compare.tidy_rows(cells, config.num_answers)
    lines = [
        f"{row['dataset']}: {row['method']} − Bradley–Terry after {row['num_answers']} answers "
        + show(row, "+")
        for row in rows
        if (row["metric"], row["num_answers"]) in LINES and row["method"] != "bradley-terry"
    ]
    table = plots.make_table(runs.tidy(rows))
    return runs.Result(rows=rows, summary="\n".join([table, "", *lines, "People are simulated."]))


def plot(result: runs.Result) -> Figure:
    """AUC against the number of answers, one panel a world."""
    return plots.learning_curves(result.table)


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
