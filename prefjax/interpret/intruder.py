"""Can an axis be named at all? The intruder test, before there is any label.

Five pairs of responses are shown, each with its two sides far apart on the axis. In four of them
the first response lies higher, in one it lies lower. A reader who sees what the axis is about finds
the odd one more often than one time in five; how often on random directions stands beside it.

References:
    Chang et al. (2009), "Reading tea leaves: how humans interpret topic models" (word intrusion).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from prefjax.interpret.axes import Axes
from prefjax.interpret.pairs import Pairs
from prefjax.interpret.readers import Reader

NUM_SHOWN = 5


class Intruder(NamedTuple):
    """How often the odd pair was found.

    Attributes:
        rate: Part of the tasks with an answer, on each axis.
        p: Of a rate of one in five or less, one-sided and exact.
        random_rate: The same on random directions, over all of their tasks.
        num_tasks: Tasks of each axis that were answered.
    """

    rate: Float[np.ndarray, " axis"]
    p: Float[np.ndarray, " axis"]
    random_rate: float
    num_tasks: np.ndarray


def find_intruders(
    seed: int,
    axes: Axes,
    directions: Float[np.ndarray, "axis direction"],
    pairs: Pairs,
    reader: Reader,
    *,
    num_tasks: int = 40,
    top: float = 0.3,
) -> Intruder:
    """The intruder test on every axis and on random directions.

    Args:
        seed: Of the pairs that are shown, and of the place of the odd one.
        axes: From `make_axes`.
        directions: Random directions; a task of each.
        pairs: Of the part that tests.
        reader: Who looks for the odd one.
        num_tasks: Tasks of each axis.
        top: Part of the pairs, those furthest apart on an axis, from which a task is made.
    """
    rng = np.random.default_rng(seed)
    gap = axes.gap(pairs.first, pairs.second)
    columns = [(gap[:, axis], num_tasks) for axis in range(axes.num_axes)]
    columns += [(gap @ direction, 1) for direction in directions.T]
    tasks = [_task(rng, pairs, value, top) for value, num in columns for _ in range(num)]
    if not tasks:
        tasks = [(np.zeros(NUM_SHOWN, int), np.zeros(NUM_SHOWN, int), 0)]
    first, second = (np.stack([task[side] for task in tasks]) for side in (0, 1))
    odd = np.array([task[2] for task in tasks])
    answer = reader.odd_one(first, second)
    correct = np.where(answer < 0, np.nan, answer == odd)
    of_axis = correct[: num_tasks * axes.num_axes].reshape(axes.num_axes, num_tasks)
    answered = (~np.isnan(of_axis)).sum(axis=1)
    hits = np.nansum(of_axis, axis=1)
    p = stats.binom.sf(hits - 1, answered, 1 / NUM_SHOWN)
    at_random = correct[num_tasks * axes.num_axes :]
    known = at_random[~np.isnan(at_random)]
    return Intruder(
        rate=hits / np.maximum(answered, 1),
        p=np.where(answered > 0, p, 1.0),
        random_rate=float(known.mean()) if len(known) else float("nan"),
        num_tasks=answered,
    )


def _task(
    rng: np.random.Generator, pairs: Pairs, gap: np.ndarray, top: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Five pairs turned so that all but one fall from first to second, and which one does not."""
    size = max(NUM_SHOWN, round(top * len(gap)))
    far = np.argsort(-np.abs(gap), kind="stable")[:size]
    shown = rng.choice(far, NUM_SHOWN, replace=len(far) < NUM_SHOWN)
    odd = int(rng.integers(NUM_SHOWN))
    turn = (gap[shown] < 0) ^ (np.arange(NUM_SHOWN) == odd)
    first = np.where(turn, pairs.second[shown], pairs.first[shown])
    second = np.where(turn, pairs.first[shown], pairs.second[shown])
    return first, second, odd
