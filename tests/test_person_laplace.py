import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import chi2, norm

from prefjax import logistic
from prefjax.person import laplace


def simulated_fits(num_users=400, num_pairs=40, num_factors=3):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(num_users, num_factors)).astype(np.float32)
    features = rng.normal(size=(num_users, num_pairs, num_factors)).astype(np.float32)
    chance = expit(np.einsum("utj,uj->ut", features, truth))
    label = (rng.random(chance.shape) < chance).astype(np.float32)
    prior = {"mean": jnp.zeros(num_factors), "precision": jnp.eye(num_factors)}
    solve = jax.jit(jax.vmap(lambda f, y: logistic.fit(f, y, jnp.ones(num_pairs), **prior)))
    return solve(features, label), truth, features


def test_posterior_is_the_inverse_hessian_and_covers_simulated_people():
    fits, truth, features = simulated_fits()
    belief = jax.jit(jax.vmap(laplace.posterior))(fits)
    np.testing.assert_allclose(belief.covariance, np.linalg.inv(fits.hessian), atol=1e-5)
    variance, direction = jax.vmap(laplace.principal_directions)(belief)
    product = np.einsum("uij,uj->ui", fits.hessian, direction[:, :, 0])
    value = np.linalg.eigvalsh(fits.hessian)[:, :1]
    np.testing.assert_allclose(product, value * direction[:, :, 0], atol=1e-3)
    np.testing.assert_allclose(variance[:, 0], 1 / value[:, 0], rtol=1e-4)
    miss = truth - fits.weights
    distance = np.sqrt(np.einsum("ui,uij,uj->u", miss, fits.hessian, miss))
    for delta in (0.5, 0.1):
        covered = np.mean(distance <= float(laplace.laplace_radius(3, delta)))
        assert abs(covered - (1 - delta)) < 4 * np.sqrt(delta * (1 - delta) / 400)
    found = laplace.predict_logit(jax.tree.map(lambda x: x[0], belief), features[0, 0], 0.5)
    f = features[0, 0]
    np.testing.assert_allclose(found.mean, f @ fits.weights[0] + 0.5, rtol=1e-5)
    np.testing.assert_allclose(found.variance, f @ np.linalg.solve(fits.hessian[0], f), rtol=1e-4)


def test_semi_definite_hessian_stays_finite():
    prior = {"mean": jnp.zeros(2), "precision": jnp.diag(jnp.array([4.0, 0.0]))}
    found = logistic.fit(jnp.zeros((1, 2)), jnp.ones(1), jnp.zeros(1), **prior)
    belief = laplace.posterior(found)
    assert all(np.isfinite(x).all() for x in belief)
    variance, direction = laplace.principal_directions(belief)
    np.testing.assert_allclose(direction[:, 0], [0, 1], atol=1e-6)
    np.testing.assert_allclose(variance[1], 0.25, rtol=1e-6)


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 2.0), (1.5, 0.0), (1.0, 0.5), (-2.0, 4.0)])
def test_win_probability_against_adaptive_quadrature(mean, variance):
    expected = quad(lambda z: expit(mean + np.sqrt(variance) * z) * norm.pdf(z), -12, 12)[0]
    given = jnp.asarray(mean), jnp.asarray(variance)
    np.testing.assert_allclose(laplace.win_probability(*given), expected, atol=1e-6)
    np.testing.assert_allclose(laplace.probit_win_probability(*given), expected, atol=0.02)


def test_radii():
    for size, delta in ((1, 0.05), (6, 0.05), (30, 0.001)):
        expected = np.sqrt(chi2.ppf(1 - delta, size))
        np.testing.assert_allclose(laplace.laplace_radius(size, delta), expected, rtol=1e-4)
    spread = 2 * np.e * 3.0 * 2.5 * 14 / 6
    expected = np.sqrt(2 * 4 * (1 + np.log(20) + 6 * np.log(spread)))
    np.testing.assert_allclose(laplace.lee_radius(6, 15, 3.0, 0.05), expected, rtol=1e-12)
    np.testing.assert_allclose(laplace.lee_ridge(3.0), 1 / 288)
    with pytest.raises(ValueError, match="delta"):
        laplace.laplace_radius(3, 1.5)
    with pytest.raises(ValueError, match="positive"):
        laplace.lee_radius(3, 0, 1.0, 0.1)
