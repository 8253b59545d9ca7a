"""How many directions do people differ in? The singular values of Fig. 9 of the paper.

    python -m experiments.fig9_scree smoke     # Attributes
    python -m experiments.fig9_scree paper     # Attributes, Polis, DICES-350

Singular values of what people do that the shared utility does not explain, beside those of the same
rows dealt out to random people: what stands above the null is personal. For Attributes the inputs
are the principal components of texts, for the real sets the items themselves. Published: an elbow
at about 6. Data below ``PREFJAX_DATA`` for the real sets.

Expected on Attributes: 5.7 3.4 2.9 2.4 2.0 1.7, then 1.1 1.1 …, an elbow after 6; 16 values stand
above the null, 20 of Polis (all that are kept, with no elbow after the third) and 6 of DICES-350.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from prefjax.data import load_split
from prefjax.lab import compare, plots, row, runs
from prefjax.lab.compare.represent import residual_matrix
from prefjax.types import Comparisons


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        datasets: Names.
        num_values: Singular values kept.
        num_nulls: Shuffles of the people.
    """

    datasets: tuple[str, ...] = ("attributes", "polis_bowling_green", "dices350")
    num_values: int = 20
    num_nulls: int = 5


PRESETS = {"smoke": Config(datasets=("attributes",), num_nulls=2), "paper": Config()}


def spectrum(
    rows: Comparisons, num_users: int, num_responses: int, embeddings: np.ndarray | None
) -> np.ndarray:
    """Singular values, each row of the matrix divided by the root of the person's number of rows.

    So scaled, noise gives every person a row of the same expected length.
    """
    matrix, _ = residual_matrix(rows, num_users, num_responses)
    count = np.maximum(np.bincount(rows.user, minlength=num_users), 1)
    dense = matrix.toarray() / np.sqrt(count)[:, None]
    if embeddings is not None:
        dense = dense @ embeddings
    return np.linalg.svd(dense, compute_uv=False)


def run(config: Config) -> runs.Result:
    """The spectrum of every set and of its nulls."""
    rows, arrays, lines = [], {}, []
    for name in config.datasets:
        if name == "attributes":
            draw = compare.attributes("hashed", 0).draw
            split, seen = draw.split, draw.embeddings
            num_responses = len(np.asarray(seen))
        else:
            dataset, split = load_split(name)
            num_responses, seen = dataset.num_responses, None
        train, num_users = split.train, len(split.known_users)
        values = spectrum(train, num_users, num_responses, seen)[: config.num_values]
        rng = np.random.default_rng(0)
        nulls = np.stack(
            [
                spectrum(
                    train._replace(user=rng.permutation(train.user)), num_users, num_responses, seen
                )[: config.num_values]
                for _ in range(config.num_nulls)
            ]
        )
        above = int(np.argmin(np.append(values > nulls.max(axis=0), False)))
        arrays |= {f"{name}_values": values, f"{name}_null": nulls.mean(axis=0)}
        lines.append(
            f"{name}: {above} singular values in a row above those of shuffled people; the first "
            f"eight {np.array2string(values[:8], precision=2)}, of the null "
            f"{np.array2string(nulls.mean(axis=0)[:8], precision=2)}"
        )
        rows += [
            row("spectrum", name, "singular_value", value, control=control, num_factors=place)
            for control, line in ((None, values), ("shuffled-users", nulls.mean(axis=0)))
            for place, value in enumerate(line, start=1)
        ]
        rows.append(row("spectrum", name, "above_null", above))
    return runs.Result(rows=rows, arrays=arrays, summary="\n".join(lines))


def plot(result: runs.Result) -> Figure:
    """The spectrum of the first set, with the number of values above the null marked."""
    name = result.rows[0]["dataset"]
    above = next(one["value"] for one in result.rows if one["metric"] == "above_null")
    figure = plots.scree(result.arrays[f"{name}_values"], chosen=int(above) or None)
    null = result.arrays[f"{name}_null"]
    figure.axes[0].plot(np.arange(1, len(null) + 1), null, color="#999999", linestyle=":")
    return figure


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
