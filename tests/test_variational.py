"""Expectations of the logistic loss against numerical integration and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from prefjax import variational

MEAN, VARIANCE = (
    x.ravel().astype(np.float32)
    for x in np.meshgrid([-6.0, -1.5, 0.0, 0.3, 4.0], [0.05, 0.5, 2.0, 6.0, 60.0])
)


def integrate(function):
    return np.array(
        [
            quad(lambda z, m=m, s=s: function(m + s * z) * norm.pdf(z), -9, 9)[0]
            for m, s in zip(MEAN.astype(float), np.sqrt(VARIANCE.astype(float)), strict=True)
        ]
    )


def test_quadrature_is_the_integral():
    row = variational.quadrature(MEAN, VARIANCE)
    np.testing.assert_allclose(row.value, integrate(lambda z: np.logaddexp(0, z)), atol=3e-4)
    np.testing.assert_allclose(row.slope, integrate(expit), atol=6e-5)
    slope = integrate(lambda z: expit(z) * expit(-z))
    np.testing.assert_allclose(row.curvature, slope, atol=2e-4)


def test_jaakkola_bounds_from_above_and_touches_without_variance():
    value = variational.jaakkola(MEAN, VARIANCE).value
    assert np.all(value >= integrate(lambda z: np.logaddexp(0, z)) - 1e-6)
    sure = variational.jaakkola(MEAN, np.zeros_like(MEAN))
    np.testing.assert_allclose(sure.value, np.logaddexp(0, MEAN), atol=2e-6)
    np.testing.assert_allclose(sure.slope, expit(MEAN), atol=2e-6)


@pytest.mark.parametrize(("bound", "tolerance"), [("jaakkola", 1e-5), ("quadrature", 5e-3)])
def test_slope_and_curvature_are_derivatives_of_the_value(bound, tolerance):
    def value(mean, variance):
        return variational.expect(mean, variance, bound).value

    row = variational.expect(jnp.asarray(MEAN), jnp.asarray(VARIANCE), bound)
    by_mean, by_variance = jax.vmap(jax.grad(value, argnums=(0, 1)))(MEAN, VARIANCE)
    np.testing.assert_allclose(row.slope, by_mean, atol=1e-5)
    np.testing.assert_allclose(row.curvature, 2 * by_variance, atol=tolerance)


def test_curvature_is_smooth_where_the_closed_form_divides_zero_by_zero():
    mean = jnp.asarray([0.0, 1e-6, 0.0099, 0.0101])
    curvature = variational.jaakkola(mean, jnp.zeros(4)).curvature
    np.testing.assert_allclose(curvature, 0.25 - np.square(mean) / 48, atol=1e-6)
