"""Diagnostics of one fit: its spectrum, and whether its probabilities are right."""

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from prefjax.lab.plots.style import CONTROL_COLOR, METHOD_COLORS, STYLE
from prefjax.types import Array


def scree(
    values: Float[Array, " factor"],
    *,
    heldout: Float[Array, " factor"] | None = None,
    chosen: int | None = None,
) -> Figure:
    """Singular values, or variances per axis, in descending order.

    Args:
        values: The spectrum, largest first.
        heldout: Held-out negative log-likelihood (nats) with 1, 2, … factors, in a second panel.
        chosen: Number of factors that was chosen; marked.
    """
    rank = np.arange(1, len(values) + 1)
    num_panels = 1 if heldout is None else 2
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.6 * num_panels + 0.8, 2.2), layout="constrained")
        panels = figure.subplots(1, num_panels, squeeze=False)[0]
        series = [(values, "spectrum")]
        if heldout is not None:
            series.append((heldout, "held-out NLL (nats)"))
        for axes, (line, name) in zip(panels, series, strict=True):
            axes.plot(
                rank[: len(line)], line, color=METHOD_COLORS["pref"], marker="o", markersize=3
            )
            axes.set(xlabel="factor", ylabel=name)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
            if chosen is not None:
                axes.axvline(chosen, color=CONTROL_COLOR, linewidth=0.8, zorder=0)
                axes.annotate(
                    f" J = {chosen}",
                    (chosen, 1.0),
                    xycoords=("data", "axes fraction"),
                    va="top",
                    fontsize=7,
                    color="#666666",
                )
        panels[0].set_ylim(bottom=0)
        if num_panels == 2:
            panels[1].set_xlabel("number of factors J")
    return figure


def reliability(
    predicted: Float[Array, " bin"],
    observed: Float[Array, " bin"],
    standard_error: Float[Array, " bin"],
    count: Int[Array, " bin"],
) -> Figure:
    """Reliability diagram with 95 % intervals; the arrays are those of ``metrics.Reliability``.

    Args:
        predicted: Mean predicted probability of each bin.
        observed: Share preferred in each bin.
        standard_error: Standard error of the gap in each bin.
        count: Rows in each bin; the area of a marker.
    """
    predicted, observed = np.asarray(predicted), np.asarray(observed)
    error = 1.96 * np.nan_to_num(np.asarray(standard_error))
    start = 0.5 if predicted.min() >= 0.5 else 0.0
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.6, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.plot([start, 1], [start, 1], color=CONTROL_COLOR, linewidth=0.8, zorder=0)
        axes.errorbar(
            predicted, observed, error, fmt="none", ecolor=METHOD_COLORS["pref"], elinewidth=0.8
        )
        area = 22 * np.asarray(count) / np.max(count)
        axes.scatter(
            predicted, observed, s=area, color=METHOD_COLORS["pref"], linewidths=0, zorder=3
        )
        axes.set(xlabel="predicted probability", ylabel="observed share", aspect="equal")
        axes.set_xlim(start - 0.01, 1.01)
        axes.set_ylim(min(start, float((observed - error).min())) - 0.01, 1.01)
    return figure
