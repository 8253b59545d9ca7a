"""Draws the committed figures of the README and the start page, light enough to commit.

    python docs/figures.py runs/quickstart/<run>

``docs/_static/learning.svg`` comes from a finished run of ``python -m experiments.quickstart``,
``docs/_static/flow.svg`` from nothing.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import pyarrow.parquet as pq
from matplotlib.patches import FancyBboxPatch

STATIC = Path(__file__).parent / "_static"
SETTINGS = {
    "svg.hashsalt": "prefjax",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
SHOWN = (
    ("pref", "d_optimal", "personal, chosen questions", "#1b6ca8"),
    ("pref", "random", "personal, questions at random", "#7fb2d9"),
    ("per-user", "random", "the person's own answers alone", "#c98a2b"),
    ("population", None, "one reward for everybody", "#777777"),
)
NAMES = {"population": ("population", "bradley-terry")}
STEPS = (
    ("choices of\nmany people", 0, 1, "data"),
    ("texts", 0, 0, "encoders"),
    ("base rewards φ,\nshared utility t,\npopulation", 1, 0.5, "basis, train"),
    ("one person:\na Gaussian over\nJ weights", 2, 0.5, "person"),
    ("next question", 2, 1.35, "person"),
    ("ranking, win\nprobabilities", 3, 1, "model"),
    ("best-of-N,\nsteered decoding", 3, 0, "align"),
)


def learning(run: Path, target: Path) -> None:
    """AUC of new people by the number of their answers.

    Args:
        run: Folder of a quickstart run.
        target: File to write.
    """
    rows = pq.read_table(run / "results.parquet").to_pylist()
    figure, axes = plt.subplots(figsize=(5.6, 3.1), layout="constrained")
    for method, rule, name, color in SHOWN:
        names = NAMES.get(method, (method,))
        own = [
            row
            for row in rows
            if row["method"] in names
            and row["questions"] == rule
            and row["metric"] == "auc_user"
            and not row["control"]
            and row["seed"] is None
        ]
        own.sort(key=lambda row: row["num_answers"])
        number = [row["num_answers"] for row in own]
        axes.plot(number, [row["value"] for row in own], "o-", ms=3, color=color, label=name)
        low, high = ([row[end] for row in own] for end in ("low", "high"))
        axes.fill_between(number, low, high, color=color, alpha=0.18, linewidth=0)
    axes.set(xlabel="questions answered by a new person", ylabel="AUC on unseen prompts")
    axes.legend(frameon=False, loc="lower right")
    _save(figure, target)


def flow(target: Path) -> None:
    """From choices to a ranking, with the package that does each step.

    Args:
        target: File to write.
    """
    figure, axes = plt.subplots(figsize=(7.6, 2.9), layout="constrained")
    for text, x, y, package in STEPS:
        box = FancyBboxPatch(
            (x - 0.36, y - 0.26), 0.72, 0.52, boxstyle="round,pad=0.02", fc="#eef4f9", ec="#1b6ca8"
        )
        axes.add_patch(box)
        axes.text(x, y + 0.05, text, ha="center", va="center", fontsize=8)
        axes.text(x, y - 0.235, package, ha="center", va="bottom", fontsize=7, color="#1b6ca8")
    arrow = {"arrowstyle": "->", "color": "#444444"}
    for start, end in (
        ((0.39, 0.95), (0.61, 0.62)),
        ((0.39, 0.05), (0.61, 0.38)),
        ((1.39, 0.5), (1.61, 0.5)),
        ((2.39, 0.6), (2.61, 0.9)),
        ((2.39, 0.4), (2.61, 0.1)),
        ((1.85, 0.79), (1.85, 1.07)),
        ((2.15, 1.07), (2.15, 0.79)),
    ):
        axes.annotate("", end, start, arrowprops=arrow)
    axes.text(2.18, 0.93, "answer", fontsize=7, va="center")
    axes.set(xlim=(-0.45, 3.45), ylim=(-0.35, 1.7))
    axes.axis("off")
    _save(figure, target)


def _save(figure: plt.Figure, target: Path) -> None:
    figure.savefig(target, format="svg", metadata={"Date": None}, facecolor="white")


def main() -> None:
    """Draws both, or the second alone without a run."""
    with plt.rc_context(SETTINGS):
        for run in sys.argv[1:]:
            learning(Path(run), STATIC / "learning.svg")
        flow(STATIC / "flow.svg")


if __name__ == "__main__":
    main()
