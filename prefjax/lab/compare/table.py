"""Cells as tidy results: means over people with intervals over people, and differences in pairs.

A person who is new in several seeds is one person: scores are averaged over seeds first. Where each
seed draws its own simulated people, nobody is in two seeds. Metrics

    auc_user, nll             of the method
    minus_population          AUC minus that of the same fit without answers, person by person
    minus_bradley_terry       AUC minus that of one reward for everybody, person by person
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from prefjax import metrics
from prefjax.lab.compare._measure import Measured
from prefjax.lab.compare.store import Cell

BASE = "bradley-terry"
DRAWN_ANEW = frozenset({"attributes", "prism-shaped"})
"""Simulated sets of which every seed has its own people."""


def by_person(cells: Sequence[Cell], of: Callable[[Cell], np.ndarray | None]) -> np.ndarray | None:
    """Mean over seeds of every person's numbers: ``[user, answers]``, NaN where there is none.

    Args:
        cells: Of one method, all seeds.
        of: Numbers of one cell, ``[answers, user]``, or None.
    """
    total: dict[tuple[int, int], list[np.ndarray]] = defaultdict(list)
    for cell in cells:
        values = of(cell)
        world = cell.seed if cell.dataset in DRAWN_ANEW else 0
        if values is not None:
            for user, column in zip(cell.users.tolist(), values.T, strict=True):
                total[world, user].append(column)
    if not total:
        return None
    return np.stack([_mean(np.stack(columns)) for columns in total.values()])


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is not NaN."""
    seen = ~np.isnan(values)
    count = seen.sum(axis=0)
    total = np.where(seen, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def tidy_rows(cells: Sequence[Cell], num_answers: Sequence[int]) -> list[dict[str, Any]]:
    """Rows for `runs.tidy`, with the column ``encoder`` besides.

    Args:
        cells: From `run_cells` or `with_earlier`.
        num_answers: After how many answers they were scored.
    """
    groups: dict[tuple, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.dataset, cell.encoder, cell.method].append(cell)
    rows = []
    for (dataset, encoder, method), group in groups.items():
        base = {
            cell.seed: cell.scores[""].auc
            for cell in groups.get((dataset, encoder, BASE), ())
            if cell.scores
        }
        controls = list(dict.fromkeys(name for cell in group for name in cell.scores))
        for control in controls:
            for metric, of in _metrics(control, base).items():
                values = by_person(group, of)
                if values is None:
                    continue
                value, low, high, num = metrics.mean_interval(values)
                rows += [
                    {
                        "dataset": dataset,
                        "encoder": encoder,
                        "method": method,
                        "questions": "random",
                        "control": control or None,
                        "num_answers": number,
                        "metric": metric,
                        "value": float(value[place]),
                        "low": float(low[place]),
                        "high": float(high[place]),
                        "num_users": int(num[place]),
                    }
                    for place, number in enumerate(num_answers)
                ]
    return rows


def _metrics(control: str, base: Mapping[int, np.ndarray]) -> dict[str, Callable]:
    def read(of: Callable[[Measured, int], np.ndarray | None]) -> Callable:
        def value(cell: Cell) -> np.ndarray | None:
            measured = cell.scores.get(control)
            return None if measured is None else of(measured, cell.seed)

        return value

    return {
        "auc_user": read(lambda measured, _: measured.auc),
        "nll": read(lambda measured, _: measured.nll),
        "minus_population": read(lambda measured, _: measured.auc - measured.auc[:1]),
        "minus_bradley_terry": read(
            lambda measured, seed: measured.auc - base[seed] if seed in base else None
        ),
    }
