"""Win rates of one way to answer over another, with intervals that know who was asked.

A win is 1, a tie ½, a loss 0, a cell without a verdict NaN. The win rate is the mean over users of
each user's mean, and its interval is one over users (``clustered_mean``): answers of one person are
alike, and an interval that counts each answer as new evidence covers 71 % where it says 95 %. Where
users share prompts the cells of one prompt are alike as well, and both are drawn again.

Length-controlled, with the difference d of log lengths and its deviation s,

    P(win) = σ(θ + γ x),  x = tanh(d / s),      win rate at equal length = σ(θ).

Where one way is always the longer, x is as constant as the intercept, and θ and γ cannot be told
apart whatever the ridge makes of them. What the lengths of n cells say about θ beside γ, in cells,

    I = n (1 − x̄² / mean(x²)),

is n if either way is as often the longer, and about four times the number of the rarer sort if not;
below 40, or n/2 with few cells, the win rate at equal length is NaN, with a warning that says why.

References:
    PReF, arXiv 2503.06358, section 5.2; Owen (2007), "The pigeonhole bootstrap"; length control:
    arXiv 2404.04475, Eq. 1, without the difficulty of each instruction, which needs many models.
"""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real
from scipy import special, stats

from prefjax.metrics.interval import Interval, clustered_mean
from prefjax.metrics.two_way import draw_counts, two_way_mean
from prefjax.types import Array, PRNGKey

_LEAST_TOLD = 40.0  # cells; ten of the rarer sort


def win_rate(
    win: Float[Array, " pair"],
    user: Int[Array, " pair"],
    *,
    prompt: Int[Array, " pair"] | None = None,
    key: PRNGKey | None = None,
    level: float = 0.95,
    num_resamples: int = 2000,
) -> Interval:
    """Mean over users of their win rates, with an interval that stays in [0, 1].

    Args:
        win: 1, ½, 0 or NaN for each cell; ``win_difference`` takes differences of wins.
        user: User of each cell.
        prompt: Prompt of each cell. With it the interval is a two-way bootstrap, in which users
            and prompts are drawn again; without it Student's t over users.
        key: Random key of the bootstrap.
        level: Coverage of the interval.
        num_resamples: Number of bootstrap means.

    Raises:
        ValueError: If prompts come without a key, or a win lies outside [0, 1].

    >>> win = np.array([1.0, 0.5, 0.0, 1.0, np.nan])
    >>> float(win_rate(win, np.array([0, 0, 1, 1, 1])).value)
    0.625
    """
    return _mean_win(win, user, (0.0, 1.0), prompt, key, level, num_resamples)


def _mean_win(
    win: Array,
    user: Array,
    bounds: tuple[float, float],
    prompt: Array | None,
    key: PRNGKey | None,
    level: float,
    num_resamples: int = 2000,
) -> Interval:
    """Mean over users of their wins, or differences of wins, in these bounds."""
    if prompt is None:
        return clustered_mean(win, user, level=level, bounds=bounds)
    if key is None:
        raise ValueError("A two-way bootstrap needs a key.")
    return two_way_mean(
        key, win, user, prompt, bounds=bounds, level=level, num_resamples=num_resamples
    )


def win_difference(
    first: Float[Array, " pair"],
    second: Float[Array, " pair"],
    user: Int[Array, " pair"],
    *,
    prompt: Int[Array, " pair"] | None = None,
    key: PRNGKey | None = None,
    level: float = 0.95,
) -> Interval:
    """Difference of two win rates on the same cells: those in which both have a verdict.

    Args:
        first: Wins of the one.
        second: Wins of the other, cell by cell.
        user: User of each cell.
        prompt: Prompt of each cell. With it the interval is a two-way bootstrap, in which users
            and prompts are drawn again; without it Student's t over users.
        key: Random key of the bootstrap.
        level: Coverage of the interval, which stays in [−1, 1].

    Raises:
        ValueError: If prompts come without a key, or a difference lies outside [−1, 1].
    """
    gap = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    return _mean_win(gap, user, (-1.0, 1.0), prompt, key, level)


