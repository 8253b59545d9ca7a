"""Win rates: coverage of the intervals in simulation, closed forms, and other libraries."""

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score

from prefjax import metrics

USERS, EACH = 28, 15


def simulate(rng, num, prompt_effect=0.0):
    """Wins [study, user, question] of users who differ; the rate of the population of users."""
    user = rng.normal(size=(num, USERS, 1)) * 1.2
    prompt = rng.normal(size=(num, 1, EACH)) * prompt_effect
    wins = rng.random((num, USERS, EACH)) < expit(0.8 + user + prompt)
    return wins.astype(float)


def true_rate(prompt_effect=0.0):
    deviation = np.hypot(1.2, prompt_effect)
    z = np.linspace(-8, 8, 4001)
    return np.sum(expit(0.8 + deviation * z) * stats.norm.pdf(z)) * (z[1] - z[0])


def covered(interval, truth):
    return np.mean((interval.low <= truth) & (truth <= interval.high))


def test_user_interval_covers_and_the_binomial_one_does_not():
    wins = simulate(np.random.default_rng(0), 4000)
    ours = metrics.mean_interval(wins.mean(axis=2).T)
    assert covered(ours, true_rate()) >= 0.93

    rate, num = wins.mean(axis=(1, 2)), USERS * EACH
    half = 1.96 * np.sqrt(rate * (1 - rate) / num)
    naive = metrics.Interval(rate, rate - half, rate + half, np.asarray(num))
    assert covered(naive, true_rate()) < 0.85

    user = np.repeat(np.arange(USERS), EACH)
    one = metrics.win_rate(wins[0].ravel(), user)
    np.testing.assert_allclose([one.value, one.low, one.high], [x[0] for x in ours[:3]])


def test_two_way_interval_covers_when_users_share_prompts():
    rng = np.random.default_rng(1)
    wins = simulate(rng, 200, prompt_effect=1.0)
    user, prompt = np.repeat(np.arange(USERS), EACH), np.tile(np.arange(EACH), USERS)
    two_way = [
        metrics.win_rate(
            study.ravel(), user, prompt=prompt, key=jax.random.key(i), num_resamples=300
        )
        for i, study in enumerate(wins)
    ]
    truth = true_rate(1.0)
    assert np.mean([x.low <= truth <= x.high for x in two_way]) >= 0.93
    by_user = metrics.mean_interval(wins.mean(axis=2).T)
    assert covered(by_user, truth) < 0.9
    np.testing.assert_allclose([x.value for x in two_way], by_user.value)


def test_two_way_interval_leaves_out_cells_without_a_verdict():
    rng = np.random.default_rng(2)
    wins = simulate(rng, 1)[0].ravel()
    user, prompt = np.repeat(np.arange(USERS), EACH), np.tile(np.arange(EACH), USERS)
    holes = rng.random(len(wins)) < 0.3
    with_nan = metrics.win_rate(
        np.where(holes, np.nan, wins), user, prompt=prompt, key=jax.random.key(0)
    )
    deleted = metrics.win_rate(
        wins[~holes], user[~holes], prompt=prompt[~holes], key=jax.random.key(0)
    )
    np.testing.assert_array_equal(with_nan, deleted)
    with pytest.raises(ValueError, match="needs a key"):
        metrics.win_rate(wins, user, prompt=prompt)
    lonely = metrics.win_rate(wins[:5], user[:5], prompt=prompt[:5], key=jax.random.key(0))
    assert np.isnan(lonely.low)


def test_difference_is_on_the_cells_that_both_have():
    first, second = np.array([1, 0.5, np.nan, 1.0]), np.array([0, 0.5, 1, np.nan])
    gap = metrics.win_difference(first, second, np.array([0, 0, 1, 2]))
    assert (float(gap.value), int(gap.num)) == (0.5, 1)


def test_length_control_is_a_logistic_regression():
    rng = np.random.default_rng(3)
    num = 6000
    user = rng.integers(0, 60, num)
    length, other = rng.integers(20, 200, num), rng.integers(20, 200, num)
    gap = np.log(length / other)
    covariate = np.tanh(gap / gap.std())
    win = (rng.random(num) < expit(0.4 + 1.5 * covariate)).astype(float)
    lc = metrics.length_controlled_win_rate(
        jax.random.key(0), win, user, length, other, num_resamples=60
    )
    theirs = LogisticRegression(C=100.0).fit(np.stack([np.ones(num), covariate], axis=1), win)
    theta = theirs.coef_[0, 0] + theirs.intercept_[0]
    assert float(lc.value) == pytest.approx(expit(theta), abs=2e-4)
    assert lc.low < expit(0.4) < lc.high


def test_length_control_undoes_a_bias_for_length_only():
    rng = np.random.default_rng(4)
    user = np.repeat(np.arange(40), 50)
    length, other = rng.integers(100, 200, 2000), rng.integers(40, 180, 2000)
    win = (length > other).astype(float)
    lc = metrics.length_controlled_win_rate(
        jax.random.key(0), win, user, length, other, num_resamples=40
    )
    assert win.mean() > 0.75
    assert abs(float(lc.value) - 0.5) < 0.1
    always = metrics.length_controlled_win_rate(
        jax.random.key(0), np.ones(2000), user, length, other, num_resamples=20
    )
    assert 0.95 < float(always.value) < 1.0
    with pytest.raises(ValueError, match="at least 1"):
        metrics.length_controlled_win_rate(jax.random.key(0), win, user, length, other * 0)


def test_agreement_is_scikit_learns_kappa():
    rng = np.random.default_rng(5)
    first = rng.choice([0, 0.5, 1.0], 400, p=[0.3, 0.2, 0.5])
    second = np.where(rng.random(400) < 0.6, first, rng.choice([0, 0.5, 1.0], 400))
    second[:10] = np.nan
    ours = metrics.agreement(first, second)
    assert ours.num == 390
    assert ours.rate == np.mean(first[10:] == second[10:])
    theirs = cohen_kappa_score((2 * first[10:]).astype(int), (2 * second[10:]).astype(int))
    assert ours.kappa == pytest.approx(theirs, abs=1e-12)
    assert np.isnan(metrics.agreement(np.ones(3), np.ones(3)).kappa)
