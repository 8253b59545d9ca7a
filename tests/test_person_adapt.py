import jax.numpy as jnp
import numpy as np
import pytest

from prefjax import logistic, person
from prefjax.logistic import NewtonConfig, Status
from prefjax.types import FeatureGap, Gaussian, UserBatch

U, T, J = 5, 8, 2
RNG = np.random.default_rng(0)
PRECISION = np.array([[2.0, 0.5], [0.5, 1.0]], np.float32)
PRIOR = Gaussian(jnp.array([1.0, -0.5]), jnp.asarray(np.linalg.inv(PRECISION)))


def answers():
    features = RNG.normal(size=(U, T, J)).astype(np.float32)
    offset = RNG.normal(size=(U, T)).astype(np.float32)
    label = RNG.integers(0, 2, size=(U, T)).astype(np.float32)
    weight = np.ones((U, T), np.float32)
    weight[2] = 0
    features[2], label[2] = np.nan, np.nan
    return features, offset, label, weight


def test_many_users_equal_one_and_no_answers_the_prior():
    features, offset, label, weight = answers()
    for array in (features, offset, label, weight):
        array.setflags(write=False)
    fits = person.adapt_checked(FeatureGap(features, offset), label, weight, prior=PRIOR)
    one = logistic.fit_gaussian(
        features[4],
        label[4],
        weight[4],
        mean=PRIOR.mean,
        precision=PRECISION,
        offset=offset[4],
    )
    np.testing.assert_allclose(fits.weights[4], one.weights, atol=1e-5)
    np.testing.assert_array_equal(fits.weights[2], PRIOR.mean)
    assert fits.status.tolist() == [0, 0, Status.NO_DATA, 0, 0]


def test_ridge_prior():
    prior = person.ridge_prior(3, 0.5)
    np.testing.assert_array_equal(prior.covariance, 2.0 * np.eye(3))
    np.testing.assert_array_equal(prior.mean, np.zeros(3))
    for beta in (-1.0, 0.0, np.inf):
        with pytest.raises(ValueError, match="beta"):
            person.ridge_prior(3, beta)
    with pytest.raises(ValueError, match="num_factors"):
        person.ridge_prior(0, 1.0)


def test_ridge_losses_are_those_of_everybody_alone():
    """Padding, which may hold anything, and the weight of a row count as everywhere."""

    def batch(mask):
        label = np.where(mask, RNG.integers(0, 2, mask.shape), np.nan).astype(np.float32)
        weight = RNG.uniform(0.5, 2, mask.shape).astype(np.float32)
        place = np.zeros(mask.shape, np.int32)
        return UserBatch(first=place, second=place, label=label, sample_weight=weight, mask=mask)

    practice = batch(np.arange(T) < RNG.integers(1, T, (U, 1)))
    validation = batch(np.arange(T) < RNG.integers(1, T, (U, 1)))
    asked, tested = RNG.normal(size=(2, U, T, J)).astype(np.float32)
    got = person.ridge_losses(asked, practice, tested, validation, jnp.array([0.1, 3.0]))
    for value, ridge in zip(got, (0.1, 3.0), strict=True):
        total = 0.0
        for user in range(U):
            one, other = practice.mask[user], validation.mask[user]
            fit = logistic.fit(
                asked[user, one],
                practice.label[user, one],
                practice.sample_weight[user, one],
                mean=np.zeros(J, np.float32),
                precision=ridge * np.eye(J, dtype=np.float32),
            )
            logit = tested[user, other] @ np.asarray(fit.weights)
            loss = np.logaddexp(0, logit) - validation.label[user, other] * logit
            total += validation.sample_weight[user, other] @ loss
        np.testing.assert_allclose(value, total, rtol=1e-4)


def test_failures_are_counted_once_or_raise():
    features, offset, label, weight = answers()
    label[1] = features[1, :, 0] > 0
    offset = np.zeros_like(offset)
    flat = person.ridge_prior(J, 1e-12)
    gap = FeatureGap(features, offset)
    with pytest.warns(RuntimeWarning, match="of 5 users did not converge") as caught:
        fits = person.adapt_checked(gap, label, weight, prior=flat, config=NewtonConfig())
    assert len(caught) == 1
    assert fits.status[1] == Status.SEPARABLE
    assert np.isfinite(fits.weights).all()
    short = NewtonConfig(max_steps=1)
    with pytest.raises(RuntimeError, match="4 ran out of steps; users 0, 1, 3, 4"):
        person.adapt_checked(gap, label, weight, prior=PRIOR, config=short, strict=True)


@pytest.mark.parametrize(
    ("which", "value", "message"),
    [
        (0, np.nan, "features and offsets must be finite: user 3, answer 1"),
        (1, np.inf, "features and offsets must be finite: user 3, answer 1"),
        (2, 2.0, "labels must lie in"),
        (2, -1.0, "map them to"),
        (3, -1.0, "weights must be finite and not negative: user 3, answer 1"),
        (4, np.nan, "variances must be finite and not negative: user 3, answer 1"),
        (4, -1.0, "variances must be finite and not negative: user 3, answer 1"),
    ],
)
def test_bad_input_names_the_row(which, value, message):
    features, offset, label, weight = answers()
    arrays = features, offset, label, weight, np.zeros_like(offset)
    arrays[which][3, 1] = value
    with pytest.raises(ValueError, match=message):
        person.adapt_checked(FeatureGap(features, offset, arrays[4]), label, weight, prior=PRIOR)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        ([[1.0, 2.0], [0.0, 1.0]], "symmetric"),
        ([[1.0, 0.0], [0.0, -1.0]], "positive definite"),
        ([[1.0, 0.0], [0.0, 0.0]], "positive definite"),
        ([[1.0, 0.0], [0.0, np.nan]], "finite"),
    ],
)
def test_bad_prior_is_refused(covariance, message):
    prior = Gaussian(jnp.zeros(2), jnp.asarray(covariance))
    features, offset, label, weight = answers()
    with pytest.raises(ValueError, match=message):
        person.adapt_checked(FeatureGap(features, offset), label, weight, prior=prior)
