"""Does a label say which of two responses lies higher on an axis?

For pair i let g_i be the gap on the axis and a_i the annotation, positive where the first response
has more of what the label names. The order of a pair is arbitrary, so both orders count, and

    AUC = ½ + Σ_i sign(g_i) (R(a_i) − R(−a_i)) / 2n²,

with R the mid-ranks among all 2n numbers ±a: linear in the signs, so that thousands of directions
cost one product. Beside it stands Spearman's correlation of a with g over both orders. Intervals
are jackknifed over prompts, because pairs of one prompt share responses.

**Against random directions.** Some label fits almost any direction of a reward basis a little, and
some labels are easier to read off a text than others. So the part of random directions that a label
fits better than it fits the axis is taken, and this part is compared with what random directions,
each with the label that is chosen for it in the same way, reach themselves. On a random direction
the resulting p is uniform. A random direction is the reward of a random person, λ ~ N(0, Σ); under
the identity of canonical axes it is a column of a random rotation.

References:
    arXiv 2501.17727 (automatic scores of labels do not tell trained from random features).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from prefjax.interpret.axes import Axes
from prefjax.metrics import Interval, mean_interval


class Fidelity(NamedTuple):
    """How well a label fits an axis.

    Attributes:
        auc: Of the sign of the gap, with its 95 % interval over prompts.
        spearman: Correlation of annotation and gap, likewise.
        p: Of an AUC of ½ or less, one-sided.
        num_pairs: Pairs with an annotation.
    """

    auc: Interval
    spearman: Interval
    p: float
    num_pairs: int


def rank_terms(annotation: Float[np.ndarray, "label pair"]) -> Float[np.ndarray, "label pair"]:
    """What the sign of each pair adds to the AUC of each label; 0 without an annotation.

    Args:
        annotation: Positive where the first response has more; NaN where there is none.
    """
    known = ~np.isnan(annotation)
    num = known.sum(axis=1, keepdims=True)
    both = np.concatenate([annotation, -annotation], axis=1)
    rank = stats.rankdata(both, axis=1, nan_policy="omit")
    pairs = annotation.shape[1]
    difference = rank[:, :pairs] - rank[:, pairs:]
    return np.where(known, difference, 0.0) / np.maximum(2.0 * num**2, 1.0)


def auc_matrix(
    annotation: Float[np.ndarray, "label pair"], gap: Float[np.ndarray, "pair axis"]
) -> Float[np.ndarray, "label axis"]:
    """AUC of every label for the sign of the gap on every axis.

    Args:
        annotation: Positive where the first response has more; NaN where there is none.
        gap: First minus second response on every axis.
    """
    return 0.5 + rank_terms(annotation) @ np.sign(gap)


def _t_above(values: np.ndarray, bound: float) -> float:
    """P of a mean of ``bound`` or less, one-sided, by Student's t."""
    error = values.std(ddof=1) / np.sqrt(len(values))
    return float(stats.t.sf((values.mean() - bound) / error, len(values) - 1))


def _spearman(annotation: np.ndarray, gap: np.ndarray) -> float:
    first, second = (
        stats.rankdata(np.concatenate([values, -values])) for values in (annotation, gap)
    )
    first, second = first - first.mean(), second - second.mean()
    scale = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / scale) if scale > 0 else 0.0


def _over_blocks(value: float, without: np.ndarray, bounds: tuple[float, float]) -> Interval:
    """The jackknife interval of a statistic from its values without each block."""
    num = len(without)
    pseudo = num * value - (num - 1) * without
    if np.ptp(pseudo) < 1e-12 and (value in bounds):
        return mean_interval(np.full(num, value), bounds=bounds)
    interval = mean_interval(pseudo)
    low, high = np.clip([interval.low, interval.high], *bounds)
    return Interval(np.asarray(value), np.asarray(low), np.asarray(high), interval.num)


def fidelity(
    annotation: Float[np.ndarray, " pair"],
    gap: Float[np.ndarray, " pair"],
    block: Int[np.ndarray, " pair"],
) -> Fidelity:
    """How well one label fits one axis on a set of pairs.

    Args:
        annotation: Positive where the first response has more of what the label names, 0 for a
            tie; NaN pairs are left out.
        gap: First minus second response on the axis.
        block: Prompt of each pair.
    """
    known = ~np.isnan(annotation)
    annotation, gap, block = annotation[known], gap[known], block[known]
    blocks = np.unique(block)
    if len(blocks) < 2:
        nothing = Interval(*(np.asarray(np.nan) for _ in range(3)), num=np.asarray(len(blocks)))
        return Fidelity(nothing, nothing, 1.0, len(gap))

    def auc(kept: np.ndarray) -> float:
        return float(auc_matrix(annotation[None, kept], gap[kept, None])[0, 0])

    def correlation(kept: np.ndarray) -> float:
        return _spearman(annotation[kept], gap[kept])

    everything = np.ones(len(gap), bool)
    without = [block != one for one in blocks]
    value = auc(everything)
    left_out = np.array([auc(kept) for kept in without])
    pseudo = len(blocks) * value - (len(blocks) - 1) * left_out
    if np.ptp(pseudo) < 1e-12:
        p = 0.5 ** len(blocks) if value > 0.5 else 1.0
    else:
        p = _t_above(pseudo, 0.5)
    rho = np.array([correlation(kept) for kept in without])
    return Fidelity(
        auc=_over_blocks(value, left_out, (0.0, 1.0)),
        spearman=_over_blocks(correlation(everything), rho, (-1.0, 1.0)),
        p=p,
        num_pairs=len(gap),
    )


def random_directions(seed: int, axes: Axes, num: int) -> Float[np.ndarray, "axis direction"]:
    """Weights of random people of the population; see the module docstring.

    Args:
        seed: Of the draw.
        axes: Whose population.
        num: How many.
    """
    values, vectors = np.linalg.eigh(np.asarray(axes.basis.population.covariance, np.float64))
    root = vectors * np.sqrt(np.maximum(values, 0.0))[None]
    return root @ np.random.default_rng(seed).standard_normal((axes.num_axes, num))


def tail_share(
    null: Float[np.ndarray, "label direction"],
    value: Float[np.ndarray, " axis"],
    label: Int[np.ndarray, " axis"],
) -> Float[np.ndarray, " axis"]:
    """Part of the directions that the label of an axis fits at least as well as the axis.

    Args:
        null: AUC of every label on every random direction.
        value: AUC of the label of every axis on it.
        label: Which label that is.
    """
    ordered = np.sort(null, axis=1)
    below = np.array(
        [
            np.searchsorted(ordered[one], auc, side="left")
            for one, auc in zip(label, value, strict=True)
        ]
    )
    return 1.0 - below / null.shape[1]


def rotation_p(
    null: Float[np.ndarray, "label direction"],
    null_label: Int[np.ndarray, " direction"],
    value: Float[np.ndarray, " axis"],
    label: Int[np.ndarray, " axis"],
) -> Float[np.ndarray, " axis"]:
    """P of a label that fits an axis no better than a label fits a random direction.

    Args:
        null: AUC of every label on every random direction.
        null_label: The label that was chosen for each direction.
        value: AUC of the label of every axis on it.
        label: Which label that is.
    """
    own = np.take_along_axis(null, null_label[None], axis=0)[0]
    reached = np.sort(tail_share(null, own, null_label))
    share = tail_share(null, value, label)
    return (1 + np.searchsorted(reached, share, side="right")) / (1 + len(reached))


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """P-values adjusted for the number of tests by Holm's rule.

    Args:
        p: One of each test.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]

    References:
        Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p)
    scaled = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(scaled, 1.0)
    return adjusted
