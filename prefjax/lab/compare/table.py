"""Cells as tidy results: means over people with intervals over people, and differences in pairs.

A person who is new in several seeds is one person: scores are averaged over seeds first. Where each
seed draws its own simulated people, nobody is in two seeds. Metrics

    auc_user, nll             of the method
    win_rate                  of what simulated people are served, over the default
    minus_population          AUC minus that of the same fit without answers, person by person
    minus_bradley_terry       AUC minus that of one reward for everybody, person by person
    minus_first_encoder       AUC minus that of the same method with the first encoder, likewise
    accuracy                  share of the decided comparisons that are predicted
    flip_rate                 share of the right predictions that reversed answers change
    hurt_rate                 share of people whose AUC is below that of the fit without answers; of
                              differences that are all noise it would be a half
    worst_decile              mean AUC of the tenth of people that has the lowest
    ceiling                   accuracy of a perfect model under the noise of the answers, from draws

The interval of the worst decile is that of the mean of ``q + min(x − q, 0) / 0.1``, q the quantile
of .1, which is its value.

References:
    R. T. Rockafellar and S. Uryasev, "Optimization of conditional value-at-risk", Journal of Risk 2
    (2000), for the worst decile. PREFDISCO for the hurt rate.
    calibration_slope, calibration_intercept    see `prefjax.lab.compare.calibration`
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from prefjax.lab.compare.calibration import calibration_rows
from prefjax.lab.compare.questions import RECORDED
from prefjax.lab.compare.scoring import Measured
from prefjax.lab.compare.store import Cell
from prefjax.lab.rows import curve, interval_of, row

BASE = "bradley-terry"
WORST = 0.1
DRAWN_ANEW = frozenset({"attributes", "attributes-small", "planted", "prism-shaped"})
"""Simulated sets of which every seed has its own people."""


def by_person(cells: Sequence[Cell], of: Callable[[Cell], np.ndarray | None]) -> np.ndarray | None:
    """Mean over seeds of every person's numbers: ``[user, answers]``, NaN where there is none.

    Args:
        cells: Cells of one method, all seeds.
        of: Gives the numbers of one cell, ``[answers, user]``, or None.
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
            (cell.seed, questions): measured.auc
            for cell in groups.get((dataset, encoder, BASE), ())
            for (questions, control), measured in cell.scores.items()
            if control == ""
        }
        kinds = list(dict.fromkeys(kind for cell in group for kind in cell.scores))
        for kind in kinds:
            for metric, of in METRICS.items():
                values = by_person(group, partial(_read, of, kind, base))
                if values is not None:
                    if metric in OVER_PEOPLE:
                        values = OVER_PEOPLE[metric](values)
                    about = {"questions": kind[0], "control": kind[1] or None, "encoder": encoder}
                    found = interval_of(metric, values)
                    some = curve(method, dataset, metric, num_answers, found, **about)
                    counts = found.num.tolist()
                    rows += [{**one, "num_users": n} for one, n in zip(some, counts, strict=True)]
        rows += _minus_first(groups, (dataset, encoder, method), num_answers)
        ceilings = [cell.about["ceiling"] for cell in group if "ceiling" in cell.about]
        if ceilings and kinds:
            interval = interval_of("ceiling", np.array(ceilings))
            one = row(method, dataset, "ceiling", interval, encoder=encoder)
            rows.append({**one, "num_users": len({u for c in group for u in c.users.tolist()})})
        for questions in dict.fromkeys(rule for rule, control in kinds if control == ""):
            told = {"drawn_anew": dataset in DRAWN_ANEW, "columns": {"encoder": encoder}}
            rows += calibration_rows(group, questions, num_answers, **told)
    return rows


def _minus_first(
    groups: Mapping[tuple[str, str, str], Sequence[Cell]],
    key: tuple[str, str, str],
    num_answers: Sequence[int],
) -> list[dict[str, Any]]:
    """Differences of AUC from the first encoder of the set; none for that encoder itself."""
    dataset, encoder, method = key
    first = next(other for name, other, _ in groups if name == dataset)
    if encoder == first:
        return []
    earlier = {cell.seed: cell for cell in groups.get((dataset, first, method), ())}
    rows = []
    for kind in dict.fromkeys(kind for cell in groups[key] for kind in cell.scores):
        if kind[1]:
            continue

        def gap(cell: Cell, kind: tuple[str, str] = kind) -> np.ndarray | None:
            other = earlier.get(cell.seed)
            if other is None or kind not in other.scores or kind not in cell.scores:
                return None
            if not np.array_equal(other.users, cell.users):
                return None
            return cell.scores[kind].auc - other.scores[kind].auc

        values = by_person(groups[key], gap)
        if values is not None:
            found = interval_of("minus_first_encoder", values)
            about = {"questions": kind[0], "control": None, "encoder": encoder}
            some = curve(method, dataset, "minus_first_encoder", num_answers, found, **about)
            counts = found.num.tolist()
            rows += [{**one, "num_users": n} for one, n in zip(some, counts, strict=True)]
    return rows


def tail(values: np.ndarray) -> np.ndarray:
    """Numbers of people whose mean is that of the worst tenth, ``[user, answers]``; see above."""
    counted = ~np.isnan(values).all(axis=0)
    quantile = np.full(values.shape[1], np.nan)
    quantile[counted] = np.nanquantile(values[:, counted], WORST, axis=0)
    return quantile + np.minimum(values - quantile, 0) / WORST


METRICS: Mapping[str, Callable[[Measured, np.ndarray | None], np.ndarray | None]] = {
    "auc_user": lambda measured, _: measured.auc,
    "nll": lambda measured, _: measured.nll,
    "win_rate": lambda measured, _: measured.win_rate,
    "minus_population": lambda measured, _: measured.auc - measured.auc[:1],
    "minus_bradley_terry": lambda measured, base: None if base is None else measured.auc - base,
    "accuracy": lambda measured, _: measured.accuracy,
    "flip_rate": lambda measured, _: measured.flip_rate,
    "hurt_rate": lambda measured, _: measured.auc - measured.auc[:1],
    "worst_decile": lambda measured, _: measured.auc,
}
"""Numbers of a cell, ``[answers, user]``, or None; ``base`` is the AUC of Bradley–Terry."""


OVER_PEOPLE: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "hurt_rate": lambda gain: np.where(np.isnan(gain), np.nan, gain < 0),
    "worst_decile": tail,
}
"""What becomes of a person's numbers once they are means over seeds."""


def _read(of: Callable, kind: tuple[str, str], base: Mapping, cell: Cell) -> np.ndarray | None:
    measured = cell.scores.get(kind)
    # One reward for everybody is the same whatever people are asked.
    shared = base.get((cell.seed, kind[0]), base.get((cell.seed, RECORDED)))
    return None if measured is None else of(measured, shared)
