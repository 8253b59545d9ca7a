"""Tidy results as curves: one value with its interval per number of answers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prefjax.lab.rows import interval_of


class Curve(NamedTuple):
    """A metric of one method, question rule and control against the number of answers."""

    method: str
    questions: str | None
    control: str | None
    num_answers: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def with_answers(table: pa.Table, metric: str) -> pa.Table:
    """Rows of a metric that were measured after a number of answers.

    Args:
        table: Tidy results.
        metric: Value of the column ``metric``.

    Raises:
        ValueError: If there is none.
    """
    chosen = table.filter((pc.field("metric") == metric) & pc.field("num_answers").is_valid())
    if not chosen.num_rows:
        raise ValueError(f"No row has metric {metric!r} and a number of answers.")
    return chosen


def distinct(table: pa.Table, column: str) -> list[Any]:
    """Values of a column in order of first appearance."""
    return list(dict.fromkeys(table[column].to_pylist()))


def curves_of(table: pa.Table, *, split_questions: bool) -> list[Curve]:
    """One curve per method, question rule and control, in order of first appearance."""
    groups: dict[tuple, dict[int, list[dict]]] = {}
    for row in table.to_pylist():
        questions = row["questions"] if split_questions else None
        points = groups.setdefault((row["method"], questions, row["control"]), {})
        points.setdefault(row["num_answers"], []).append(row)
    return [
        Curve(method, questions, control, np.array(sorted(points)), *_points(points))
        for (method, questions, control), points in groups.items()
    ]


def _points(points: Mapping[int, Sequence[dict]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, low and high at each number of answers."""
    columns = []
    for _, rows in sorted(points.items()):
        summary = [row for row in rows if row["seed"] is None]
        if summary:
            ends = (summary[0][name] for name in ("low", "high"))
            columns.append([summary[0]["value"], *(np.nan if e is None else e for e in ends)])
        else:
            values = np.array([row["value"] for row in rows], np.float64)
            interval = interval_of(rows[0]["metric"], values)
            columns.append([float(end) for end in interval[:3]])
    value, low, high = np.array(columns, np.float64).T
    return value, low, high