def length_controlled_win_rate(
    key: PRNGKey,
    win: Float[Array, " pair"],
    user: Int[Array, " pair"],
    length: Real[Array, " pair"],
    other_length: Real[Array, " pair"],
    *,
    level: float = 0.95,
    num_resamples: int = 1000,
) -> Interval:
    """Win rate that would be had at equal length, with an interval over users drawn again.

    The interval is Student's t on the logit θ, with the deviation of θ over resamples of users. A
    ridge of one hundredth on θ and γ keeps the estimate finite where everything was won. Where wins
    and losses are split by a length without exception, any rate at equal length fits, and the
    interval is [0, 1].

    Args:
        key: Random key of the bootstrap.
        win: 1, ½, 0 or NaN for each cell.
        user: User of each cell.
        length: Length of the response that won or lost, in words or tokens, at least 1.
        other_length: Length of what it was compared with.
        level: Coverage of the interval.
        num_resamples: Number of bootstrap fits.

    Returns:
        The win rate; NaN, with a warning, where one way is nearly always the longer.

    Raises:
        ValueError: If a length of a cell with a verdict is below 1 or not finite, or a win lies
            outside [0, 1].
    """
    win = np.asarray(win, np.float64)
    use = ~np.isnan(win)
    lengths = np.stack([np.asarray(length)[use], np.asarray(other_length)[use]])
    if not ((lengths >= 1) & (lengths < np.inf)).all():
        raise ValueError(
            f"Lengths must be finite and at least 1; they run from {lengths.min()} to "
            f"{lengths.max()}."
        )
    win, gap = win[use], np.subtract(*np.log(lengths))
    unadjusted = clustered_mean(win, np.asarray(user)[use], level=level, bounds=(0.0, 1.0))
    names, group = np.unique(np.asarray(user)[use], return_inverse=True)
    nan = np.asarray(np.nan)
    if not len(names):
        return Interval(nan, nan, nan, np.asarray(0))
    covariate = np.tanh(gap / (gap.std() or 1.0))
    square = np.mean(covariate**2)
    told = len(gap) * (1 - covariate.mean() ** 2 / square if square > 0 else 1)
    if told < min(_LEAST_TOLD, len(gap) / 2):
        warnings.warn(
            f"The win rate at equal length is NaN: of {len(gap)} responses {np.sum(gap > 0)} are "
            f"longer and {np.sum(gap < 0)} shorter than what they were compared with, which says "
            "too little about responses of equal length. Report the plain win rate beside the "
            "lengths.",
            stacklevel=2,
        )
        return Interval(nan, nan, nan, np.asarray(len(names)))
    design = np.stack([np.ones_like(gap), covariate], axis=1)
    theta = _logit_at_equal_length(design, win, np.ones((1, len(gap))))[0]
    value = special.expit(theta)
    if len(names) < 2:
        return Interval(value, nan, nan, np.asarray(len(names)))
    if win.min() == win.max() and win[0] in (0.0, 1.0):
        return unadjusted._replace(value=value)
    if _is_split(win, gap):
        return Interval(value, np.asarray(0.0), np.asarray(1.0), np.asarray(len(names)))
    drawn = draw_counts(key, num_resamples, len(names))[:, group]
    error = _logit_at_equal_length(design, win, drawn).std(ddof=1)
    half = stats.t.ppf(0.5 + level / 2, len(names) - 1) * error
    low, high = special.expit(theta - half), special.expit(theta + half)
    return Interval(value, low, high, np.asarray(len(names)))


def _is_split(win: np.ndarray, gap: np.ndarray) -> bool:
    """Whether one length divides the wins from the losses, with nothing on the other side."""
    if ((win > 0) & (win < 1)).any() or win.min() == win.max():
        return False
    won, lost = gap[win == 1], gap[win == 0]
    return bool(lost.max() < won.min() or won.max() < lost.min())


class Agreement(NamedTuple):
    """How far two judges agree on the same questions.

    Attributes:
        rate: Share of questions with the same verdict.
        kappa: Cohen's κ: that share above what their marginal verdicts give by chance, 1 at best.
        num: Questions on which both have a verdict.
    """

    rate: float
    kappa: float
    num: int


def agreement(first: Float[Array, " pair"], second: Float[Array, " pair"]) -> Agreement:
    """Agreement of two judges; verdicts are 1, ½ and 0, and NaN where a judge has none.

    κ is NaN where both gave one and the same verdict throughout.

    Args:
        first: Verdicts of the one judge.
        second: Verdicts of the other, question by question.

    Raises:
        ValueError: If a verdict is none of 1, ½, 0 and NaN.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    use = ~np.isnan(first) & ~np.isnan(second)
    first, second = first[use], second[use]
    odd = np.flatnonzero(~np.isin([first, second], (0.0, 0.5, 1.0)).all(axis=0))
    if odd.size:
        raise ValueError(
            f"Verdicts are 1, ½ and 0; row {np.flatnonzero(use)[odd[0]]} has {first[odd[0]]} and "
            f"{second[odd[0]]}."
        )
    if not len(first):
        return Agreement(float("nan"), float("nan"), 0)
    from sklearn.metrics import cohen_kappa_score  # slow to import, and needed here alone

    rate = float(np.mean(first == second))
    classes = [(2 * verdicts).astype(int) for verdicts in (first, second)]
    is_constant = len(np.unique(classes)) == 1
    kappa = float("nan") if is_constant else float(cohen_kappa_score(*classes))
    return Agreement(rate, kappa, len(first))


def _logit_at_equal_length(
    design: Float[np.ndarray, "pair 2"],
    win: Float[np.ndarray, " pair"],
    sample_weight: Float[np.ndarray, "resample pair"],
) -> Float[np.ndarray, " resample"]:
    """θ of the weighted logistic fits, by Newton on all of them at once."""
    beta, ridge = np.zeros((len(sample_weight), 2)), 0.01 * np.eye(2)
    for _ in range(30):
        p = 1 / (1 + np.exp(-beta @ design.T))
        gradient = (sample_weight * (p - win[None])) @ design + beta @ ridge
        curvature = sample_weight * p * (1 - p)
        hessian = np.einsum("rp,pi,pj->rij", curvature, design, design, optimize=True) + ridge
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        # A step of one unit at most keeps Newton from leaping where σ is flat.
        beta = beta - step / np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True))
        if np.abs(step).max() < 1e-9:
            break
    return beta[:, 0]
