"""Canonical axes: what changes, what does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefjax.basis import Factorization, canonical, canonicalize
from prefjax.types import GaussianPrior, Items

U, R, J = 50, 40, 3


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(R, J)) @ np.diag([2.0, 1.0, 0.3]) + 1
    weight = rng.normal(size=(U, J)) @ rng.normal(size=(J, J))
    weight = weight - weight.mean(0)
    utility = rng.normal(size=R)
    covariance = weight.T @ weight / U
    result = Factorization(
        items=Items(features, utility),
        head=np.column_stack((features, utility)),
        weights=weight,
        covariance=np.broadcast_to(0.1 * np.eye(J), (U, J, J)),
        prior=GaussianPrior(np.zeros(J), np.linalg.inv(covariance)),
        objective=np.zeros(()),
        num_steps=np.zeros(()),
        converged=np.zeros((), bool),
    )
    floats = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), result)
    return floats._replace(num_steps=jnp.zeros((), jnp.int32), converged=jnp.asarray(True))


def transform(fitted, matrix):
    """The same model in another gauge: Φ R and Λ R⁻ᵀ."""
    inverse = jnp.linalg.inv(matrix)
    features = fitted.items.features @ matrix
    covariance = jnp.einsum("ai,uij,bj->uab", inverse, fitted.covariance, inverse)
    return fitted._replace(
        items=fitted.items._replace(features=features),
        head=jnp.column_stack((features, fitted.items.utility)),
        weights=fitted.weights @ inverse.T,
        covariance=covariance,
        prior=GaussianPrior(jnp.zeros(J), matrix.T @ fitted.prior.precision @ matrix),
    )


def reward(fitted):
    return fitted.weights @ fitted.items.features.T + fitted.items.utility[None]


def spread(fitted):
    """Posterior variance of every reward of every user."""
    features = fitted.items.features
    return jnp.einsum("ri,uij,rj->ur", features, fitted.covariance, features)


def test_the_canonical_gauge_predicts_the_same_with_unit_people_and_diagonal_items(fitted):
    turned, gauge = jax.jit(canonicalize)(fitted)
    np.testing.assert_allclose(reward(turned), reward(fitted), atol=2e-4)
    np.testing.assert_allclose(spread(turned), spread(fitted), rtol=1e-3)
    np.testing.assert_allclose(turned.head[:, :J], turned.items.features, atol=1e-5)
    np.testing.assert_allclose(gauge.features @ gauge.weights.T, np.eye(J), atol=1e-4)

    weight = np.asarray(turned.weights, np.float64)
    np.testing.assert_allclose(weight.T @ weight / U, np.eye(J), atol=1e-3)
    np.testing.assert_allclose(turned.prior.precision, np.eye(J), atol=1e-3)
    features = np.asarray(turned.items.features)
    centred = features - features.mean(axis=0)
    np.testing.assert_allclose(centred.T @ centred / R, np.diag(gauge.variance), atol=1e-3)
    assert np.all(np.diff(gauge.variance) <= 0)
    assert np.all(np.mean(centred**3, axis=0) >= 0)


def test_the_scree_and_the_axes_do_not_depend_on_where_the_fit_ended(fitted):
    turned, gauge = jax.jit(canonicalize)(fitted)
    for seed in range(3):
        matrix = jax.random.normal(jax.random.key(seed), (J, J)) + 2 * jnp.eye(J)
        other, moved = jax.jit(canonicalize)(transform(fitted, matrix))
        np.testing.assert_allclose(moved.variance, gauge.variance, rtol=5e-3)
        np.testing.assert_allclose(other.items.features, turned.items.features, atol=2e-2)
        np.testing.assert_allclose(other.weights, turned.weights, atol=2e-2)


def test_a_factor_that_nobody_uses_has_no_variance():
    features = jax.random.normal(jax.random.key(0), (R, J))
    gauge = canonical(features, jnp.diag(jnp.asarray([1.0, 0.5, 0.0])))
    assert np.isfinite(np.asarray(gauge.weights)).all()
    assert float(gauge.variance[-1]) < 1e-5 * float(gauge.variance[0])
