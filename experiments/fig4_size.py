"""Does more data, or a larger encoder, help? Fig. 4 of the paper.

    python -m experiments.fig4_size smoke     # one encoder, two seeds
    python -m experiments.fig4_size paper     # three sizes of the hashed encoder, three seeds

New people of the Attributes world (simulated people, real differences in text) after 20 random
answers, for parts of the training rows and encoders of several sizes. The size of an encoder is the
number of principal components that are kept of the hashed embedding. ``--encoders A B`` compares
any encoders by name instead, of 64 components each, for instance two language models of different
size (``--encoders lm:SMALL lm:LARGE --widths 64``): that was not run, since only one language model
can be had from a package. Published: both help, data more.

Expected (paper, 6 minutes of one core), AUC ± .035, parts .05, .1, .25, .5, 1 of the rows: 8
components .513 .553 .640 .677 .677; 24 components .604 .581 .710 .732 .732; 64 components .548 .591
.725 .738 .734. Both help, and half of the rows is enough for this world.
"""

from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure

from prefjax.data.attributes import WorldConfig
from prefjax.families import get_family
from prefjax.lab import compare, plots, runs


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        parts: Parts of the training rows of every person.
        widths: Components of the embedding that are kept, at most 64.
        encoders: Names for `get_encoder`.
        family: Method.
        num_seeds: Worlds.
        num_answers: Answers of a new person.
        world: Size and noise of a world.
    """

    parts: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 1.0)
    widths: tuple[int, ...] = (8, 24, 64)
    encoders: tuple[str, ...] = ("hashed",)
    family: str = "pref"
    num_seeds: int = 3
    num_answers: int = 20
    world: WorldConfig = field(default_factory=WorldConfig)


PRESETS = {
    "smoke": Config(parts=(0.1, 1.0), widths=(64,), family="pref-map", num_seeds=2),
    "paper": Config(),
}


def reduced(source: compare.Source, part: float, width: int, seed: int) -> compare.Source:
    """Some of the training rows keep their weight, and the first components stay."""
    draw = source.draw
    kept = np.random.default_rng(seed).random(len(draw.split.train.user)) < part
    train = draw.split.train
    weight = np.where(kept, train.sample_weight, 0.0).astype(np.float32)
    split = draw.split._replace(train=train._replace(sample_weight=weight))
    draw = draw._replace(split=split)
    # Nothing is chosen on the inner draw: the outer one takes its place.
    return compare.narrowed(source._replace(draw=draw, inner=draw), width)


def run(config: Config) -> runs.Result:
    """AUC by size of the training set and of the encoder, with intervals over people."""
    family, numbers = compare.as_given(get_family(config.family)), (config.num_answers,)
    rows, lines = [], ["| encoder | components | part of the rows | AUC |", "|---" * 4 + "|"]
    kinds = [(part, seed) for part in config.parts for seed in range(config.num_seeds)]
    for encoder in config.encoders:
        whole = [compare.attributes(encoder, s, config.world) for s in range(config.num_seeds)]
        for width in config.widths:
            sources = [reduced(whole[seed], part, width, seed) for part, seed in kinds]
            seeds = [seed for _, seed in kinds]
            cells = compare.run_families([family], sources, seeds, numbers, dataset="attributes")
            for part in config.parts:
                some = [c for c, kind in zip(cells, kinds, strict=True) if kind[0] == part]
                (found,) = (
                    row for row in compare.tidy_rows(some, numbers) if row["metric"] == "auc_user"
                )
                name = f"{encoder}, {width} components"
                rows.append({**found, "method": name, "encoder": encoder, "part": part})
                value, half = found["value"], found["high"] - found["value"]
                lines.append(f"| {encoder} | {width} | {part} | {value:.3f} ± {half:.3f} |")
    lines.append(f"\nAfter {config.num_answers} answers; the people are simulated.")
    return runs.Result(rows=rows, summary="\n".join(lines))


def plot(result: runs.Result) -> Figure:
    """AUC against the part of the training rows, a line an encoder."""
    return plots.lines(result.table, x="part", xlabel="part of the training rows", log=True)


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
