"""Priors from profiles: what they recover, and that profiles of others say nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefjax import logistic, metrics
from prefjax.numerics import positive_inverse
from prefjax.person.profile_prior import fit_profile_prior
from prefjax.types import Gaussian

USERS, ANSWERS, FACTORS, NUMBERS = 400, 40, 4, 6
POPULATION = Gaussian(jnp.zeros(FACTORS), jnp.eye(FACTORS))


@jax.jit
def solve(features, label, weight, mean, covariance):
    def one(f, y, w, m, c):
        fit = logistic.solve(f, y, w, mean=m, precision=positive_inverse(c))
        return fit.weights, positive_inverse(fit.hessian)

    return jax.vmap(one)(features, label, weight, mean, covariance)


@pytest.fixture(scope="module")
def world():
    """People of whom half of the variance of the weights is told by six numbers."""
    rng = np.random.default_rng(0)
    profiles = rng.normal(size=(2 * USERS, NUMBERS))
    kernel = rng.normal(size=(NUMBERS, FACTORS)) / np.sqrt(2 * NUMBERS)
    weights = profiles @ kernel + np.sqrt(0.5) * rng.normal(size=(2 * USERS, FACTORS))
    features = 1.5 * rng.normal(size=(2 * USERS, ANSWERS + 60, FACTORS)).astype(np.float32)
    logit = np.einsum("upj,uj->up", features, weights)
    label = (rng.random(logit.shape) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    return profiles, kernel, features, label


def auc_of(world, prior, number):
    """Mean AUC of the second half of the people after a number of answers."""
    _, _, features, label = world
    new = slice(USERS, None)
    weight = np.tile(np.arange(ANSWERS) < number, (USERS, 1)).astype(np.float32)
    told = features[new, :ANSWERS], label[new, :ANSWERS]
    shape = (USERS, FACTORS)
    mean = np.broadcast_to(prior.mean, shape)
    covariance = np.broadcast_to(prior.covariance, (*shape, FACTORS))
    weights, _ = solve(*told, weight, mean, covariance)
    score = np.einsum("upj,uj->up", features[new, ANSWERS:], weights)
    tests = label[new, ANSWERS:]
    auc = jax.vmap(metrics.auc)(score, tests, np.ones(tests.shape, bool))
    return np.nan_to_num(np.asarray(auc), nan=0.5).mean()


def trained(world):
    _, _, features, label = world
    old = slice(0, USERS)
    shape = (USERS, FACTORS)
    prior = np.zeros(shape, np.float32), np.broadcast_to(np.eye(FACTORS), (*shape, FACTORS))
    weight = np.ones((USERS, ANSWERS), np.float32)
    return Gaussian(*solve(features[old, :ANSWERS], label[old, :ANSWERS], weight, *prior))


def test_profiles_help_before_the_first_answer_and_cost_nothing_after_forty(world):
    profiles, kernel, *_ = world
    people = trained(world)
    found = fit_profile_prior(people, POPULATION, profiles[:USERS])
    assert found.gain > 0.1
    np.testing.assert_allclose(found.kernel / found.scale[:, None], kernel, atol=0.15)
    np.testing.assert_allclose(found.population.covariance, 0.5 * np.eye(FACTORS), atol=0.15)
    prior = found.prior_of(profiles[USERS:])
    gains = [auc_of(world, prior, n) - auc_of(world, POPULATION, n) for n in (0, 40)]
    assert gains[0] > 0.05
    assert gains[1] > -0.003
    shuffled = np.random.default_rng(1).permutation(profiles[:USERS])
    nothing = fit_profile_prior(people, POPULATION, shuffled)
    assert auc_of(world, nothing.prior_of(profiles[USERS:]), 0) < 0.53
    assert nothing.gain < 0.02


def test_unknown_numbers_count_as_the_mean_and_bad_profiles_are_refused(world):
    profiles, *_ = world
    people = trained(world)
    found = fit_profile_prior(people, POPULATION, profiles[:USERS])
    unknown = found.prior_of(np.full(NUMBERS, np.nan))
    np.testing.assert_allclose(unknown.mean, found.population.mean, atol=1e-6)
    with pytest.raises(ValueError, match="one row each"):
        fit_profile_prior(people, POPULATION, profiles)
    with pytest.raises(ValueError, match="infinite number, person 0"):
        fit_profile_prior(people, POPULATION, np.full((USERS, 1), np.inf))
