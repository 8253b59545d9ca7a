"""Block solves of a matrix of votes against SciPy, and their invariances."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from prefjax.factorization import AlternatingConfig, Factors, alternating, make_matrix
from prefjax.types import BASELINE, Comparisons

U, R, J = 30, 20, 2
CONFIG = AlternatingConfig(num_factors=J, item_penalty=0.5, offset_penalty=0.2, tolerance=1e-7)
fit = jax.jit(partial(alternating.fit, config=CONFIG))


@pytest.fixture(scope="module")
def votes():
    rng = np.random.default_rng(0)
    user, item = (x.astype(np.int32) for x in np.nonzero(rng.random((U, R)) < 0.7))
    weight, features = rng.normal(size=(U, J)), 1.5 * rng.normal(size=(R, J))
    probability = expit(np.sum(weight[user] * features[item], axis=1) + rng.normal(size=R)[item])
    label = (rng.random(len(user)) < probability).astype(np.float32)
    weight = rng.integers(1, 3, len(user)).astype(np.float32)
    return Comparisons(user, item, np.full_like(user, BASELINE), label, weight)


def lay(votes):
    return jax.tree.map(jnp.asarray, make_matrix(votes, U, R))


def loss(flat, votes):
    """F and its gradient in float64, entry by entry."""
    weight, table = flat[: U * J].reshape(U, J), flat[U * J :].reshape(R, J + 1)
    ones = np.column_stack((weight, np.ones(U)))
    user, item = votes.user, votes.first
    logit = np.sum(ones[user] * table[item], axis=1)
    tau = np.array([CONFIG.item_penalty] * J + [CONFIG.offset_penalty])
    value = np.sum(votes.weight * (np.logaddexp(0, logit) - votes.label * logit))
    value += CONFIG.user_penalty * np.sum(weight**2) / 2 + np.sum(tau * table**2) / 2
    residual = (votes.weight * (expit(logit) - votes.label))[:, None]
    by_user, by_item = CONFIG.user_penalty * weight, tau * table
    np.add.at(by_user, user, residual * table[item][:, :J])
    np.add.at(by_item, item, residual * ones[user])
    return value, np.concatenate([by_user.ravel(), by_item.ravel()])


def flatten(factors):
    parts = factors.weight, np.column_stack((factors.features, factors.offset))
    return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])


def logits(fitted, votes):
    f = fitted.factors
    return np.asarray(
        jnp.sum(f.weight[votes.user] * f.features[votes.first], axis=1) + f.offset[votes.first]
    )


def test_ends_where_scipy_ends_and_never_rises(votes):
    fitted = fit(jax.random.key(0), lay(votes))
    trace = np.asarray(fitted.objective)[: int(fitted.num_rounds) + 1]
    assert bool(fitted.converged)
    assert np.all(np.diff(trace) <= 0)
    assert np.isnan(np.asarray(fitted.objective)[int(fitted.num_rounds) + 1 :]).all()
    value, gradient = loss(flatten(fitted.factors), votes)
    assert trace[-1] == pytest.approx(value, rel=1e-5)
    assert np.abs(gradient).max() < 0.2
    begun = flatten(fitted.factors) + 0.3 * np.random.default_rng(0).normal(size=len(gradient))
    best = minimize(loss, begun, (votes,), jac=True, method="L-BFGS-B", options={"maxiter": 2000})
    assert value == pytest.approx(best.fun, rel=1e-4)


def test_the_start_does_not_matter_and_a_bad_one_never_rises(votes):
    want = fit(jax.random.key(0), lay(votes))
    rng = np.random.default_rng(1)
    wild = Factors(*(jnp.asarray(5 * rng.normal(size=s), jnp.float32) for s in ((U, J), (R, J), R)))
    got = fit(jax.random.key(0), lay(votes), start=wild)
    trace = np.asarray(got.objective)[: int(got.num_rounds) + 1]
    assert np.all(np.diff(trace) <= 0)
    assert trace[-1] == pytest.approx(float(want.objective[want.num_rounds]), rel=2e-3)


def test_the_gauge_balances_the_penalties_and_keeps_the_product(votes):
    rng = np.random.default_rng(2)
    factors = Factors(*(jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((U, J), (R, J), R)))
    turned = alternating.turn(factors, CONFIG)
    product = factors.weight @ factors.features.T
    np.testing.assert_allclose(turned.weight @ turned.features.T, product, atol=1e-4)
    people = CONFIG.user_penalty * turned.weight.T @ turned.weight
    items = CONFIG.item_penalty * turned.features.T @ turned.features
    singular = np.linalg.svd(np.asarray(product), compute_uv=False)[:J]
    want = np.diag(singular) * np.sqrt(CONFIG.user_penalty * CONFIG.item_penalty)
    np.testing.assert_allclose(people, want, atol=1e-3)
    np.testing.assert_allclose(items, want, atol=1e-3)


def test_votes_without_weight_are_absent_and_order_is_nothing(votes):
    want = fit(jax.random.key(0), lay(votes))
    rng = np.random.default_rng(3)
    order = rng.permutation(len(votes.user))
    shuffled = Comparisons(*(column[order] for column in votes))
    got = fit(jax.random.key(0), lay(shuffled))
    np.testing.assert_allclose(logits(got, votes), logits(want, votes), atol=2e-2)

    gone = votes._replace(weight=np.where(np.arange(len(votes.user)) % 9 == 0, 0, votes.weight))
    garbled = gone._replace(label=np.where(gone.weight > 0, gone.label, np.nan))
    one, other = (
        fit(jax.random.key(0), lay(x._replace(weight=x.weight.astype(np.float32))))
        for x in (gone, garbled)
    )
    np.testing.assert_array_equal(logits(one, votes), logits(other, votes))


def test_a_comparison_of_two_responses_is_refused_by_row(votes):
    second = votes.second.copy()
    second[4] = 0
    with pytest.raises(ValueError, match="Row 4 compares two responses"):
        make_matrix(votes._replace(second=second), U, R)
