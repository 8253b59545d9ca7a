"""Does more data, or a larger encoder, help? Fig. 4 of the paper.

    python -m experiments.fig4_size smoke     # one encoder, two seeds
    python -m experiments.fig4_size paper     # three sizes of the hashed encoder, three seeds

New people of the Attributes world (simulated people, real differences in text) after 20 random
answers, for parts of the training rows and encoders of several sizes. The size of an encoder is the
number of principal components that are kept of the hashed embedding; ``--encoders`` takes names of
language models as well. Published: both help, data more.

Expected (paper, 6 minutes of one core), AUC ± .035, parts .05, .1, .25, .5, 1 of the rows: 8
components .513 .553 .640 .677 .677; 24 components .604 .581 .710 .732 .732; 64 components .548 .591
.725 .738 .734. Both help, and half of the rows is enough for this world.
"""

from dataclasses import dataclass, field

import jax
import numpy as np
from matplotlib.figure import Figure

from prefjax import metrics
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
    return source._replace(draw=draw._replace(split=split, embeddings=draw.embeddings[:, :width]))


def run(config: Config) -> runs.Result:
    """AUC by size of the training set and of the encoder, with intervals over people."""
    family, numbers = get_family(config.family), (config.num_answers,)
    fit, _ = compare.programs(family, numbers, False)
    rows, lines = [], ["| encoder | components | part of the rows | AUC |", "|---" * 4 + "|"]
    for encoder in config.encoders:
        seeds = range(config.num_seeds)
        sources = [compare.attributes(encoder, seed, config.world) for seed in seeds]
        for width in config.widths:
            for part in config.parts:
                some = [reduced(s, part, width, n) for n, s in enumerate(sources)]
                people = []
                # The inner draw is not used: it takes the place of the outer one.
                some = [s._replace(inner=s.draw) for s in some]
                for seed, case in zip(seeds, compare.make_cases(some, list(seeds)), strict=True):
                    params = fit(jax.random.key(seed), case.outer.data, family.config)
                    scores = compare.scores_of(
                        family, params, family.config, case.outer, case.num_new, numbers
                    )
                    people.append(scores.auc[0])
                value, low, high, _ = metrics.mean_interval(np.concatenate(people))
                rows.append(
                    {
                        "method": f"{encoder}, {width} components",
                        "dataset": "attributes",
                        "num_answers": config.num_answers,
                        "part": part,
                        "metric": "auc_user",
                        "value": value,
                        "low": low,
                        "high": high,
                    }
                )
                lines.append(f"| {encoder} | {width} | {part} | {value:.3f} ± {high - value:.3f} |")
    lines.append(f"\nAfter {config.num_answers} answers; the people are simulated.")
    return runs.Result(rows=rows, summary="\n".join(lines))


def plot(result: runs.Result) -> Figure:
    """AUC against the part of the training rows, a line an encoder."""
    return plots.lines(result.table, x="part", xlabel="part of the training rows", log=True)


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
