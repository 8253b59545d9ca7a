"""Canonical axes: what changes, what does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefjax.basis import apply, canonical, canonicalize
from prefjax.basis.heads import linear_params
from prefjax.types import Gaussian, RewardBasis

U, R, J = 50, 40, 3


def make(features, utility, weights, covariance, population):
    """Free factors: every response has its own row of θ."""
    params = linear_params(jnp.column_stack((features, utility)))
    basis = RewardBasis(params, Gaussian(jnp.zeros(J), population), jnp.ones(()))
    return jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32), (basis, Gaussian(weights, covariance))
    )


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(R, J)) @ np.diag([2.0, 1.0, 0.3]) + 1
    weights = rng.normal(size=(U, J)) @ rng.normal(size=(J, J))
    weights = weights - weights.mean(0)
    own = np.broadcast_to(0.1 * np.eye(J), (U, J, J))
    return make(features, rng.normal(size=R), weights, own, weights.T @ weights / U)


def transform(fitted, matrix):
    """The same model in another gauge: Φ R and Λ R⁻ᵀ."""
    basis, people = fitted
    inverse = jnp.linalg.inv(matrix)
    items = apply(basis.params, None)
    return make(
        items.features @ matrix,
        items.utility,
        people.mean @ inverse.T,
        inverse @ people.covariance @ inverse.T,
        inverse @ basis.population.covariance @ inverse.T,
    )


@jax.jit
def to_canonical(fitted):
    basis, people = fitted
    *rotated, gauge = canonicalize(basis, people, apply(basis.params, None).features)
    return tuple(rotated), gauge


def reward(fitted):
    items = apply(fitted[0].params, None)
    return fitted[1].mean @ items.features.T + items.utility[None]


def spread(fitted):
    """Posterior variance of every reward of every user."""
    features = apply(fitted[0].params, None).features
    return jnp.einsum("ri,uij,rj->ur", features, fitted[1].covariance, features)


def test_the_canonical_gauge_predicts_the_same_with_unit_people_and_diagonal_items(fitted):
    rotated, gauge = to_canonical(fitted)
    np.testing.assert_allclose(reward(rotated), reward(fitted), atol=2e-4)
    np.testing.assert_allclose(spread(rotated), spread(fitted), rtol=1e-3)
    np.testing.assert_allclose(gauge.features @ gauge.weights.T, np.eye(J), atol=1e-4)

    weight = np.asarray(rotated[1].mean, np.float64)
    np.testing.assert_allclose(weight.T @ weight / U, np.eye(J), atol=1e-3)
    np.testing.assert_allclose(rotated[0].population.covariance, np.eye(J), atol=1e-3)
    features = np.asarray(apply(rotated[0].params, None).features)
    centered = features - features.mean(axis=0)
    np.testing.assert_allclose(centered.T @ centered / R, np.diag(gauge.variance), atol=1e-3)
    assert np.all(np.diff(gauge.variance) <= 0)
    assert np.all(np.mean(centered**3, axis=0) >= 0)


def test_the_scree_and_the_axes_do_not_depend_on_where_the_fit_ended(fitted):
    rotated, gauge = to_canonical(fitted)
    for seed in range(3):
        matrix = jax.random.normal(jax.random.key(seed), (J, J)) + 2 * jnp.eye(J)
        other, moved = to_canonical(transform(fitted, matrix))
        np.testing.assert_allclose(moved.variance, gauge.variance, rtol=5e-3)
        for mine, theirs in zip(
            apply(other[0].params, None)[:2], apply(rotated[0].params, None)[:2], strict=True
        ):
            np.testing.assert_allclose(mine, theirs, atol=2e-2)
        np.testing.assert_allclose(other[1].mean, rotated[1].mean, atol=2e-2)


def test_a_factor_that_nobody_uses_has_no_variance():
    features = jax.random.normal(jax.random.key(0), (R, J))
    gauge = canonical(features, jnp.diag(jnp.asarray([1.0, 0.5, 0.0])))
    assert np.isfinite(np.asarray(gauge.weights)).all()
    assert float(gauge.variance[-1]) < 1e-5 * float(gauge.variance[0])
