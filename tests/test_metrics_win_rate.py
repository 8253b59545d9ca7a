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


def lengths(rng, low, high, num, num_shorter=0):
    """Lengths between ``low`` and ``high`` times those of the others, but for a few of half."""
    other = rng.integers(80, 120, num)
    ratio = rng.uniform(low, high, num)
    ratio[rng.permutation(num)[:num_shorter]] = 0.5
    return (other * ratio).astype(int), other


@pytest.mark.parametrize(("low", "high", "num_shorter"), [(1.2, 2.5, 0), (0.3, 0.8, 0), (2, 3, 6)])
def test_nothing_is_said_of_equal_length_where_one_way_is_nearly_always_the_longer(
    low, high, num_shorter
):
    rng = np.random.default_rng(6)
    user = np.repeat(np.arange(40), 20)
    win = (rng.random(800) < 0.8).astype(float)
    with pytest.warns(UserWarning, match="too little about responses of equal length"):
        lc = metrics.length_controlled_win_rate(
            jax.random.key(0), win, user, *lengths(rng, low, high, 800, num_shorter)
        )
    assert np.isnan(lc[:3]).all()
    assert lc.num == 40


@pytest.mark.parametrize(("low", "high", "num_shorter"), [(2, 3, 15), (0.9, 3, 0), (0.5, 1.5, 0)])
def test_the_interval_at_equal_length_covers_whatever_the_lengths_say(low, high, num_shorter):
    rng = np.random.default_rng(7)
    user, truth, inside = np.repeat(np.arange(20), 20), 0.8, []
    for study in range(60):
        length, other = lengths(rng, low, high, 400, num_shorter)
        gap = np.log(length / other)
        logit = np.log(4) + 0.5 * np.tanh(gap / gap.std())
        win = (rng.random(400) < expit(logit)).astype(float)
        lc = metrics.length_controlled_win_rate(
            jax.random.key(study), win, user, length, other, num_resamples=100
        )
        assert 0 <= lc.low <= lc.value <= lc.high <= 1
        inside.append(lc.low <= truth <= lc.high)
    assert np.mean(inside) >= 0.88


def test_wins_that_a_length_divides_leave_every_rate_open():
    rng = np.random.default_rng(8)
    user = np.repeat(np.arange(10), 20)
    length, other = lengths(rng, 0.5, 2.0, 200)
    win = (length > 1.1 * other).astype(float)
    lc = metrics.length_controlled_win_rate(jax.random.key(0), win, user, length, other)
    assert (float(lc.low), float(lc.high)) == (0.0, 1.0)
    won = metrics.length_controlled_win_rate(jax.random.key(0), win * 0 + 1, user, length, other)
    assert 0.6 < won.low < won.value < won.high == 1.0
    with pytest.raises(ValueError, match="outside the bounds"):
        metrics.length_controlled_win_rate(jax.random.key(0), win + 1, user, length, other)


def test_no_interval_of_a_win_rate_leaves_its_range():
    user = np.repeat(np.arange(6), 2)
    win = np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0.0])
    rate = metrics.win_rate(win, user)
    assert rate.low < rate.value < rate.high == 1.0
    gap = metrics.win_difference(win, 1 - win, user)
    assert gap.low < gap.value < gap.high == 1.0
    prompt = np.tile(np.arange(2), 6)
    for every in (
        metrics.win_rate(np.ones(12), user),
        metrics.win_rate(np.ones(12), user, prompt=prompt, key=jax.random.key(0)),
    ):
        assert float(every.low) == pytest.approx(stats.beta.ppf(0.025, 6, 1))
        assert every.high == 1.0
    never = metrics.win_rate(np.zeros(12), user)
    assert (float(never.low), float(never.high)) == (0.0, pytest.approx(1 - 0.025 ** (1 / 6)))
    with pytest.raises(ValueError, match=r"Unit 0 has 2\.0, outside the bounds \[0\.0, 1\.0\]"):
        metrics.win_rate(np.full(12, 2.0), user)


def test_agreement_takes_verdicts_only():
    with pytest.raises(ValueError, match=r"row 1 has 0\.7"):
        metrics.agreement(np.array([np.nan, 0.7, 1.0]), np.array([1.0, 1.0, 1.0]))
