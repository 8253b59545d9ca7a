"""Published numbers beside ours, from the run folders: writes ``docs/results.md``.

    python -m experiments.report            # of runs/ and of PREFJAX_RUNS
    python -m experiments.report --output page.md --runs other/runs

For every published number the newest finished run of the experiment that answers it is looked up;
what was not run says so. Nothing is computed here and nothing is written by hand.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import tyro

from prefjax import metrics

OTHER_WORLD = "our Attributes world: other texts, simulated people, no language model as a judge"
PLANTED = "planted world: Gaussian embeddings instead of texts"
SMALL_ENCODER = "hashed n-grams instead of embeddings of a language model"
OTHER_PAIRS = "another draw of test pairs and another protocol"
NO_HUB = "needs data of the Hugging Face hub"
NEEDS_PEOPLE = "needs people, or a language model as a judge"


@dataclass(frozen=True)
class Published:
    """One published number and where ours comes from.

    Attributes:
        source: Paper, and table or figure.
        setting: What was measured.
        value: The number; None where it is no number.
        experiment: Module of ours, empty where there is none.
        row: Columns that the row of ours must have.
        why: Why the two are not the same thing; empty if they are.
        shown: How the published value is written, if not as a number.
    """

    source: str
    setting: str
    value: float | None
    experiment: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    shown: str = ""


def auc(experiment: str, method: str, dataset: str, answers: int) -> dict[str, Any]:
    """Where an AUC after some random answers lies."""
    return {
        "experiment": experiment,
        "row": {
            "method": method,
            "dataset": dataset,
            "num_answers": answers,
            "metric": "auc_user",
            "control": None,
            "questions": "random",
        },
    }


def table_one() -> list[Published]:
    """Table 1, from the comparison of all families; ``experiments.table1`` is that part alone."""
    values = {"pref": (77, 83, 85), "vpl": (78, 80, 80), "pal-a": (56, 59, 61)}
    return [
        Published(
            "2503.06358, Table 1",
            f"{method}, {answers} answers",
            value / 100,
            **auc("compare", method, "attributes", answers),
            why=OTHER_WORLD,
        )
        for method, line in values.items()
        for answers, value in zip((5, 10, 20), line, strict=True)
    ]


def figures() -> list[Published]:
    """Figures of the paper, and what needs people."""
    paper = "2503.06358, "
    return [
        *(
            Published(
                paper + "§5.1",
                f"personal − classic RLHF after {answers} answers, {dataset}",
                0.125,
                "fig2_auc",
                {
                    "method": "pref",
                    "dataset": dataset,
                    "num_answers": answers,
                    "metric": "minus_bradley_terry",
                    "control": None,
                },
                why,
                ".10 to .15",
            )
            for dataset, why in (("attributes", OTHER_WORLD), ("prism-shaped", PLANTED))
            for answers in (5, 10)
        ),
        Published(
            paper + "Fig. 3C",
            "random answers worth 15 chosen ones, ratio",
            2.7,
            "fig3c_active",
            {"metric": "answers_ratio", "num_answers": 15},
            OTHER_WORLD,
        ),
        *(
            Published(
                paper + "Fig. 3B",
                f"AUC after 20 answers with J = {factors}; no gain beyond 6",
                None,
                "fig3b_num_factors",
                {
                    "method": "pref",
                    "num_answers": 20,
                    "num_factors": factors,
                    "metric": "auc_user",
                },
                OTHER_WORLD,
                "no further gain",
            )
            for factors in (2, 6, 16)
        ),
        Published(
            paper + "Fig. 9",
            "elbow of the singular values; ours: values above shuffled people",
            6.0,
            "fig9_scree",
            {"dataset": "attributes", "metric": "above_null"},
            OTHER_WORLD,
        ),
        Published(
            paper + "Fig. 11",
            "answers of a per-user model for the AUC of PReF after ten, ratio",
            25.0,
            "fig11_per_user",
            {"metric": "answers_ratio"},
            PLANTED,
        ),
        Published(
            paper + "§5.2", "win rate among people, 15 + 15 questions", 0.67, why=NEEDS_PEOPLE
        ),
        Published(
            paper + "§5.3", "PRISM, win rate against a system prompt", 0.719, why=NEEDS_PEOPLE
        ),
        Published(
            "2601.20760",
            "TL;DR, two worker groups − one model, accuracy",
            0.008,
            "worker_clusters",
            {"dataset": "tldr", "metric": "minus_bradley_terry", "control": None},
            NO_HUB,
        ),
        Published(
            "a corrected fork of LoRe",
            "PRISM, ridge around the population, accuracy",
            0.6285,
            why=NO_HUB,
        ),
    ]


def real_people() -> list[Published]:
    """Factor analysis of all ratings, and the published personal models of UKPConvArg."""
    curves = {
        "jester5k": (0.672, 0.676, 0.682, 0.691, 0.702),
        "polis_bowling_green": (0.808, 0.858, 0.878, 0.881, 0.883),
        "dices350": (0.879, 0.884, 0.889, 0.893, 0.897),
    }
    found = [
        Published(
            "factor analysis of all ratings",
            f"{dataset}, {answers} answers, AUC",
            value,
            **auc("real_people", "pref", dataset, answers),
            why=OTHER_PAIRS,
        )
        for dataset, line in curves.items()
        for answers, value in zip((0, 5, 10, 20, 40), line, strict=True)
    ]
    models = {
        ("GPPL", "bradley-terry"): ((0.71, 0.56), (0.72, 0.55)),
        ("crowdGPPL", "pref"): ((0.72, 0.58), (0.74, 0.55)),
        ("TF-IDF logistic", "bradley-terry"): ((0.687, 0.599), (0.698, 0.578)),
    }
    for (name, method), parts in models.items():
        for who, pair in zip(("all", "over 50 pairs"), parts, strict=True):
            for metric, value in zip(("accuracy", "nll"), pair, strict=True):
                found.append(
                    Published(
                        "Simpson and Gurevych 2020",
                        f"UKPConvArg, {name}, workers: {who}, {metric}; ours {method}",
                        value,
                        "ukp_topics",
                        {"dataset": f"ukpconvarg, {who}", "method": method, "metric": metric},
                        SMALL_ENCODER,
                    )
                )
    return found


def newest(roots: list[Path], experiment: str) -> tuple[Path, list[dict]] | None:
    """Rows of the newest finished run that is no smoke run; of a smoke run if there is no other."""
    found = [
        folder
        for root in roots
        for folder in (root / experiment).glob("*")
        if (folder / "results.parquet").is_file()
    ]
    if not found:
        return None
    folder = max(found, key=lambda path: ("smoke" not in path.name, path.name))
    return folder, pq.read_table(folder / "results.parquet").to_pylist()


def ours(rows: list[dict], wanted: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Value with its interval; rows of single seeds are summed up over seeds."""
    hits = [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]
    if not hits:
        return None
    single = [row for row in hits if row["seed"] is None]
    if single:
        ends = (single[0][name] for name in ("value", "low", "high"))
        value, low, high = (np.nan if end is None else end for end in ends)
        return value, low, high
    value, low, high, _ = metrics.mean_interval(np.array([row["value"] for row in hits]))
    return float(value), float(low), float(high)


