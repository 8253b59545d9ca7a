"""How many directions do people differ in? The singular values of Fig. 9 of the paper.

    python -m experiments.fig9_scree smoke     # Attributes
    python -m experiments.fig9_scree paper     # Attributes, Polis, DICES-350

Singular values of what people do that the shared utility does not explain, beside the bar that
they must pass to be told from noise: parallel analysis with `prefjax.basis.choose_num_factors`, as
``prefjax.fit(num_factors="auto")`` has it. For Attributes the inputs are the principal components
of texts, or the seven attributes themselves, for the real sets the items. Published: an elbow at
about 6. Data below ``PREFJAX_DATA`` for the real sets.

Expected on Attributes: 6.3 3.7 3.2 2.7 2.3 1.8, then 1.2 under a bar of 1.45, six of the seven
attributes from texts; 9.2 … 5.5 over a bar of 2.7 … 2.1, all seven, where they are the inputs.
"""

from dataclasses import dataclass

import jax
import numpy as np
from matplotlib.figure import Figure

from prefjax.basis import Problem, choose_num_factors, make_problem
from prefjax.data import load_split
from prefjax.data.attributes import WorldConfig, make_world
from prefjax.lab import compare, plots, row, runs


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        datasets: Names.
        num_values: Singular values kept.
        num_nulls: Shuffles of the people.
    """

    datasets: tuple[str, ...] = (
        "attributes",
        "attributes-measured",
        "polis_bowling_green",
        "dices350",
    )
    num_values: int = 20
    num_nulls: int = 20


PRESETS = {"smoke": Config(datasets=("attributes",)), "paper": Config()}


def load(name: str) -> Problem:
    """Training rows of a set; of the simulated one also with what the judge measures as inputs."""
    if name.startswith("attributes"):
        draw = compare.attributes("hashed", 0).draw
        measured = make_world(WorldConfig(), 0).attributes
        seen = measured if name.endswith("measured") else draw.embeddings
        return make_problem(draw.split.train, seen, num_users=len(draw.split.known_users))
    dataset, split = load_split(name)
    known, items = len(split.known_users), dataset.num_responses
    return make_problem(split.train, None, num_users=known, num_responses=items)


def run(config: Config) -> runs.Result:
    """The spectrum of every set and its bar."""
    rows, arrays, lines = [], {}, []
    for name in config.datasets:
        found = choose_num_factors(
            jax.random.key(0), load(name), num_nulls=config.num_nulls, most=config.num_values
        )
        arrays |= {f"{name}_values": found.values, f"{name}_bar": found.bar}
        lines.append(
            f"{name}: {found.chosen} singular values in a row above noise; the first nine "
            f"{np.array2string(found.values[:9], precision=2)}, the bar "
            f"{np.array2string(found.bar[:9], precision=2)}"
        )
        spectra = ((None, found.values), ("shuffled-users", found.bar))
        rows += [
            row("spectrum", name, "singular_value", value, control=control, num_factors=place)
            for control, line in spectra
            for place, value in enumerate(line, start=1)
            if np.isfinite(value)
        ]
        rows.append(row("spectrum", name, "above_null", found.chosen))
    return runs.Result(rows=rows, arrays=arrays, summary="\n".join(lines))


def plot(result: runs.Result) -> Figure:
    """The spectrum of the first set, with the number of values above the null marked."""
    name = result.rows[0]["dataset"]
    above = next(one["value"] for one in result.rows if one["metric"] == "above_null")
    figure = plots.scree(result.arrays[f"{name}_values"], chosen=int(above) or None)
    bar = result.arrays[f"{name}_bar"]
    figure.axes[0].plot(np.arange(1, len(bar) + 1), bar, color="#999999", linestyle=":")
    return figure


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
