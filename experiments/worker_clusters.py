"""Do workers fall into groups, and does a reward for each group help everybody? arXiv 2601.20760.

    python -m experiments.worker_clusters smoke     # one world of two groups
    python -m experiments.worker_clusters paper     # one, two and three groups, five worlds each

Expected (paper, 40 seconds of one core): with one, two, three planted groups as many are found,
adjusted Rand 1, 1, .995. The reward of a group − one reward is +.000 [+.000, +.001], +.130 [+.121,
+.138], +.103 [+.092, +.114], of the smallest group +.000, +.122 [+.111, +.132], +.104 [+.087,
+.120]: nobody is harmed. With worker ids permuted one group is found, and +.000.

Planted worlds of simulated people over Gaussian embeddings, in which groups want opposite or
unrelated things or, with one group, nobody differs. Reported: how many groups are found, their
adjusted Rand index with the planted ones, the index of two seeds of the fit with each other; AUC of
new people under the reward of their group − under one reward for everybody; the same for the
smallest planted group, whom the grouping may harm; and all of it with worker ids permuted, the
null. Published on TL;DR, without an interval: 53.2 / 52.7 against 52.1 %. That set needs the hub
(`prefjax.data.sets.tldr`); ``--folder`` reads it where it lies on disk.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from prefjax import metrics
from prefjax.data import tldr
from prefjax.families import get_family
from prefjax.families.worker_map import adjusted_rand, heat_map, t_sne
from prefjax.lab import compare, plots, runs
from prefjax.lab.compare._measure import Cases
from prefjax.lab.compare.sources import real


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        groups: Numbers of planted groups; 1 for people who are all alike.
        num_seeds: Worlds of each kind.
        people: People of a world.
        rows: Answers of each.
        shared: Length of what everybody shares, beside 1 for a group.
        num_answers: Answers of a new person.
        folder: Of TL;DR, or None.
    """

    groups: tuple[int, ...] = (1, 2, 3)
    num_seeds: int = 5
    people: int = 150
    rows: int = 60
    shared: float = 1.0
    num_answers: int = 20
    folder: Path | None = None


PRESETS = {"smoke": Config(groups=(2,), num_seeds=1, people=80), "paper": Config()}


def look(seed: int, cases: Cases, config: Config) -> dict:
    """The groups of one draw, the null beside, and what they bring to new people."""
    numbers = (config.num_answers,)
    clusters, one = get_family("clusters"), get_family("bradley-terry")
    fit, _ = compare.programs(clusters, numbers, False)
    fit_one, _ = compare.programs(one, numbers, False)
    found = {}
    for kind, case in (("", cases.outer), ("shuffled-users", cases.shuffled_users)):
        params, again = (
            fit(jax.random.key(n), case.data, clusters.config) for n in (seed, seed + 1000)
        )
        single = fit_one(jax.random.key(seed), case.data, one.config)
        grouped, shared = (
            compare.scores_of(family, fitted, family.config, case, cases.num_new, numbers).auc[0]
            for family, fitted in ((clusters, params), (one, single))
        )
        found[kind] = {
            "num_clusters": int(params.num_clusters),
            "cluster": np.asarray(params.cluster),
            "code": np.asarray(params.code),
            "seeds_agree": adjusted_rand(params.cluster, again.cluster),
            "gain": grouped - shared,
        }
    return found


def run(config: Config) -> runs.Result:
    """Groups found, agreement, gain and harm of every kind of world."""
    worlds = {}
    for groups in config.groups:
        planted = compare.PlantedConfig(
            num_users=config.people,
            rows_per_user=config.rows,
            shared=config.shared,
            num_groups=groups,
        )
        worlds[f"planted, {groups} groups"] = [
            compare.make_planted(planted, seed) for seed in range(config.num_seeds)
        ]
    rows, lines, arrays = [], [], {}
    for name, made in worlds.items():
        seeds = list(range(len(made)))
        all_cases = compare.make_cases([world.source for world in made], seeds)
        looks = [look(n, cases, config) for n, cases in zip(seeds, all_cases, strict=True)]
        rand, groups_of_new = [], []
        for world, found in zip(made, looks, strict=True):
            cluster = found[""]["cluster"][: len(world.source.draw.split.known_users)]
            rand.append(adjusted_rand(cluster, world.group[~world.is_new]))
            groups_of_new.append(world.group[world.is_new])
        summary, measured = describe(name, looks, rand, groups_of_new)
        lines.append(summary)
        rows += measured
        code = looks[0][""]["code"][: len(made[0].source.draw.split.known_users)]
        cluster = looks[0][""]["cluster"][: len(code)]
        arrays = {
            "t_sne": t_sne(code),
            "cluster": cluster,
            "cosine": heat_map(code, cluster).cosine,
        }
    if config.folder is not None:
        source = real(tldr.SET, "hashed", 0, config.folder)
        found = look(0, compare.make_cases([source], [0])[0], config)
        summary, measured = describe("tldr", [found], [], [])
        lines.append(summary)
        rows += measured
    lines.append("\nAll people but those of tldr are simulated.")
    return runs.Result(rows=rows, arrays=arrays, summary="\n".join(lines))


def describe(name: str, looks: list[dict], rand: list[float], groups: list[np.ndarray]):
    """One line and tidy rows of one kind of world."""
    rows, parts = [], [name + ":"]
    for kind in ("", "shuffled-users"):
        number = [found[kind]["num_clusters"] for found in looks]
        gain = metrics.mean_interval(np.concatenate([found[kind]["gain"] for found in looks]))
        measures = {
            "num_clusters": (np.mean(number), None, None),
            "seeds_agree": (np.mean([found[kind]["seeds_agree"] for found in looks]), None, None),
            "minus_bradley_terry": tuple(float(end) for end in gain[:3]),
        }
        if kind == "" and rand:
            measures["adjusted_rand"] = (np.mean(rand), None, None)
            smallest = np.concatenate(
                [
                    found[""]["gain"][group == np.argmin(np.bincount(group))]
                    for found, group in zip(looks, groups, strict=True)
                ]
            )
            measures["minority_gain"] = tuple(
                float(end) for end in metrics.mean_interval(smallest)[:3]
            )
        rows += [
            {
                "method": "clusters",
                "dataset": name,
                "control": kind or None,
                "metric": metric,
                "value": value,
                "low": low,
                "high": high,
            }
            for metric, (value, low, high) in measures.items()
        ]
        shown = ", ".join(
            f"{metric} {value:.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}]")
            for metric, (value, low, high) in measures.items()
        )
        parts.append(f"{kind or 'found'}: {shown}")
    return "\n  ".join(parts), rows


def plot(result: runs.Result) -> Figure:
    """The people of the last kind of world on a plane, and their cosines."""
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(5.6, 2.6), layout="constrained")
        plane, heat = figure.subplots(1, 2)
        place = result.arrays["t_sne"]
        plane.scatter(*place.T, c=result.arrays["cluster"], cmap="tab10", vmax=9, s=9)
        plane.set(xticks=[], yticks=[], title="workers, t-SNE of their codes")
        image = heat.imshow(result.arrays["cosine"], cmap="RdBu_r", vmin=-1, vmax=1)
        heat.set(xticks=[], yticks=[], title="cosine, by group")
        figure.colorbar(image, ax=heat, shrink=0.8)
    return figure


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
