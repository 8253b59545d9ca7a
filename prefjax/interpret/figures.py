"""Figures of what axes mean: Fig. 5 with labels and intervals, the label matrix, a page an axis.

Matplotlib is imported when a figure is drawn. Texts are shown as they are, without its mathematics.
"""

import textwrap
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from prefjax.data import Dataset
from prefjax.interpret.axes import Axes, ends
from prefjax.interpret.naming import Naming
from prefjax.interpret.properties import Properties, correlations
from prefjax.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED_COLOR, UNNAMED_COLOR, HIGH_COLOR, LOW_COLOR = "#0072B2", "#B0B0B0", "#009E73", "#D55E00"
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 8.5,
    "axes.linewidth": 0.6,
    "text.parse_math": False,
    "legend.frameon": False,
}
"""Matplotlib settings of these figures; sizes in points."""
MAX_SHOWN = 12
"""Axes that a figure shows, those of largest variance."""


@cache
def _glyphs() -> frozenset[int]:
    """Code points that the default font can draw."""
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return frozenset(font.get_charmap())


def plain(text: str, width: int | None = None) -> str:
    r"""A text on one line of at most ``width`` characters.

    Args:
        text: Any text.
        width: Most characters; None for no limit.

    >>> plain("one\n two three", 8)
    'one two…'
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if width is not None and len(line) > width:
        line = line[: width - 1].rstrip() + "…"
    return line


def drawable(text: str, width: int | None = None) -> str:
    """`plain` with a box for every character that the default font cannot draw.

    Args:
        text: Any text.
        width: Most characters; None for no limit.
    """
    return "".join(c if ord(c) in _glyphs() else "□" for c in plain(text, width))


def variance_interval(
    axes: Axes, *, seed: int = 0, num_resamples: int = 500
) -> Float[np.ndarray, "2 axis"]:
    """95 % intervals of the variance of each axis when people are drawn again.

    The second moments of the weights are those of the posteriors, mean and covariance; the features
    are taken as known.

    Args:
        axes: From `make_axes`.
        seed: Of the resampling.
        num_resamples: How often the people are drawn.
    """
    own = np.asarray(axes.people.mean) ** 2 + np.diagonal(
        np.asarray(axes.people.covariance), axis1=-2, axis2=-1
    )
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=num_resamples)
    share = counts @ own / own.sum(axis=0)[None]
    return np.quantile(share, [0.025, 0.975], axis=0) * axes.variance[None]


def axis_bars(axes: Axes, naming: Naming) -> "Figure":
    """Fig. 5 of the paper: the variance of reward along each axis, with its label.

    Named axes are colored and say how well their label fits on test pairs; the others are gray.

    Args:
        axes: From `make_axes`.
        naming: From `name_axes`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = np.argsort(-axes.variance)[:MAX_SHOWN]
    low, high = variance_interval(axes)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 0.34 * len(shown) + 0.9), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        for place, axis in enumerate(shown):
            entry = naming.axes[axis]
            color = NAMED_COLOR if entry.is_named else UNNAMED_COLOR
            value = axes.variance[axis]
            error = np.abs([[value - low[axis]], [high[axis] - value]])
            left.barh(place, value, xerr=error, color=color, height=0.65, error_kw={"lw": 0.8})
            if entry.fidelity is None:
                continue
            auc = entry.fidelity.auc
            right.plot([auc.low, auc.high], [place, place], color=color)
            right.plot(auc.value, place, "o", color=color, markersize=4)
            right.plot(entry.best_other, place, "|", color="#666666", markersize=7)
        names = [drawable(naming.axes[axis].name, 42) for axis in shown]
        left.set_yticks(range(len(shown)), names)
        left.invert_yaxis()
        left.set_xlabel("variance of reward between people")
        right.axvline(0.5, color="#999999", linewidth=0.8, zorder=0)
        right.set(xlabel="label on test pairs (AUC)", xlim=(min(0.4, right.get_xlim()[0]), 1.01))
        right.set_title("bar: the same label on another axis", fontsize=7, color="#666666")
    return figure


