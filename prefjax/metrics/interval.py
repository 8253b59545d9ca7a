"""Means with intervals whose unit is a person or a seed, never a row.

For n units with values xᵢ (a user's mean, a seed's score)

    x̄ ± t_{n−1} · sd(x) / √n.

Ten seeds take t₉ = 2.262, not 1.96. A comparison of two models is the same interval over the
differences of each unit. NaN marks a unit without a value and is left out.

With the range [a, b] of a metric as ``bounds``, such as [0, 1] of a win rate, the interval is cut
off there, which costs no coverage. Where all n units sit at one end of the range, sd is 0 and the
interval above would be a point; its other end is then the exact one,

    low = a + (b − a) ((1 − level) / 2)^(1/n)      for xᵢ = b throughout.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from prefjax.types import Array, PRNGKey


class Interval(NamedTuple):
    """A mean and its confidence interval.

    Attributes:
        value: Mean over the units.
        low: Lower end; NaN with fewer than two units.
        high: Upper end; NaN with fewer than two units.
        num: Units that have a value.
    """

    value: Float[np.ndarray, "*rest"]
    low: Float[np.ndarray, "*rest"]
    high: Float[np.ndarray, "*rest"]
    num: Int[np.ndarray, "*rest"]


def mean_interval(
    values: Float[Array, "unit *rest"],
    *,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Interval:
    """Mean over the first axis with Student's t interval; the units are users or seeds.

    Args:
        values: One value per unit; NaN where a unit has none.
        level: Coverage of the interval.
        bounds: Range of the metric, which no interval leaves; None for a metric without one.

    Raises:
        ValueError: If a value lies outside the bounds.

    >>> interval = mean_interval(np.arange(10.0))
    >>> round(float(interval.value), 3), round(float(interval.low), 3)
    (4.5, 2.334)
    """
    values = np.asarray(values, np.float64)
    present = ~np.isnan(values)
    num = np.asarray(present.sum(axis=0))
    total = np.where(present, values, 0.0).sum(axis=0)
    mean = np.where(num > 0, total / np.maximum(num, 1), np.nan)
    square = np.where(present, values - mean, 0.0) ** 2
    freedom = np.maximum(num - 1, 1)
    error = np.sqrt(square.sum(axis=0) / freedom / np.maximum(num, 1))
    half = np.where(num > 1, stats.t.ppf(0.5 + level / 2, freedom) * error, np.nan)
    interval = Interval(value=mean, low=mean - half, high=mean + half, num=num)
    return interval if bounds is None else _bounded(interval, values, level, bounds)


def _bounded(
    interval: Interval, values: np.ndarray, level: float, bounds: tuple[float, float]
) -> Interval:
    """The interval inside the bounds, and the exact one where every unit sits at one of them."""
    start, end = bounds
    rounding = 1e-6 * (end - start)
    outside = np.argwhere((values < start - rounding) | (values > end + rounding))
    if len(outside):
        value = values[tuple(outside[0])]
        raise ValueError(f"Unit {outside[0][0]} has {value}, outside the bounds [{start}, {end}].")
    at_start = np.all((values <= start + rounding) | np.isnan(values), axis=0)
    at_end = np.all((values >= end - rounding) | np.isnan(values), axis=0)
    reach = (end - start) * (0.5 - level / 2) ** (1 / np.maximum(interval.num, 1))
    some = interval.num > 1
    low = np.where(some & at_end, start + reach, np.maximum(interval.low, start))
    high = np.where(some & at_start, end - reach, np.minimum(interval.high, end))
    return interval._replace(low=low, high=high)


def user_means(
    value: Float[Array, " pair"], user: Int[Array, " pair"]
) -> Float[np.ndarray, " user"]:
    """Mean of each user's rows, NaN for a user without any; NaN rows are left out.

    Args:
        value: One number per row, such as ``nll`` or a win (1, ½, 0).
        user: User index of each row.
    """
    value, user = np.asarray(value, np.float64), np.asarray(user)
    count = int(user.max(initial=-1)) + 1
    use = ~np.isnan(value)
    num = np.bincount(user[use], minlength=count)
    total = np.bincount(user[use], weights=value[use], minlength=count)
    return np.divide(total, num, out=np.full(count, np.nan), where=num > 0)


def clustered_mean(
    value: Float[Array, " pair"],
    user: Int[Array, " pair"],
    *,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Interval:
    """Mean over users of each user's mean, with a t interval over users.

    With wins as values (1, ½ for a tie, 0) this is the win rate and its interval.

    Args:
        value: One number per row; NaN rows are left out.
        user: User index of each row.
        level: Coverage of the interval.
        bounds: Range of the value, which no interval leaves; None for a value without one.

    Raises:
        ValueError: If a user's mean lies outside the bounds.

    >>> win = np.array([1.0, 0.5, 0.0, 1.0])
    >>> float(clustered_mean(win, np.array([0, 0, 1, 1])).value)
    0.625
    """
    return mean_interval(user_means(value, user), level=level, bounds=bounds)


def paired_difference(
    personal: Float[Array, " user"],
    population: Float[Array, " user"],
    *,
    key: PRNGKey | None = None,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Interval:
    """Personal − population, paired by user: the headline comparison.

    Args:
        personal: One score per user of the personal model (per-user AUC, or ``user_means``).
        population: The same for the model it is compared with, on the same rows.
        key: With a key the interval is a cluster bootstrap, without it Student's t.
        level: Coverage of the interval.
        bounds: Range of a difference, such as (−1, 1) for an AUC, which no interval leaves; None
            for scores without one.

    Raises:
        ValueError: If one model has a score for a user for whom the other has none; the two were
            then not evaluated on the same rows. If a difference lies outside the bounds.

    >>> gap = paired_difference(np.array([0.7, 0.8, 0.9]), np.array([0.6, 0.8, 0.8]))
    >>> round(float(gap.value), 4), int(gap.num)
    (0.0667, 3)
    """
    personal, population = np.asarray(personal, np.float64), np.asarray(population, np.float64)
    bad = np.flatnonzero(np.isnan(personal) != np.isnan(population))
    if bad.size:
        raise ValueError(
            f"User {bad[0]} has a score under one model only ({personal[bad[0]]} and "
            f"{population[bad[0]]}); both models must be evaluated on the same rows."
        )
    difference = personal - population
    if key is None:
        return mean_interval(difference, level=level, bounds=bounds)
    return cluster_bootstrap(key, difference, level=level)


def cluster_bootstrap(
    key: PRNGKey,
    values: Float[Array, " user"],
    *,
    level: float = 0.95,
    num_resamples: int = 2000,
) -> Interval:
    """Percentile interval of the mean when whole users are drawn again with replacement.

    Args:
        key: Random key of the resampling.
        values: One value per user; NaN users are left out.
        level: Coverage of the interval.
        num_resamples: Number of bootstrap means.

    References:
        Efron and Tibshirani (1993), "An introduction to the bootstrap", chapter 13.
    """
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values)]
    point = mean_interval(values, level=level)
    if point.num < 2:
        return point
    drawn = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=num_resamples,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(np.asarray(jax.random.key_data(key))),
    )
    low, high = map(np.asarray, drawn.confidence_interval)
    return point._replace(low=low, high=high)
