"""Learning curves: how much a model gains from each answer of a new user."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from prefjax.lab.plots.style import (
    COLUMN_WIDTH,
    CONTROL_COLOR,
    CONTROL_DASHES,
    DASHES,
    PAGE_WIDTH,
    STYLE,
    label,
    method_colors,
)
from prefjax.lab.plots.tidy import Curve, curves_of, distinct, with_answers


def learning_curves(
    table: pa.Table,
    *,
    metric: str = "auc_user",
    panel: str = "dataset",
) -> Figure:
    """A metric against the number of answers, one panel per data set or per question rule.

    Methods are colors; question rules, where they do not make the panels, are dashes; controls
    (wrong user, shuffled users) are gray. Bands are 95 % intervals. The axis of answers is a
    square root, since the first answers matter most.

    Args:
        table: Tidy results.
        metric: Value of the column ``metric`` to draw.
        panel: Column whose values make the panels.

    Raises:
        ValueError: If no row has this metric and a number of answers.
    """
    chosen = with_answers(table, metric)
    names = distinct(chosen, panel)
    curves = [
        curves_of(
            chosen.filter(pc.field(panel) == name if name else pc.field(panel).is_null()),
            split_questions=panel != "questions",
        )
        for name in names
    ]
    drawn = [curve for panel_curves in curves for curve in panel_curves]
    colors = method_colors([curve.method for curve in drawn])
    rules = list(dict.fromkeys(curve.questions for curve in drawn if curve.questions))
    controls = list(dict.fromkeys(curve.control for curve in drawn if curve.control))
    rules.sort(key=lambda rule: rule == "random")
    columns = min(len(names), 3)
    num_rows = -(-len(names) // columns)
    with mpl.rc_context(STYLE):
        width = {1: COLUMN_WIDTH, 2: 5.6}.get(columns, PAGE_WIDTH)
        figure = Figure(figsize=(width, 1.95 * num_rows + 0.55), layout="constrained")
        panels = figure.subplots(num_rows, columns, squeeze=False).ravel()
        for axes, name, panel_curves in zip(panels, names, curves, strict=False):
            for curve in sorted(panel_curves, key=_depth):
                _draw_curve(axes, curve, colors, rules, controls)
            _answer_axis(axes, np.unique(np.concatenate([c.num_answers for c in panel_curves])))
            if len(names) > 1:
                axes.set_title(label(name) if name else "", pad=4)
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        figure.supxlabel("answers of a new user", fontsize=STYLE["axes.labelsize"])
        for axes in panels[::columns]:
            axes.set_ylabel(label(metric))
        handles = _legend(colors, rules, controls)
        if len(names) < len(panels):
            panels[-1].legend(handles=handles, loc="center left", labelspacing=0.7)
        else:
            per_row = min(len(handles), columns + 1 if columns > 1 else 2)
            figure.legend(handles=handles, loc="outside upper left", ncols=per_row)
    return figure


def _depth(curve: Curve) -> tuple[bool, bool]:
    """Controls are drawn first and the default method last, on top."""
    return curve.control is None, curve.method == "pref"


def _draw_curve(
    axes: Axes,
    curve: Curve,
    colors: Mapping[str, str],
    rules: Sequence[str],
    controls: Sequence[str],
) -> None:
    color, dash = colors[curve.method], DASHES[0]
    if curve.control is not None:
        color = CONTROL_COLOR
        dash = CONTROL_DASHES[controls.index(curve.control) % len(CONTROL_DASHES)]
    elif curve.questions is not None:
        dash = DASHES[rules.index(curve.questions) % len(DASHES)]
    axes.fill_between(curve.num_answers, curve.low, curve.high, color=color, alpha=0.2, linewidth=0)
    axes.plot(
        curve.num_answers,
        curve.value,
        color=color,
        linestyle=dash,
        marker="o",
        markersize=2.6,
        markeredgewidth=0,
    )


def _answer_axis(axes: Axes, answers: np.ndarray) -> None:
    def square_root(x: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(x, 0))

    axes.set_xscale("function", functions=(square_root, np.square))
    top = float(answers.max())
    ticks = [t for t in (0, 1, 3, 5, 10, 20, 40, 80, 160, 320) if answers.min() <= t <= top]
    axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    axes.set_xlim(0, max(top, 1.0) * 1.03)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.5)
    axes.set_axisbelow(True)


def _legend(
    colors: Mapping[str, str], rules: Sequence[str], controls: Sequence[str]
) -> list[Line2D]:
    handles = [Line2D([], [], color=color, label=label(name)) for name, color in colors.items()]
    if len(rules) > 1:
        handles += [
            Line2D([], [], color="#222222", linestyle=dash, label=label(rule))
            for rule, dash in zip(rules, cycle(DASHES), strict=False)
        ]
    return handles + [
        Line2D([], [], color=CONTROL_COLOR, linestyle=dash, label=label(control))
        for control, dash in zip(controls, cycle(CONTROL_DASHES), strict=False)
    ]
