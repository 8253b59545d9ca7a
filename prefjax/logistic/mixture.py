r"""One user's weights under a mixture of Gaussians: a fit for each component, and their moments.

Under Σ_k π_k N(μ_k, Σ_k) the posterior is a mixture again. Component k is the fit N(m_k, S_k) under
its Gaussian, with S the posterior scale and E_s an expectation under N(m_k, s S_k), and

    r_k ∝ π_k exp(−Σ_i w_i E_s ℓ(λ·f_i + o_i, y_i) − D_k),
    2 D_k = s (tr Σ_k⁻¹ S_k − J) − log |Σ_k⁻¹ S_k| + (m_k − μ_k)ᵀ Σ_k⁻¹ (m_k − μ_k)

is how likely it is that the user is of it: the variational bound on the evidence at s = 1,
Laplace's approximation of it at s = 0. Served are the moments,

    m = Σ_k r_k m_k,    S = Σ_k r_k (S_k + (m_k − m)(m_k − m)ᵀ),

so that everything that takes a fit takes this one. Without answers they are those of the mixture.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from prefjax import variational
from prefjax.logistic import gaussian, softmax, softmax_expectation
from prefjax.logistic.blocks import Solver, solve
from prefjax.logistic.newton import LogisticFit
from prefjax.numerics import logit_shrinkage, positive_inverse, precision
from prefjax.types import Array, Gaussian, Mixture, Population


@partial(jax.jit, static_argnames="config")
def solve_under(
    features: Float[Array, "pair factor"],
    label: Float[Array, " pair"],
    sample_weight: Float[Array, " pair"],
    *,
    prior: Population,
    offset: Float[Array, " pair"] | None = None,
    variance: Float[Array, " pair"] | None = None,
    posterior_scale: Float[Array, ""] | float = 1.0,
    config: Solver = gaussian.DEFAULT,
) -> LogisticFit:
    """`solve` under a population, which may be a `Mixture`; ``vmap`` it over users.

    Args:
        features: As in `fit_gaussian`.
        label: As in `fit_gaussian`.
        sample_weight: As in `fit_gaussian`.
        prior: What is known before the first answer.
        offset: As in `fit_gaussian`.
        variance: As in `fit_gaussian`.
        posterior_scale: As in `fit_gaussian`.
        config: Which posterior, as in `solve`.

    Returns:
        The fit. Under a mixture m as ``weights`` and S⁻¹ as ``hessian``; steps, gradient and status
        are the worst of the components.
    """
    settings = {"variance": variance, "posterior_scale": posterior_scale, "config": config}
    alone = partial(solve, features, label, sample_weight, offset=offset, **settings)
    if isinstance(prior, Gaussian):
        return alone(mean=prior.mean, precision=precision(prior))
    counted = jnp.asarray(sample_weight) > 0
    table = jnp.where(counted[:, None], features, 0)
    constant = jnp.where(counted, 0.0 if offset is None else offset, 0)
    kappa = 1.0 if variance is None else logit_shrinkage(jnp.where(counted, variance, 0))
    label, weight = jnp.where(counted, label, 0.5), jnp.where(counted, sample_weight, 0)

    def expected_loss(belief):
        logit = kappa * (table @ belief.mean + constant)
        spread = jnp.square(kappa) * jnp.sum((table @ belief.covariance) * table, axis=1)
        loss = variational.quadrature(logit, posterior_scale * spread).value - label * logit
        return jnp.sum(weight * loss)

    return _moments(prior, alone, expected_loss, posterior_scale)


def fit_choices_under(
    features: Float[Array, "choice shown factor"],
    label: Float[Array, "choice shown"],
    mask: Bool[Array, "choice shown"],
    sample_weight: Float[Array, " choice"],
    *,
    prior: Population,
    offset: Float[Array, "choice shown"] | None = None,
    variance: Float[Array, " choice"] | None = None,
    posterior_scale: Float[Array, ""] | float = 1.0,
    config: Solver = gaussian.DEFAULT,
) -> LogisticFit:
    """`fit_choices` under a population, which may be a `Mixture`; ``vmap`` it over users.

    Args:
        features: As in `fit_choices`.
        label: As in `fit_choices`.
        mask: As in `fit_choices`.
        sample_weight: As in `fit_choices`.
        prior: What is known before the first answer.
        offset: As in `fit_choices`.
        variance: As in `fit_choices`.
        posterior_scale: As in `fit_choices`.
        config: Which posterior, as in `fit_choices`.

    Returns:
        As `solve_under`.
    """
    settings = {"variance": variance, "posterior_scale": posterior_scale, "config": config}
    alone = partial(
        softmax.fit_choices, features, label, mask, sample_weight, offset=offset, **settings
    )
    if isinstance(prior, Gaussian):
        return alone(mean=prior.mean, precision=precision(prior))
    counted = jnp.asarray(sample_weight) > 0
    mask = jnp.asarray(mask) | ~counted[:, None]
    here = mask & counted[:, None]
    kappa = 1.0 if variance is None else logit_shrinkage(jnp.where(counted, variance, 0))[:, None]
    table = jnp.where(here[..., None], features, 0)
    constant = jnp.where(here, 0.0 if offset is None else offset, 0)
    label, weight = jnp.where(here, label, 0), jnp.where(counted, sample_weight, 0)

    def expected_loss(belief):
        rewards = kappa * (table @ belief.mean + constant)
        gap = jnp.asarray(kappa)[..., None] * table
        spread = posterior_scale * jnp.einsum("cki,ij,clj->klc", gap, belief.covariance, gap)
        return jnp.sum(weight * softmax_expectation.loss(rewards.T, spread, label.T, mask.T))

    return _moments(prior, alone, expected_loss, posterior_scale)


def _moments(prior: Mixture, alone, expected_loss, scale) -> LogisticFit:
    """The fit under each component, weighed by r_k; see the module's equations."""
    precisions = jax.vmap(precision)(prior.components)
    means = jnp.asarray(prior.components.mean)
    fits = jax.vmap(lambda mean, inverse: alone(mean=mean, precision=inverse))(means, precisions)
    beliefs = Gaussian(fits.weights, jax.vmap(positive_inverse)(fits.hessian))

    def evidence(belief, hessian, inverse, mean):
        away = belief.mean - mean
        trace = jnp.sum(inverse * belief.covariance)
        shrunk = jnp.linalg.slogdet(hessian)[1] - jnp.linalg.slogdet(inverse)[1]
        divergence = scale * (trace - len(mean)) + shrunk + away @ inverse @ away
        return -expected_loss(belief) - divergence / 2

    exponent = jax.vmap(evidence)(beliefs, fits.hessian, precisions, means)
    moments = Mixture(jax.nn.log_softmax(prior.log_weight + exponent), beliefs)
    return LogisticFit(
        weights=moments.mean,
        hessian=positive_inverse(moments.covariance),
        gradient_norm=jnp.max(fits.gradient_norm),
        num_steps=jnp.max(fits.num_steps),
        converged=jnp.all(fits.converged),
        status=jnp.max(fits.status),
    )
