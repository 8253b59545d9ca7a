"""Means of cells of which several belong to one user and several to one prompt.

Answers of one person are alike, and so are those to one prompt; the interval draws both again.

References:
    Owen (2007), "The pigeonhole bootstrap".
"""

import jax
import numpy as np
from jaxtyping import Float, Int, Real

from prefjax.metrics.interval import Interval, mean_interval
from prefjax.types import Array, PRNGKey


def two_way_mean(
    key: PRNGKey,
    value: Real[Array, " cell"],
    user: Int[Array, " cell"],
    prompt: Int[Array, " cell"],
    *,
    bounds: tuple[float, float] | None = None,
    level: float = 0.95,
    num_resamples: int = 2000,
) -> Interval:
    """Mean over users of their means, with a bootstrap interval over users and prompts.

    Args:
        key: Random key of the bootstrap.
        value: One number for each cell, such as a reward; NaN cells are left out.
        user: User of each cell.
        prompt: Prompt of each cell.
        bounds: Range of the value; None for a value without one.
        level: Coverage of the interval.
        num_resamples: Number of bootstrap means.

    Raises:
        ValueError: If a user's mean lies outside the bounds.

    >>> user, prompt = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    >>> value = np.array([1.0, 2.0, 3.0, 4.0])
    >>> float(two_way_mean(jax.random.key(0), value, user, prompt).value)
    2.5
    """
    total, count = _cells(value, user, prompt)
    means = np.divide(
        total.sum(1), count.sum(1), out=np.full(len(total), np.nan), where=count.any(1)
    )
    point = mean_interval(means, level=level, bounds=bounds)
    if point.num < 2 or np.ptp(means) == 0:
        return point
    key_user, key_prompt = jax.random.split(key)
    users = draw_counts(key_user, num_resamples, len(total))
    prompts = draw_counts(key_prompt, num_resamples, total.shape[1])
    weight = prompts @ count.T
    each = np.divide(prompts @ total.T, weight, out=np.zeros_like(weight), where=weight > 0)
    users = np.where(weight > 0, users, 0.0)
    drawn = users.sum(1)
    drawn_means = (users * each).sum(1)[drawn > 0] / drawn[drawn > 0]
    low, high = np.quantile(drawn_means, [0.5 - level / 2, 0.5 + level / 2])
    return point._replace(low=low, high=high)


def draw_counts(key: PRNGKey, num_resamples: int, size: int) -> Float[np.ndarray, "resample unit"]:
    """How often each unit is drawn when as many are drawn as there are.

    Args:
        key: Random key.
        num_resamples: Times that is done.
        size: Units.
    """
    drawn = np.asarray(jax.random.randint(key, (num_resamples, size), 0, size))
    index = np.arange(num_resamples)[:, None] * size + drawn
    counts = np.bincount(index.reshape(-1), minlength=num_resamples * size)
    return counts.reshape(num_resamples, size).astype(np.float64)


def _cells(win: Array, user: Array, prompt: Array) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of verdicts by user and prompt."""
    win = np.asarray(win, np.float64)
    use = ~np.isnan(win)
    rows, row = np.unique(np.asarray(user)[use], return_inverse=True)
    columns, column = np.unique(np.asarray(prompt)[use], return_inverse=True)
    total, count = np.zeros((2, len(rows), len(columns)))
    np.add.at(total, (row, column), win[use])
    np.add.at(count, (row, column), 1.0)
    return total, count
