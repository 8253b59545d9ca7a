"""Do workers fall into groups, and does a reward for each group help everybody? arXiv 2601.20760.

    python -m experiments.worker_clusters smoke     # one world of two groups
    python -m experiments.worker_clusters paper     # one, two and three groups, five worlds each

Expected (paper, 40 seconds of one core): with one, two, three planted groups as many are found,
adjusted Rand 1, 1, .995. The reward of a group − one reward is +.000 [+.000, +.001], +.129 [+.121,
+.138], +.103 [+.092, +.113], of the smallest group +.000, +.122 [+.111, +.132], +.103 [+.087,
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
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from prefjax.data import tldr
from prefjax.families import Family, get_family
from prefjax.families.worker_map import adjusted_rand, heat_map, t_sne
from prefjax.lab import compare, interval_of, plots, row, runs, show


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
        folder: Where TL;DR lies on disk; None leaves it out.
    """

    groups: tuple[int, ...] = (1, 2, 3)
    num_seeds: int = 5
    people: int = 150
    rows: int = 60
    shared: float = 1.0
    num_answers: int = 20
    folder: Path | None = None


PRESETS = {"smoke": Config(groups=(2,), num_seeds=1, people=80), "paper": Config()}


def look(seed: int, cases: compare.Cases, config: Config) -> dict[str, dict[str, Any]]:
    """The groups of one draw, the null beside, and what they bring to new people."""
    numbers, names = (config.num_answers,), ("clusters", "bradley-terry")
    clusters, one = (compare.as_given(get_family(name)) for name in names)
    found = {}
    for kind, case in (("", cases.outer), *cases.nulls.items()):

        def auc(family: Family, params: Any, case: compare.Case = case) -> np.ndarray:
            states = compare.states_of(jax.random.key(seed), family, params, case, numbers)
            return compare.scores_of(family, params, states, case, numbers).auc[0]

        params, again = (
            compare.fit(jax.random.key(n), clusters, case.data) for n in (seed, seed + 1000)
        )
        single = compare.fit(jax.random.key(seed), one, case.data)
        found[kind] = {
            "num_clusters": int(params.num_clusters),
            "cluster": np.asarray(params.cluster),
            "code": np.asarray(params.code),
            "seeds_agree": adjusted_rand(params.cluster, again.cluster),
            "gain": auc(clusters, params) - auc(one, single),
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
    rows, lines, arrays, nulls = [], [], {}, ("shuffled-users",)
    for name, made in worlds.items():
        seeds = range(len(made))
        all_cases = compare.make_cases([world.source for world in made], seeds, nulls)
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
        source = compare.real(tldr.SET, "hashed", 0, config.folder)
        found = look(0, compare.make_cases([source], [0], nulls)[0], config)
        summary, measured = describe("tldr", [found], [], [])
        lines.append(summary)
        rows += measured
    lines.append("\nAll people but those of tldr are simulated.")
    return runs.Result(rows=rows, arrays=arrays, summary="\n".join(lines))


def describe(name: str, looks: list[dict], rand: list[float], groups: list[np.ndarray]):
    """One line and rows of one kind of world."""
    rows, parts = [], [name + ":"]
    for kind in ("", "shuffled-users"):
        some = [found[kind] for found in looks]
        gain = np.concatenate([found["gain"] for found in some])
        measures: dict[str, Any] = {
            "num_clusters": np.mean([found["num_clusters"] for found in some]),
            "seeds_agree": np.mean([found["seeds_agree"] for found in some]),
            "minus_bradley_terry": interval_of("minus_bradley_terry", gain),
        }
        if kind == "" and rand:
            smallest = [
                found["gain"][group == np.argmin(np.bincount(group))]
                for found, group in zip(some, groups, strict=True)
            ]
            measures["adjusted_rand"] = np.mean(rand)
            measures["minority_gain"] = interval_of("minority_gain", np.concatenate(smallest))
        these = [
            row("clusters", name, metric, value, control=kind or None)
            for metric, value in measures.items()
        ]
        rows += these
        shown = (
            f"{one['metric']} " + (f"{one['value']:.3f}" if one["low"] is None else show(one, "+"))
            for one in these
        )
        parts.append(f"{kind or 'found'}: {', '.join(shown)}")
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
