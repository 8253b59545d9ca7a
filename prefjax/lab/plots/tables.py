"""Tidy results as Markdown."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prefjax.lab.plots.style import label
from prefjax.lab.plots.tidy import Curve, curves_of, distinct, with_answers


def make_table(table: pa.Table, *, metric: str = "auc_user", digits: int = 3) -> str:
    """Markdown tables of a metric: one per data set, methods down, numbers of answers across.

    Cells read ``value ± half-width`` of the 95 % interval.

    Args:
        table: Tidy results.
        metric: Value of the column ``metric`` to show.
        digits: Decimals.

    Raises:
        ValueError: If no row has this metric and a number of answers.
    """
    chosen = with_answers(table, metric)
    blocks = []
    for dataset in distinct(chosen, "dataset"):
        curves = curves_of(chosen.filter(pc.field("dataset") == dataset), split_questions=True)
        answers = np.unique(np.concatenate([curve.num_answers for curve in curves])).tolist()
        lines = [
            f"**{label(dataset)}**, {label(metric)}, by number of answers",
            "",
            "| method | " + " | ".join(map(str, answers)) + " |",
            "|---" * (len(answers) + 1) + "|",
        ]
        for curve in curves:
            name = ", ".join(filter(None, (curve.method, curve.questions, curve.control)))
            cells = [_cell(curve, answer, digits) for answer in answers]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _cell(curve: Curve, answer: int, digits: int) -> str:
    at = np.flatnonzero(curve.num_answers == answer)
    if not at.size:
        return "–"
    value, half = curve.value[at[0]], (curve.high - curve.low)[at[0]] / 2
    return f"{value:.{digits}f}" + ("" if np.isnan(half) else f" ± {half:.{digits}f}")
