"""One row of tidy results: what every experiment returns and every figure reads."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from prefjax.metrics.interval import Interval, mean_interval
from prefjax.types import Array

RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        **dict.fromkeys(("auc_user", "auc_pooled", "accuracy", "win_rate"), (0.0, 1.0)),
        **dict.fromkeys(("power", "ece", "flip_rate", "hurt_rate", "ceiling"), (0.0, 1.0)),
        **dict.fromkeys(("minus_population", "minus_bradley_terry"), (-1.0, 1.0)),
        "nll": (0.0, math.inf),
    }
)
"""Values that a metric can take; one without an entry can take any."""


def interval_of(metric: str, values: Float[Array, "unit *rest"]) -> Interval:
    """Mean over people, or over seeds, with its 95 % interval inside the range of the metric.

    Args:
        metric: Name of the metric; its range is in ``RANGES``.
        values: One value for each person or seed; NaN where there is none.

    >>> interval = interval_of("auc_user", np.array([0.2, 0.9]))
    >>> float(interval.low), float(interval.high)
    (0.0, 1.0)
    """
    bounds = RANGES.get(metric)
    if bounds is None or math.isfinite(bounds[1]):
        return mean_interval(values, bounds=bounds)
    interval = mean_interval(values)
    return interval._replace(low=np.maximum(interval.low, bounds[0]))


def row(
    method: str,
    dataset: str,
    metric: str,
    value: Any,
    *,
    questions: str | None = None,
    control: str | None = None,
    seed: int | None = None,
    num_answers: int | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """One row of tidy results, with the columns of `prefjax.lab.runs.SCHEMA`.

    Args:
        method: Name of the family, or of a baseline.
        dataset: Name of the set of people.
        metric: Name of what was measured.
        value: A number, or an `Interval` whose ends become ``low`` and ``high``.
        questions: Rule by which the questions were chosen; None where none were asked.
        control: Name of the control; None for the method itself.
        seed: Seed of the draw; None for a row that sums up all of them.
        num_answers: Answers of a new person; None where it does not apply.
        columns: Further columns of the experiment's own.

    >>> row("pref", "toy", "nll", 0.5, num_answers=5)["num_answers"]
    5
    """
    low, high = None, None
    if isinstance(value, Interval):
        value, low, high = (float(part) for part in value[:3])
    return {
        "method": method,
        "dataset": dataset,
        "questions": questions,
        "control": control,
        "seed": seed,
        "num_answers": num_answers,
        "metric": metric,
        "value": float(value),
        "low": low,
        "high": high,
        **columns,
    }


def curve(
    method: str, dataset: str, metric: str, num_answers: Any, interval: Interval, **columns: Any
) -> list[dict[str, Any]]:
    """The rows of a metric after each number of answers.

    Args:
        method: Name of the family, or of a baseline.
        dataset: Name of the set of people.
        metric: Name of what was measured.
        num_answers: The numbers of answers.
        interval: Means over people and their ends, one for each number.
        columns: Any other arguments of `row`.
    """
    return [
        row(
            method,
            dataset,
            metric,
            Interval(*(np.asarray(part)[place] for part in interval)),
            num_answers=int(number),
            **columns,
        )
        for place, number in enumerate(num_answers)
    ]


def show(row: Mapping[str, Any], sign: str = "") -> str:
    """``value [low, high]`` of a row, with three decimals.

    Args:
        row: A row with an interval.
        sign: ``"+"`` to write the sign of positive numbers.

    >>> show({"value": 0.5, "low": 0.4, "high": 0.6}, "+")
    '+0.500 [+0.400, +0.600]'
    """
    value, low, high = (f"{row[name]:{sign}.3f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
