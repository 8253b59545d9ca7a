"""Are the predicted probabilities right: accuracy, proper scores, calibration, coverage.

With the logit s, p = σ(s) and a label y in [0, 1]

    nll = softplus(s) − y·s,   brier = (p − y)²,   correct = [s > 0] = [y > ½].

These are one number a row, for ``clustered_mean`` to average; they do not depend on the order of a
pair. Calibration puts rows in bins of equal mass b and compares the mean prediction with the mean
label there,

    ECE = Σ_b (n_b / n) · |p̄_b − ȳ_b|,

which noise makes positive even for a perfect model; the expected excess is taken off. `recalibrate`
says the same in two numbers, the slope and the intercept of a logistic regression of y on s.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, special, stats

from prefjax.metrics.interval import Interval
from prefjax.types import Array


class Reliability(NamedTuple):
    """Reliability diagram: mean prediction and mean label in bins of equal mass.

    Attributes:
        predicted: Mean predicted probability of each bin.
        observed: Mean label of each bin.
        standard_error: Standard error of ``observed − predicted``; NaN for a bin of one row.
        count: Rows in each bin.
    """

    predicted: Float[np.ndarray, " bin"]
    observed: Float[np.ndarray, " bin"]
    standard_error: Float[np.ndarray, " bin"]
    count: Int[np.ndarray, " bin"]


def nll(logit: Float[Array, "*rows"], label: Float[Array, "*rows"]) -> Float[jax.Array, "*rows"]:
    """Negative log-likelihood in nats of each row, ``softplus(s) − y·s``; finite for any finite s.

    Args:
        logit: Preference logit s.
        label: Probability that the first is preferred.
    """
    return jax.nn.softplus(logit) - label * logit


def brier(logit: Float[Array, "*rows"], label: Float[Array, "*rows"]) -> Float[jax.Array, "*rows"]:
    """Squared error of the probability of each row, ``(σ(s) − y)²``.

    Args:
        logit: Preference logit s.
        label: Probability that the first is preferred.
    """
    return jnp.square(jax.nn.sigmoid(logit) - label)


def correct(
    logit: Float[Array, "*rows"], label: Float[Array, "*rows"]
) -> Float[jax.Array, "*rows"]:
    """1 where the threshold 0 predicts the preferred response, ½ at s = 0, NaN for a tied label.

    The threshold is never chosen on test labels. NaN rows are left out by ``clustered_mean``.

    Args:
        logit: Preference logit s.
        label: Probability that the first is preferred.
    """
    agreement = 0.5 * (1.0 + jnp.sign(logit) * jnp.sign(label - 0.5))
    return jnp.where(label == 0.5, jnp.nan, agreement)


def reliability(
    probability: Float[Array, " pair"],
    label: Float[Array, " pair"],
    *,
    num_bins: int = 15,
    mirrored: bool = True,
) -> Reliability:
    """Mean prediction against mean label in bins of equal mass.

    Args:
        probability: Predicted probability that the first is preferred.
        label: Probability that it was.
        num_bins: Bins wanted; rows with equal predictions stay in one bin, so there may be fewer.
        mirrored: The order of a pair is arbitrary: state every row for the response that the model
            favors, so that predictions lie in [½, 1]. False for votes against the zero baseline.

    Raises:
        ValueError: If there are no rows, or a probability or label lies outside [0, 1].
    """
    probability, label = np.asarray(probability, np.float64), np.asarray(label, np.float64)
    for name, values in (("Probabilities", probability), ("Labels", label)):
        bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
        if bad.size:
            raise ValueError(f"{name} must lie in [0, 1]; row {bad[0]} has {values[bad[0]]}.")
    if not probability.size:
        raise ValueError("No rows: a reliability diagram needs at least one comparison.")
    if mirrored:
        flip = probability < 0.5
        probability = np.where(flip, 1 - probability, probability)
        label = np.where(flip, 1 - label, label)
        # A prediction of exactly ½ favors neither: its row and its mirror average to ½.
        label = np.where(probability == 0.5, 0.5, label)
    inner = np.quantile(probability, np.arange(1, num_bins) / num_bins, method="inverted_cdf")
    _, index = np.unique(np.searchsorted(inner, probability, side="left"), return_inverse=True)
    count = np.bincount(index)
    predicted = np.bincount(index, weights=probability) / count
    observed = np.bincount(index, weights=label) / count
    residual = label - probability - (observed - predicted)[index]
    square = np.bincount(index, weights=residual**2)
    variance = np.divide(
        square, count * (count - 1.0), out=np.full(len(count), np.nan), where=count > 1
    )
    return Reliability(predicted, observed, np.sqrt(variance), count)


def expected_calibration_error(
    probability: Float[Array, " pair"],
    label: Float[Array, " pair"],
    *,
    num_bins: int = 15,
    mirrored: bool = True,
) -> float:
    """Expected calibration error over bins of equal mass, with the excess due to noise taken off.

    The gap of a bin is seen with noise of variance v, so its size is too large by about
    ``E|N(gap, v)| − |gap|``; that excess, in closed form, is subtracted, and the sum is cut at 0.
    A single-row bin has no estimate of v and is not corrected.

    Args:
        probability: Predicted probability that the first is preferred.
        label: Probability that it was.
        num_bins: Number of bins.
        mirrored: State every row for the response that the model favors, as the order of a pair
            is arbitrary. False for votes against the zero baseline.

    Raises:
        ValueError: If there are no rows, or a probability or label lies outside [0, 1].

    References:
        arXiv 1909.10155, Kumar, Liang and Ma, "Verified uncertainty calibration", section 5; the
        resampling of its plug-in correction is replaced by the mean of a folded normal.
    """
    bins = reliability(probability, label, num_bins=num_bins, mirrored=mirrored)
    gap = np.abs(bins.observed - bins.predicted)
    error = np.nan_to_num(bins.standard_error)
    ratio = np.divide(gap, error, out=np.full(len(gap), np.inf), where=error > 0)
    folded = error * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + gap * special.erf(
        ratio / np.sqrt(2)
    )
    return max(0.0, float(np.average(2 * gap - folded, weights=bins.count)))


class Recalibration(NamedTuple):
    """Logistic regression of the label on the logit; slope 1 and intercept 0 are calibrated.

    Attributes:
        slope: Above 1 the predictions are too cautious, below 1 too sure.
        intercept: Above 0 the first response, or a vote for, is preferred more often than said;
            exactly 0 where the order of a pair is arbitrary.
    """

    slope: Interval
    intercept: Interval


def recalibrate(
    logit: Float[Array, " pair"],
    label: Float[Array, " pair"],
    user: Int[Array, " pair"],
    *,
    mirrored: bool = True,
    level: float = 0.95,
) -> Recalibration:
    """``y ~ σ(a + b s)`` by maximum likelihood, with intervals whose unit is a person.

    The variance of (a, b) is ``H⁻¹ (Σ_u g_u g_uᵀ) H⁻¹ n / (n − 1)`` with g_u the gradient of
    person u's rows and n people.

    Args:
        logit: Preference logit s.
        label: Probability that the first is preferred.
        user: Whose row it is.
        mirrored: The order of a pair is arbitrary, so that there is no intercept. False for votes
            against the zero baseline.
        level: Coverage of the intervals.

    References:
        Cox (1958), Two further applications of a model for binary regression, Biometrika 45.
        Liang and Zeger (1986), Longitudinal data analysis using generalized linear models.
    """
    logit, label = np.asarray(logit, np.float64), np.asarray(label, np.float64)
    _, place = np.unique(np.asarray(user), return_inverse=True)
    num = int(place.max(initial=-1)) + 1
    inputs = logit[:, None] if mirrored else np.stack([logit, np.ones_like(logit)], axis=1)
    size = inputs.shape[1]

    def derivatives(point):
        probability = special.expit(inputs @ point)
        residual = inputs * (probability - label)[:, None]
        slope = probability * (1 - probability)
        return residual, (inputs * slope[:, None]).T @ inputs

    def loss(point):
        return np.sum(np.logaddexp(0, inputs @ point) - label * (inputs @ point))

    found = optimize.minimize(
        loss,
        np.eye(size)[0],
        jac=lambda point: derivatives(point)[0].sum(axis=0),
        hess=lambda point: derivatives(point)[1],
        method="trust-exact",
    ).x
    residual, hessian = derivatives(found)
    by_user = np.stack([np.bincount(place, column, num) for column in residual.T])
    error = np.full(size, np.nan)
    if num > 1 and np.linalg.cond(hessian) < 1 / np.finfo(float).eps:
        half = np.linalg.solve(hessian, by_user)
        error = np.sqrt(np.sum(half**2, axis=1) * num / (num - 1))
    else:
        found = np.full(size, np.nan)
    radius = stats.t.ppf(0.5 + level / 2, max(num - 1, 1)) * error
    parts = [
        Interval(*map(np.asarray, (value, value - reach, value + reach, num)))
        for value, reach in zip(found, radius, strict=True)
    ]
    zero = Interval(*map(np.asarray, (0.0, 0.0, 0.0, num)))
    return Recalibration(parts[0], zero if mirrored else parts[1])


def interval_coverage(
    truth: Float[Array, "*shape"],
    mean: Float[Array, "*shape"],
    standard_deviation: Float[Array, "*shape"],
    *,
    level: float = 0.95,
) -> float:
    """Share of true values inside the central Gaussian interval at this level.

    Args:
        truth: True values, such as planted user weights.
        mean: Posterior means.
        standard_deviation: Posterior standard deviations.
        level: Nominal coverage; a calibrated posterior returns about this number.
    """
    radius = stats.norm.ppf(0.5 + level / 2) * np.asarray(standard_deviation)
    return float(np.mean(np.abs(np.asarray(truth) - np.asarray(mean)) <= radius))