def page(roots: list[Path]) -> str:
    """The page in Markdown."""
    published = [*table_one(), *figures(), *real_people()]
    runs = {name: newest(roots, name) for name in {p.experiment for p in published if p.experiment}}
    lines = [
        "# Published numbers and ours",
        "Written by `python -m experiments.report` from run folders; intervals are 95 %. The gap "
        "is ours minus the published number. Where the last column says something, the two are "
        "not the same measurement: the gap then tells settings apart, not methods.",
        "| source | setting | published | ours | gap | why not comparable |\n" + "|---" * 6 + "|",
    ]
    for entry in published:
        run = runs.get(entry.experiment)
        found = ours(run[1], entry.row) if run else None
        shown = entry.shown or ("" if entry.value is None else f"{entry.value:g}")
        mine, gap = "not run", ""
        if found:
            value, low, high = found
            mine = f"{value:.3f}" + ("" if np.isnan(low) else f" [{low:.3f}, {high:.3f}]")
            gap = "" if entry.value is None else f"{value - entry.value:+.3f}"
        lines[-1] += (
            f"\n| {entry.source} | {entry.setting} | {shown} | {mine} | {gap} | {entry.why} |"
        )
    lines += ["## Runs", "\n".join(sources(runs))]
    return "\n\n".join(lines) + "\n"


def sources(runs: Mapping[str, tuple[Path, list[dict]] | None]) -> list[str]:
    """Which run each experiment's numbers come from."""
    return [
        f"- `{name}`: {'not run' if run is None else run[0].name}"
        for name, run in sorted(runs.items())
    ]


def main(
    output: Path = Path("docs/results.md"),
    runs: tuple[Path, ...] = (Path(os.environ.get("PREFJAX_RUNS", "runs")),),
) -> None:
    """Write the page.

    Args:
        output: Where to.
        runs: Folders of run folders.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page(list(runs)))
    print(output)


if __name__ == "__main__":
    tyro.cli(main)
