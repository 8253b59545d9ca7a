"""The variational posterior of one user: its optimum, the true posterior, and the batching."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize
from scipy.special import expit
from scipy.stats import norm

from prefjax import logistic
from prefjax.logistic import GaussianConfig, Status
from prefjax.person import laplace

EXACT = GaussianConfig(max_steps=300, tolerance=1e-4)
U, T, J = 6, 12, 3


def world(scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    features = (scale * rng.normal(size=(U, T, J))).astype(np.float32)
    weights = rng.normal(size=(U, J))
    label = rng.random((U, T)) < expit(np.einsum("upj,uj->up", features, weights))
    return features, label.astype(np.float32), np.ones((U, T), np.float32)


def fit_many(arrays, config=logistic.GAUSSIAN, **more):
    prior = {"mean": jnp.zeros(J), "precision": jnp.eye(J)}
    solve = partial(logistic.fit_gaussian, **prior, config=config, **more)
    return jax.jit(jax.vmap(solve))(*arrays)


def test_one_weight_has_the_smallest_bound_and_nearly_the_true_moments():
    """The bound by numerical integration, minimized by SciPy, in one dimension."""
    rng = np.random.default_rng(1)
    features, offset = 1.5 * rng.normal(size=8), rng.normal(size=8)
    label, variance = (rng.random(8) < 0.6) * 1.0, rng.random(8)
    kappa = 1 / np.sqrt(1 + np.pi * variance / 8)

    def loss(z, y):
        return np.logaddexp(0, z) - y * z

    def bound(log_deviation_and_mean):
        deviation, mean = np.exp(log_deviation_and_mean[0]), log_deviation_and_mean[1]
        total = 0.5 * (deviation**2 + (mean - 0.3) ** 2) - np.log(deviation)
        for f, o, y in zip(kappa * features, kappa * offset, label, strict=True):
            spread = np.abs(f * deviation)
            value = integrate.quad(
                lambda x, f=f, o=o, y=y, s=spread: norm.pdf(x) * loss(mean * f + o + s * x, y),
                -8,
                8,
            )
            total += value[0]
        return total

    best = optimize.minimize(bound, [0.0, 0.0], tol=1e-8).x
    found = logistic.fit_gaussian(
        *(np.float32(x) for x in (features[:, None], label, np.ones(8))),
        mean=jnp.asarray([0.3]),
        precision=jnp.eye(1),
        offset=np.float32(offset),
        variance=np.float32(variance),
        config=EXACT,
    )
    assert float(found.weights[0]) == pytest.approx(best[1], abs=2e-3)
    assert float(found.hessian[0, 0]) ** -0.5 == pytest.approx(np.exp(best[0]), rel=2e-3)

    def density(w):
        return norm.pdf(w, 0.3) * np.exp(-loss(w * features + offset, label).sum())

    moments = [integrate.quad(lambda w, k=k: w**k * density(w), -8, 8)[0] for k in range(3)]
    mean, square = moments[1] / moments[0], moments[2] / moments[0]
    sure = logistic.fit_gaussian(
        *(np.float32(x) for x in (features[:, None], label, np.ones(8))),
        mean=jnp.asarray([0.3]),
        precision=jnp.eye(1),
        offset=np.float32(offset),
    )
    assert float(sure.weights[0]) == pytest.approx(mean, abs=0.03)
    assert float(sure.hessian[0, 0]) ** -0.5 == pytest.approx(np.sqrt(square - mean**2), rel=0.05)


def test_predictions_are_those_of_a_long_markov_chain():
    """Random-walk Metropolis of every user side by side, and nearer to it than a moderated MAP."""
    features, label, weight = world(scale=1.5)
    asked = np.random.default_rng(7).normal(size=(U, 20, J)).astype(np.float32)

    def energy(point):
        logit = jnp.einsum("upj,uj->up", features, point)
        return jnp.sum(jax.nn.softplus(logit) - label * logit, 1) + jnp.sum(point**2, 1) / 2

    @jax.jit
    def chain(key):
        def step(carry, key):
            point, value, total = carry
            move, accept = jax.random.split(key)
            trial = point + 0.9 * jax.random.normal(move, point.shape)
            reached = energy(trial)
            taken = jnp.log(jax.random.uniform(accept, value.shape)) < value - reached
            point = jnp.where(taken[:, None], trial, point)
            value = jnp.where(taken, reached, value)
            total = total + jax.nn.sigmoid(jnp.einsum("upj,uj->up", asked, point))
            return (point, value, total), None

        start = jnp.zeros((U, J))
        carry = start, energy(start), jnp.zeros((U, 20))
        (_, _, total), _ = jax.lax.scan(step, carry, jax.random.split(key, 60_000))
        return total / 60_000

    truth = chain(jax.random.key(0))

    def predicted(fits):
        belief = jax.vmap(laplace.posterior)(fits)
        moments = jax.vmap(laplace.predict_logit)(belief, asked)
        return jax.vmap(jax.vmap(laplace.win_probability))(*moments)

    prior = {"mean": jnp.zeros(J), "precision": jnp.eye(J)}
    point = jax.vmap(partial(logistic.fit, **prior))(features, label, weight)
    errors = [np.abs(predicted(fits) - truth) for fits in (fit_many(world(1.5)), point)]
    assert errors[0].max() < 0.025
    assert errors[0].mean() < 0.6 * errors[1].mean()


def test_no_answers_are_the_prior_and_masked_rows_are_deleted_rows():
    features, label, weight = world()
    weight[0] = 0
    weight[1, 5:] = 0
    features[0], label[0], features[1, 5:], label[1, 5:] = (np.nan,) * 4
    fits = fit_many((features, label, weight))
    np.testing.assert_array_equal(fits.weights[0], np.zeros(J))
    np.testing.assert_array_equal(fits.hessian[0], np.eye(J))
    assert fits.status.tolist() == [Status.NO_DATA] + [Status.OK] * (U - 1)
    prior = {"mean": jnp.zeros(J), "precision": jnp.eye(J)}
    one = logistic.fit_gaussian(features[1, :5], label[1, :5], weight[1, :5], **prior)
    np.testing.assert_allclose(fits.weights[1], one.weights, atol=1e-5)
    np.testing.assert_allclose(fits.hessian[1], one.hessian, atol=1e-4)


def test_people_taken_as_known_are_the_map():
    prior = {"mean": jnp.zeros(J), "precision": jnp.eye(J)}
    fits = fit_many(world(2.0), config=EXACT, posterior_scale=0.0)
    want = jax.vmap(partial(logistic.fit, **prior))(*world(2.0))
    np.testing.assert_allclose(fits.weights, want.weights, atol=2e-3)
    np.testing.assert_allclose(fits.hessian, want.hessian, rtol=2e-3, atol=1e-2)


@pytest.mark.parametrize("num_factors", [2, 16])
@pytest.mark.parametrize("scale", [0.1, 3.0, 10.0])
def test_the_steps_end_and_a_variance_that_is_not_the_persons_teaches_less(scale, num_factors):
    rng = np.random.default_rng(0)
    features = (scale * rng.normal(size=(U, T, num_factors))).astype(np.float32)
    label, weight = (rng.random((U, T)) < 0.5).astype(np.float32), np.ones((U, T), np.float32)
    prior = {"mean": jnp.zeros(num_factors), "precision": jnp.eye(num_factors)}
    solve = jax.vmap(partial(logistic.fit_gaussian, **prior))
    fits = solve(features, label, weight)
    assert np.asarray(fits.converged).all()
    unsure = solve(features, label, weight, variance=np.full((U, T), 9.0, np.float32))
    determinant = [np.linalg.slogdet(one.hessian)[1] for one in (fits, unsure)]
    assert np.all(determinant[1] < determinant[0])


@pytest.mark.parametrize(("field", "value"), [("max_steps", 0), ("tolerance", 0.0)])
def test_settings_under_which_no_fit_ends_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        GaussianConfig(**{field: value})
