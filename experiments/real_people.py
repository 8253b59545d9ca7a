"""Do a few answers of a real person tell what else that person prefers?

    python -m experiments.real_people smoke     # Polis and DICES-350, one draw
    python -m experiments.real_people paper     # five sets of people, two draws

About one minute a draw on two cores. Expected with two draws, ``pref`` and population after 20
answers: Polis .814/.746, Jester .703/.684, DICES-350 .830/.827; on Value Portrait (.690/.690) and
UKPConvArg (.869/.869) nothing personal carries over to other prompts, and the fit learns that.

Reads the sets below ``PREFJAX_DATA``. For each draw some people are new: the others train, each new
person answers questions about one part of the items and is scored on the other part, by the AUC of
that person's own comparisons. Side by side, on the same rows:

    population     one reward for everybody, no answers used
    per-user       ridge logistic regression on text embeddings from the person's answers alone
    pref-map       PReF as published: joint MAP of people and items, zero-mean ridge for the new one
    pref           the default: users integrated out, learned penalties, population prior

with the controls ``wrong-user`` (another new person's weights) and ``shuffled-users`` (training
answers dealt out to random people, so that there is nothing personal to learn). Questions are
``random``, or for ``pref`` also ``d_optimal`` among what the person did answer. For PReF an item
is which one it is (free factors); ``per-user`` sees its text, the population text and item.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from experiments.quickstart import CONTROLS, NAMES, RULES
from prefjax.data import SETS
from prefjax.lab import compare, plots, runs, show


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        datasets: Names of data sets.
        seeds: Draws of people, items and pairs.
        encoder: What reads the texts, a name for `get_encoder`.
        num_factors: J of both fits.
        num_answers: Where the curves are read off.
        num_inputs: Principal components of the text embedding that ``per-user`` sees.
    """

    datasets: tuple[str, ...] = (
        "polis_bowling_green",
        "jester5k",
        "dices350",
        "value_portrait",
        "ukpconvarg",
    )
    seeds: tuple[int, ...] = (0, 1)
    encoder: str = "hashed"
    num_factors: int = 8
    num_answers: tuple[int, ...] = (0, 1, 3, 5, 10, 20, 40)
    num_inputs: int = 48


PRESETS = {
    "smoke": Config(datasets=("polis_bowling_green", "dices350"), seeds=(0,)),
    "paper": Config(),
}


def text_source(name: str, seed: int, config: Config) -> compare.Source:
    """A set as ``per-user`` sees it: text alone."""
    sizes = {"view": "text", "num_inputs": config.num_inputs}
    return compare.real(SETS[name], config.encoder, seed, **sizes)


def cells_of(name: str, config: Config) -> list[compare.Cell]:
    """Every method on every draw of a set."""
    record, seeds = SETS[name], config.seeds

    def run_on(families: Sequence, sources: Sequence[compare.Source], **more) -> list[compare.Cell]:
        numbers = config.num_answers
        return compare.run_families(families, sources, seeds, numbers, dataset=name, **more)

    free = [compare.real(record, "", seed, view="free") for seed in seeds]
    pref, pref_map = (compare.with_factors(one, config.num_factors) for one in ("pref", "pref-map"))
    return [
        *run_on(["bradley-terry"], [compare.real(record, config.encoder, s) for s in seeds]),
        *run_on([pref], free, controls=CONTROLS, questions=RULES),
        *run_on([pref_map], free),
        *run_on(["per-user"], [text_source(name, seed, config) for seed in seeds]),
    ]


def run(config: Config) -> runs.Result:
    """All curves on all sets and draws."""
    cells = [cell for name in config.datasets for cell in cells_of(name, config)]
    rows = [
        row | {"method": NAMES.get(row["method"], row["method"])}
        for row in compare.tidy_rows(cells, config.num_answers)
    ]
    for row in rows:
        if row["method"] == "population":
            row["questions"] = None
    lines = [
        f"{row['dataset']}: {row['control'] or row['method']} − population after 20 answers "
        f"{show(row, '+')}"
        for row in rows
        if (row["metric"], row["num_answers"], row["questions"])
        == ("minus_bradley_terry", 20, "random")
    ]
    logged = [
        {"dataset": cell.dataset, "seed": cell.seed, "method": cell.method, **cell.about}
        for cell in cells
    ]
    tables = plots.make_table(runs.tidy(rows))
    return runs.Result(rows=rows, summary="\n".join([tables, "", *lines]), metrics=logged)


def plot(result: runs.Result) -> Figure:
    """AUC against the number of answers, one panel for each set of people."""
    return plots.learning_curves(result.table, panel="dataset")


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