def label_matrix(naming: Naming) -> "Figure":
    """How well every label fits every axis; where labels mean something the diagonal wins.

    Args:
        naming: From `name_axes`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = np.flatnonzero(~np.isnan(naming.matrix).all(axis=1))
    values = naming.matrix[rows]
    with mpl.rc_context(STYLE):
        size = 0.42 * naming.matrix.shape[1]
        figure = Figure(figsize=(size + 4.0, 0.42 * len(rows) + 1.2), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(values, cmap="RdBu_r", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            color = "white" if abs(value - 0.5) > 0.3 else "black"
            weight = "bold" if rows[row] == column else "normal"
            text = f"{value:.2f}"[1:] if value < 1 else "1.0"
            axes.text(
                column, row, text, ha="center", va="center", color=color, weight=weight, fontsize=7
            )
        labels = [naming.axes[row].label for row in rows]
        texts = [drawable(label.text, 40) if label else "" for label in labels]
        named = [naming.axes[row].is_named for row in rows]
        axes.set_yticks(range(len(rows)), texts)
        for tick, is_named in zip(axes.get_yticklabels(), named, strict=True):
            tick.set_color("black" if is_named else "#888888")
        axes.set_xticks(range(values.shape[1]), [str(axis + 1) for axis in range(values.shape[1])])
        axes.set(xlabel="axis", title="label (row) on axis (column): AUC on test pairs")
        for spine in axes.spines.values():
            spine.set_visible(False)
        figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def axis_page(
    axes: Axes,
    axis: int,
    dataset: Dataset,
    naming: Naming,
    *,
    properties: Properties | None = None,
    num: int = 4,
) -> "Figure":
    """One page an axis: its ends as texts, known properties, and where people stand.

    Args:
        axes: From `make_axes`.
        axis: Which.
        dataset: Texts and names of the training people.
        naming: From `name_axes`.
        properties: Known properties with which the axis is correlated.
        num: Texts of each end.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    entry = naming.axes[axis]
    high, low = ends(axes, axis, num=num, among=naming.parts.of_response == 2)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 2.4 + 0.95 * num), layout="constrained")
        halves: Any = figure.subfigures(2, 1, height_ratios=(2.2, 0.95 * num))
        top, bottom = halves
        figure.suptitle(_title(axis, naming), x=0.01, ha="left", fontsize=9)
        people, known = top.subplots(1, 2)
        _people(people, axes, axis)
        if properties is not None:
            _properties(known, axes, axis, properties)
        else:
            known.set_axis_off()
        for place, (responses, name, color) in enumerate(
            ((high, "high end", HIGH_COLOR), (low, "low end", LOW_COLOR))
        ):
            _texts(bottom, place, dataset, responses, name, color)
    if entry.failed:
        figure.text(0.01, 0.0, drawable("failed: " + "; ".join(entry.failed), 130), fontsize=6.5)
    return figure


def _title(axis: int, naming: Naming) -> str:
    entry = naming.axes[axis]
    if entry.fidelity is None:
        return f"Axis {axis + 1}: {entry.name}"
    auc = entry.fidelity.auc
    tested = (
        ""
        if entry.is_named or entry.label is None
        else f" (tested: {drawable(entry.label.text, 50)})"
    )
    return (
        f"Axis {axis + 1}: {drawable(entry.name, 60)}{tested}\n"
        f"label on test pairs AUC {auc.value:.2f} [{auc.low:.2f}, {auc.high:.2f}], "
        f"p = {entry.p:.2g} (Holm), variance {entry.variance:.3g}"
    )


def _people(panel: Any, axes: Axes, axis: int) -> None:
    weights = np.asarray(axes.people.mean)[:, axis]
    panel.hist(weights, bins=min(30, max(8, len(weights) // 6)), color=NAMED_COLOR, alpha=0.7)
    panel.set(xlabel="weight of a person (standard deviations)", ylabel="people")


def _properties(panel: Any, axes: Axes, axis: int, properties: Properties) -> None:
    value = correlations(axes, properties)[:, axis]
    best = np.argsort(-np.abs(value))[:8][::-1]
    colors = [HIGH_COLOR if value[one] > 0 else LOW_COLOR for one in best]
    panel.barh(range(len(best)), value[best], color=colors)
    panel.set_yticks(range(len(best)), [drawable(properties.names[one], 30) for one in best])
    panel.axvline(0, color="#999999", linewidth=0.8)
    panel.set(xlabel="correlation within prompts (Spearman)", xlim=(-1, 1))


def _texts(
    figure: Any,
    place: int,
    dataset: Dataset,
    responses: Int[Array, " response"],
    name: str,
    color: str,
) -> None:
    figure.text(0.01 + 0.5 * place, 0.98, name, color=color, weight="bold", va="top")
    for row, response in enumerate(responses):
        text = drawable(dataset.responses[response], 260)
        wrapped = "\n".join(textwrap.wrap(text, 62)[:5])
        height = 0.94 - row * 0.94 / max(len(responses), 1)
        figure.text(0.01 + 0.5 * place, height - 0.03, wrapped, va="top", fontsize=6.3)
