"""Figures of a report. Matplotlib is imported when one is drawn."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prefjax.io.atomic import write_atomically
from prefjax.study._export import StudyExport
from prefjax.study.analysis import Analysis
from prefjax.study.design import ARMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
}
_COLORS = {"personal": "#0072B2", "other": "#D55E00", "default": "#4D4D4D"}
LABELS = {
    "personal": "for this person",
    "other": "for somebody else",
    "default": "another at random",
}


def draw(study: StudyExport, found: Analysis, folder: Path) -> list[str]:
    """Draws all figures.

    Args:
        study: The export.
        found: Its numbers.
        folder: Where the PNG files go.

    Returns:
        Names of the files.
    """
    import matplotlib as mpl

    figures = {
        "win_rate.png": _draw_arms,
        "histogram.png": _draw_histogram,
        "learning.png": _draw_learning,
        "course.png": _draw_course,
    }
    for name, plot in figures.items():
        with mpl.rc_context(_STYLE):
            figure = plot(study, found)

            def save(path: Path, figure: "Figure" = figure) -> None:
                figure.savefig(path, format="png", dpi=160)

            write_atomically(folder / name, save)
    return list(figures)


def _new(width: float = 3.9, height: float = 2.6, columns: int = 1) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def _draw_arms(study: StudyExport, found: Analysis) -> "Figure":
    figure, axes = _new()
    rng = np.random.default_rng(0)
    names = list(found.win_rate)
    for place, name in enumerate(names):
        values = found.by_person[ARMS.index(name)]
        spread = place + rng.uniform(-0.16, 0.16, len(values))
        axes.plot(spread, values, "o", ms=2.5, color=_COLORS[name], alpha=0.35, mew=0)
        interval = found.win_rate[name]
        axes.errorbar(
            place + 0.28,
            interval.value,
            [[interval.value - interval.low], [interval.high - interval.value]],
            fmt="o",
            ms=4,
            color=_COLORS[name],
            capsize=3,
        )
    axes.axhline(0.5, color="#999999", lw=0.8, zorder=0)
    axes.set_xticks(range(len(names)), [LABELS[name].replace(" ", "\n", 1) for name in names])
    axes.set_xlim(-0.5, len(names) - 0.3)
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("win rate over the default")
    axes.set_title(f"{found.power.num} people; dots are people, bars {_level(study)} intervals")
    return figure


def _draw_histogram(study: StudyExport, found: Analysis) -> "Figure":
    figure, axes = _new()
    personal = found.by_person[0]
    axes.hist(personal, np.linspace(0, 1, 11), color=_COLORS["personal"], rwidth=0.92)
    axes.axvline(0.5, color="#999999", lw=0.8)
    axes.axvline(float(found.win_rate["personal"].value), color="#222222", lw=1.2, ls="--")
    axes.set_xlabel("win rate of a person, responses for this person")
    axes.set_ylabel("people")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_title(f"mean {float(found.win_rate['personal'].value):.2f} (dashed)")
    return figure


def _draw_learning(study: StudyExport, found: Analysis) -> "Figure":
    figure, both = _new(6.4, 2.5, 2)
    for axes, curve, name in zip(
        both,
        (found.accuracy, found.nll),
        ("test choices predicted", "negative log-likelihood (nats)"),
        strict=True,
    ):
        answers = np.arange(len(curve.value))
        axes.fill_between(
            answers, curve.low, curve.high, color=_COLORS["personal"], alpha=0.2, lw=0
        )
        axes.plot(answers, curve.value, color=_COLORS["personal"], marker="o", ms=2.5, mew=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("answers of the person")
        axes.set_ylabel(name)
    both[0].axhline(0.5, color="#999999", lw=0.8)
    both[1].axhline(np.log(2), color="#999999", lw=0.8)
    return figure


def _draw_course(study: StudyExport, found: Analysis) -> "Figure":
    figure, both = _new(6.4, 2.5, 2)
    rows = [row for row in study.trials if row["seconds"] is not None]
    last = max(row["index"] for row in rows)
    quartiles = np.full((3, last + 1), np.nan)
    for index in range(last + 1):
        seconds = [row["seconds"] for row in rows if row["index"] == index]
        if seconds:
            quartiles[:, index] = np.quantile(seconds, [0.25, 0.5, 0.75])
    trial = np.arange(last + 1)
    both[0].fill_between(trial, quartiles[0], quartiles[2], color="#0072B2", alpha=0.2, lw=0)
    both[0].plot(trial, quartiles[1], color="#0072B2")
    both[0].set_ylim(0, None)
    both[0].set_xlabel("trial")
    both[0].set_ylabel("seconds, median and quartiles")
    answers = np.array(
        [row["num_answers"] for row in study.participants if row["consent_at"] is not None]
    )
    share = [(answers > index).mean() for index in trial]
    both[1].step(trial, share, where="mid", color="#0072B2")
    both[1].set_ylim(0, 1.03)
    both[1].set_xlabel("trial")
    both[1].set_ylabel("share of people who answered it")
    return figure


def _level(study: StudyExport) -> str:
    return f"{study.study['config']['power']['level']:.0%}"
