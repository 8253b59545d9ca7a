import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from prefjax import logistic, numerics
from prefjax.logistic import NewtonConfig, Status

U, T, J = 300, 20, 6


def simulate(seed=0, num_users=U, num_pairs=T, num_factors=J):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num_users, num_pairs, num_factors))
    truth = rng.normal(size=(num_users, num_factors))
    chance = 1 / (1 + np.exp(-np.einsum("utj,uj->ut", features, truth)))
    label = rng.random(chance.shape) < chance
    return features.astype(np.float32), label.astype(np.float32)


def as_prior(mean, precision):
    return {"mean": mean, "precision": precision}


RIDGE = as_prior(jnp.zeros(J), 0.02 * jnp.eye(J))
FLAT = as_prior(jnp.zeros(J), jnp.zeros((J, J)))


fit_one = jax.jit(logistic.fit, static_argnames="config")


@jax.jit
def fit_users(features, label, weight, prior):
    return jax.vmap(lambda f, y, w: logistic.fit(f, y, w, **prior))(features, label, weight)


def objective(point, features, label, weight, offset, prior):
    shift = point - prior["mean"]
    loss = numerics.softplus_loss(features @ point + offset, label)
    return weight @ loss + shift @ prior["precision"] @ shift / 2


def test_agrees_with_scikit_learn_across_blocks_with_padding():
    features, label = simulate()  # more users than a block, not a multiple of it
    fits = fit_users(features, label, np.ones_like(label), RIDGE)
    assert fits.converged.all()
    assert (fits.num_steps <= 12).all()
    for user in (0, 1, 255, 256, 299):
        model = LogisticRegression(C=1 / 0.02, fit_intercept=False, tol=1e-10, max_iter=1000)
        model.fit(features[user].astype(float), label[user])
        np.testing.assert_allclose(fits.weights[user], model.coef_[0], atol=1e-4)


@pytest.mark.parametrize("num_factors", [3, 14])  # unrolled and dense algebra
def test_full_prior_soft_labels_weights_and_offset(num_factors):
    rng = np.random.default_rng(1)
    features, _ = simulate(1, 1, 40, num_factors)  # 40 answers: more than one unrolled chunk
    label = rng.random(40).astype(np.float32)
    weight = rng.gamma(1, size=40).astype(np.float32)
    offset = rng.normal(size=40).astype(np.float32)
    root = rng.normal(size=(num_factors, num_factors)).astype(np.float32)
    prior = as_prior(jnp.ones(num_factors), jnp.asarray(root @ root.T))
    found = fit_one(features[0], label, weight, **prior, offset=offset)
    given = (features[0], label, weight, offset, prior)
    best = minimize(
        lambda x: float(objective(jnp.asarray(x, jnp.float32), *given)),
        np.asarray(found.weights),
        jac=lambda x: np.asarray(jax.grad(objective)(jnp.asarray(x, jnp.float32), *given), float),
    )
    np.testing.assert_allclose(found.weights, best.x, atol=2e-3)
    gradient = jax.grad(objective)(found.weights, *given)
    np.testing.assert_allclose(gradient, 0, atol=5e-5)
    hessian = jax.hessian(objective)(found.weights, *given)
    np.testing.assert_allclose(found.hessian, hessian, rtol=1e-3, atol=1e-3)
    assert found.status == Status.OK


def test_double_precision():
    features, label = simulate(2, 1)
    with jax.enable_x64(True):
        prior = as_prior(jnp.zeros(J), 0.02 * jnp.eye(J))
        f, y, w = features[0].astype(float), label[0].astype(float), np.ones(T)
        found = fit_one(f, y, w, **prior, config=NewtonConfig(tolerance=1e-11))
        assert found.weights.dtype == np.float64
        gradient = jax.grad(objective)(found.weights, f, y, w, np.zeros(T), prior)
        np.testing.assert_allclose(gradient, 0, atol=1e-9)


def test_masked_equals_deleted_even_if_nan_and_duplicates_equal_weight_two():
    features, label = simulate(3, 1)
    features, label = features[0], label[0]
    weight = np.ones(T, np.float32)
    weight[5:] = 0
    dirty, dirty_label = features.copy(), label.copy()
    dirty[5:], dirty_label[5:] = np.nan, np.nan
    masked = fit_one(dirty, dirty_label, weight, **RIDGE)
    deleted = fit_one(features[:5], label[:5], weight[:5], **RIDGE)
    np.testing.assert_allclose(masked.weights, deleted.weights, atol=1e-4)
    twice = fit_one(
        np.tile(features[:5], (2, 1)), np.tile(label[:5], 2), np.ones(10, np.float32), **RIDGE
    )
    double = fit_one(features[:5], label[:5], 2 * weight[:5], **RIDGE)
    np.testing.assert_allclose(twice.weights, double.weights, atol=1e-4)


