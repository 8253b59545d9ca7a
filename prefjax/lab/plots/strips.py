"""Strips: every seed a point, one column a method; for spreads, and for settings on an axis."""

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure

from prefjax.lab.plots.style import COLUMN_WIDTH, METHOD_COLORS, STYLE, label
from prefjax.lab.plots.tidy import distinct


def strip(table: pa.Table, *, metric: str = "auc_user", panel: str = "dataset") -> Figure:
    """A metric by method, every row a point and their mean a line; one panel per data set.

    Args:
        table: Tidy results with a row for each seed.
        metric: Value of the column ``metric`` to draw.
        panel: Column whose values make the panels.

    Raises:
        ValueError: If no row has this metric.
    """
    chosen = table.filter(pc.field("metric") == metric)
    if not chosen.num_rows:
        raise ValueError(f"No row has metric {metric!r}.")
    names, methods = distinct(chosen, panel), distinct(chosen, "method")
    with mpl.rc_context(STYLE):
        height = 0.28 * len(methods) + 0.7
        figure = Figure(figsize=(COLUMN_WIDTH * min(len(names), 2), height), layout="constrained")
        panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
        for axes, name in zip(panels, names, strict=True):
            some = chosen.filter(pc.field(panel) == name)
            for place, method in enumerate(methods):
                values = some.filter(pc.field("method") == method)["value"].to_numpy()
                color = METHOD_COLORS.get(method, METHOD_COLORS["population"])
                axes.scatter(values, np.full(len(values), place), s=9, alpha=0.6, color=color)
                axes.plot([values.mean()] * 2, [place - 0.3, place + 0.3], color=color)
            axes.set_title(label(name), pad=4)
            axes.set_xlabel(label(metric))
        panels[0].set_yticks(range(len(methods)), [label(method) for method in methods])
        panels[0].invert_yaxis()
    return figure


def lines(
    table: pa.Table, *, x: str, xlabel: str, metric: str = "auc_user", log: bool = False
) -> Figure:
    """A metric against a numeric column, a line a method with its interval; a panel a data set.

    Args:
        table: Tidy results, one row with ``low`` and ``high`` for each point.
        x: Column on the axis.
        xlabel: What it is called.
        metric: Value of the column ``metric`` to draw.
        log: Whether the axis is logarithmic.

    Raises:
        ValueError: If no row has this metric.
    """
    chosen = table.filter(pc.field("metric") == metric)
    if not chosen.num_rows:
        raise ValueError(f"No row has metric {metric!r}.")
    names = distinct(chosen, "dataset")
    with mpl.rc_context(STYLE):
        width = COLUMN_WIDTH if len(names) == 1 else 2.6 * len(names)
        figure = Figure(figsize=(width, 2.4), layout="constrained")
        panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
        for axes, name in zip(panels, names, strict=True):
            some = chosen.filter(pc.field("dataset") == name)
            for method in distinct(some, "method"):
                rows = some.filter(pc.field("method") == method).sort_by(x)
                place, value, low, high = (
                    rows[column].to_numpy() for column in (x, "value", "low", "high")
                )
                color = METHOD_COLORS.get(method)
                (line,) = axes.plot(
                    place, value, marker="o", markersize=3, color=color, label=label(method)
                )
                axes.fill_between(place, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
            axes.set_title(label(name), pad=4)
            axes.set_xlabel(xlabel)
            if log:
                axes.set_xscale("log")
        panels[0].set_ylabel(label(metric))
        panels[-1].legend()
    return figure
