"""Draws the committed figures of README, start page and gallery, light enough to commit.

    python docs/figures.py runs/*/*-paper-*

A run gives its figure to the gallery (``docs/_static/gallery``), where ``runs.json`` names it; one
of ``experiments.quickstart`` gives ``docs/_static/learning.svg``. Nothing is needed for
``docs/_static/flow.svg``.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import pyarrow.parquet as pq
from matplotlib.patches import FancyBboxPatch
from PIL import Image

STATIC = Path(__file__).parent / "_static"
GALLERY = STATIC / "gallery"
WIDTH, COLORS = 1200, 48
"""Pixels and colors of a picture of the gallery."""
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
    ("choices of\nmany people", 0, 3, "data"),
    ("texts", 1, 3, "encoders"),
    ("base rewards φ,\nshared utility t,\npopulation", 0.5, 2, "basis, train"),
    ("one person:\na Gaussian over\nJ weights", 0.5, 1, "person"),
    ("next question", 1.6, 1, "person"),
    ("ranking, win\nprobabilities", 0, 0, "model"),
    ("best-of-N,\nsteered decoding", 1, 0, "align"),
)
"""Text, place and package of each box, from above to below."""
ARROWS = (
    ((0.1, 2.66), (0.35, 2.35)),
    ((0.9, 2.66), (0.65, 2.35)),
    ((0.5, 1.66), (0.5, 1.35)),
    ((0.35, 0.66), (0.1, 0.35)),
    ((0.65, 0.66), (0.9, 0.35)),
    ((0.98, 1.1), (1.12, 1.1)),
    ((1.12, 0.9), (0.98, 0.9)),
)


def learning(run: Path, target: Path) -> None:
    """AUC of new people by the number of their answers.

    Args:
        run: Folder of a quickstart run.
        target: File to write.
    """
    rows = pq.read_table(run / "results.parquet").to_pylist()
    figure, axes = plt.subplots(figsize=(4.6, 3.4), layout="constrained")
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
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside upper left")
    _save(figure, target)


def flow(target: Path) -> None:
    """From choices to a ranking, with the package that does each step.

    Args:
        target: File to write.
    """
    figure, axes = plt.subplots(figsize=(4.6, 4.4), layout="constrained")
    for text, x, y, package in STEPS:
        box = FancyBboxPatch(
            (x - 0.42, y - 0.28), 0.84, 0.56, boxstyle="round,pad=0.03", fc="#eef4f9", ec="#1b6ca8"
        )
        axes.add_patch(box)
        axes.text(x, y + 0.06, text, ha="center", va="center", fontsize=8.5)
        axes.text(x, y - 0.27, package, ha="center", va="bottom", fontsize=7.5, color="#1b6ca8")
    for start, end in ARROWS:
        axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "#444444"})
    axes.text(1.6, 0.55, "answer: 1 or 2?", fontsize=7.5, ha="center", va="center")
    axes.set(xlim=(-0.5, 2.1), ylim=(-0.35, 3.35))
    axes.axis("off")
    _save(figure, target)


def picture(run: Path) -> None:
    """The figure of a run, small, for the gallery.

    Args:
        run: Folder of a finished run.
    """
    name = json.loads((run / "config.json").read_text(encoding="utf-8"))["experiment"]
    with Image.open(run / "figure.png") as drawn:
        flat = drawn.convert("RGB")
    flat.thumbnail((WIDTH, 4 * WIDTH))
    flat.quantize(COLORS).save(GALLERY / f"{name}.png", optimize=True)
    index = GALLERY / "runs.json"
    named = json.loads(index.read_text(encoding="utf-8")) | {name: run.name}
    index.write_text(json.dumps(named, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _save(figure: plt.Figure, target: Path) -> None:
    figure.savefig(target, format="svg", metadata={"Date": None}, facecolor="white")


def main() -> None:
    """Draws those of the given runs, and the flow."""
    for run in map(Path, sys.argv[1:]):
        if run.parent.name != "quickstart":
            picture(run)
            continue
        with plt.rc_context(SETTINGS):
            learning(run, STATIC / "learning.svg")
    with plt.rc_context(SETTINGS):
        flow(STATIC / "flow.svg")


if __name__ == "__main__":
    main()