def test_no_answers_give_the_prior_mean_exactly():
    prior = as_prior(jnp.arange(6.0) / 7, 3 * jnp.eye(J))
    features, label = simulate(4, 2)
    found = fit_users(features * np.nan, label, np.zeros((2, T), np.float32), prior)
    np.testing.assert_array_equal(found.weights, np.tile(prior["mean"], (2, 1)))
    np.testing.assert_array_equal(found.hessian[0], prior["precision"])
    assert (found.status == Status.NO_DATA).all()


def test_separable_answers_need_a_prior():
    features, _ = simulate(5)
    label = (features[:, :, 0] > 0).astype(np.float32)
    weight = np.ones_like(label)
    loose = fit_users(features, label, weight, FLAT)
    assert (loose.status == Status.SEPARABLE).all()
    assert np.isfinite(loose.weights).all()
    assert not loose.converged.any()
    for precision in (1.0, 1e-4):
        prior = as_prior(jnp.zeros(J), precision * jnp.eye(J))
        assert (fit_users(features, label, weight, prior).status == Status.OK).all()


def test_ties_and_contradictions_and_few_answers_are_held_by_the_prior():
    features, _ = simulate(6, 1, 2)
    weight = np.ones(2, np.float32)
    ties = fit_one(features[0], np.full(2, 0.5, np.float32), weight, **RIDGE)
    np.testing.assert_allclose(ties.weights, 0, atol=1e-6)
    same = np.stack([features[0, 0]] * 2)
    against = fit_one(same, np.array([0.0, 1.0], np.float32), weight, **RIDGE)
    np.testing.assert_allclose(against.weights, 0, atol=1e-6)
    unbounded = fit_one(same, np.array([0.0, 1.0], np.float32), weight, **FLAT)
    assert np.isfinite(unbounded.weights).all()


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_huge_logits_stay_finite(size):
    features, label = simulate(7, 1)
    offset = np.where(np.arange(T) < 2, size, 0).astype(np.float32)
    found = fit_one(features[0], label[0], np.ones(T, np.float32), **RIDGE, offset=offset)
    assert all(np.isfinite(x).all() for x in found)
    large = fit_one(features[0] * np.float32(size), label[0], np.ones(T, np.float32), **RIDGE)
    assert np.isfinite(large.weights).all()


def test_converges_from_a_mean_that_is_far_off():
    features, label = simulate(8, 1)
    weight = np.ones(T, np.float32)
    far = as_prior(jnp.full(J, 300.0), 0.5 * jnp.eye(J))
    found = fit_one(features[0], label[0], weight, **far)
    gradient = jax.grad(objective)(found.weights, features[0], label[0], weight, jnp.zeros(T), far)
    assert found.converged
    np.testing.assert_allclose(gradient, 0, atol=2e-3)  # terms of size 150


def test_every_step_lowers_the_objective():
    features, label = simulate(9, 1, 8, 2)  # small: every number of steps compiles anew
    weight = np.ones(8, np.float32)
    far = as_prior(jnp.full(2, 4.0), 0.1 * jnp.eye(2))
    given = (features[0], label[0], weight, jnp.zeros(8), far)
    values = [float(objective(far["mean"], *given))]
    for steps in range(1, 9):
        config = NewtonConfig(max_steps=steps)
        found = fit_one(features[0], label[0], weight, **far, config=config)
        values.append(float(objective(found.weights, *given)))
    assert (np.diff(values) <= 1e-5 * values[0]).all()


def test_nested_vmap_shared_features_and_scan_equal_single_fits():
    features, label = simulate(10, 6)
    features, label = features.reshape(2, 3, T, J), label.reshape(2, 3, T)
    weight = np.ones(T, np.float32)

    def one(f, y):
        return logistic.fit(f, y, weight, **RIDGE).weights

    single = one(features[1, 2], label[1, 2])
    nested = jax.jit(jax.vmap(jax.vmap(one)))(features, label)
    np.testing.assert_allclose(nested[1, 2], single, atol=1e-5)
    shared = jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(None, 0))(features[1, 2], label)
    np.testing.assert_allclose(shared[1, 2], single, atol=1e-5)
    over_seeds = jax.vmap(lambda f: jax.vmap(one, in_axes=(None, 0))(f, label[1]))(features[:, 2])
    np.testing.assert_allclose(over_seeds[1, 2], single, atol=1e-5)

    def body(carry, rows):
        return carry, jax.vmap(one)(*rows)

    _, scanned = jax.lax.scan(body, 0, (features, label))
    np.testing.assert_allclose(scanned, nested, atol=1e-5)


def test_priors_of_their_own():
    features, label = simulate(11, 2)
    means = jnp.stack([jnp.zeros(J), jnp.ones(J)])

    def one(f, y, mean):
        prior = as_prior(mean, jnp.eye(J))
        return logistic.fit(f, y, jnp.ones(T), **prior).weights

    both = jax.vmap(one)(features, label, means)
    np.testing.assert_allclose(both[1], one(features[1], label[1], means[1]), atol=1e-5)


def test_config_is_checked():
    with pytest.raises(ValueError, match="max_steps"):
        NewtonConfig(max_steps=0)
    with pytest.raises(ValueError, match="tolerance"):
        NewtonConfig(tolerance=0.0)
