import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from prefjax import numerics


def test_loss_is_finite_and_exact_at_huge_logits():
    logit = jnp.array([1e30, -1e30, 1e30, 3e38, 0.0])
    label = jnp.array([1.0, 0.0, 0.0, 0.5, 0.5])
    loss = numerics.softplus_loss(logit, label)
    np.testing.assert_allclose(loss, [0, 0, 1e30, 1.5e38, np.log(2)], rtol=1e-6)


def test_loss_derivatives_are_the_closed_forms():
    logit = jnp.linspace(-8, 8, 9) + 0.1
    slope = jax.vmap(lambda s: jax.grad(numerics.softplus_loss)(s, jnp.asarray(0.3)))(logit)
    np.testing.assert_allclose(slope, jax.nn.sigmoid(logit) - 0.3, atol=1e-6)


@pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
def test_loss_derivatives_are_right_where_nothing_is_known(label):
    slope = jax.grad(numerics.softplus_loss)
    at = jnp.zeros(()), jnp.asarray(label)
    np.testing.assert_allclose(slope(*at), 0.5 - label, atol=1e-7)
    np.testing.assert_allclose(jax.grad(slope)(*at), 0.25, atol=1e-7)


@pytest.mark.parametrize("size", [1, 6])
def test_unrolled_solve_equals_a_dense_solve(size):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(50, size, size)).astype(np.float32)
    matrix = root @ root.transpose(0, 2, 1) + np.eye(size, dtype=np.float32)
    right = rng.normal(size=(50, size)).astype(np.float32)
    rows = [jnp.asarray(matrix[:, i, : i + 1].T) for i in range(size)]
    solved = numerics.solve_positive(rows, jnp.asarray(right.T)).T
    expected = np.linalg.solve(matrix.astype(float), right[:, :, None])[:, :, 0]
    np.testing.assert_allclose(solved, expected, rtol=1e-3, atol=1e-4)


def test_eigen_helpers_reconstruct_and_fix_signs():
    root = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    matrix = jnp.asarray(root @ root.T)  # rank 3 of 4
    value, vector = numerics.symmetric_eigen(matrix)
    np.testing.assert_allclose((vector * value[None, :]) @ vector.T, matrix, atol=1e-5)
    assert (jnp.max(vector, axis=0) >= -jnp.min(vector, axis=0)).all()
    half = numerics.symmetric_sqrt(matrix)
    np.testing.assert_allclose(half @ half, matrix, atol=1e-5)
    inverse = numerics.symmetric_power(matrix, -1.0)
    np.testing.assert_allclose(inverse, np.linalg.pinv(matrix, rcond=1e-5), atol=1e-4)


def test_quadrature_moments_and_expectation():
    node, weight = numerics.gauss_hermite(20)
    for power, moment in ((0, 1), (1, 0), (2, 1), (4, 3), (6, 15)):
        np.testing.assert_allclose(weight @ node**power, moment, atol=1e-9)
    expected = quad(lambda z: np.cos(z) * norm.pdf(z), -10, 10)[0]
    np.testing.assert_allclose(weight @ np.cos(node), expected, atol=1e-12)
    with pytest.raises(ValueError, match="at least one node"):
        numerics.gauss_hermite(0)
