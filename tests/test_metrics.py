"""Metrics against scikit-learn, SciPy, closed forms and identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from prefjax import metrics


@pytest.fixture
def table():
    """900 rows of 30 users with tied scores, tied labels and one user of one class."""
    rng = np.random.default_rng(0)
    user = rng.integers(0, 30, 900)
    score = np.round(rng.normal(size=900), 1)
    label = np.where(rng.random(900) < 1 / (1 + np.exp(-score)), 1.0, 0.0)
    label[rng.random(900) < 0.1] = 0.5
    label[user == 7] = 1.0
    label[user == 9] = 0.5
    return user, score, label


def sklearn_auc(score, label, mirrored):
    use = label != 0.5
    score, label = score[use], label[use]
    if mirrored:
        score, label = np.concatenate([score, -score]), np.concatenate([label, 1 - label])
    return roc_auc_score(label, score) if 0 < label.sum() < len(label) else np.nan


@pytest.mark.parametrize("mirrored", [True, False])
def test_auc_agrees_with_scikit_learn(table, mirrored):
    user, score, label = table
    want = np.array([sklearn_auc(score[user == u], label[user == u], mirrored) for u in range(30)])
    got = metrics.user_auc(user, score, label, mirrored=mirrored)
    np.testing.assert_allclose(got, want, atol=1e-12)

    macro = metrics.macro_auc(user, score, label, mirrored=mirrored)
    assert macro.value == pytest.approx(np.nanmean(want), abs=1e-12)
    assert (macro.num_users, macro.num_dropped) == ((29, 1) if mirrored else (28, 2))

    pooled = metrics.pooled_auc(score, label, mirrored=mirrored)
    assert pooled == pytest.approx(sklearn_auc(score, label, mirrored), abs=1e-12)


@pytest.mark.parametrize("mirrored", [True, False])
def test_padded_kernel_equals_flat_ranks_whatever_padding_holds(table, mirrored):
    user, score, label = table
    width = np.bincount(user).max()
    padded = np.full((2, 30, width), np.nan, np.float32)
    mask = np.zeros((30, width), bool)
    for u in range(30):
        rows = user == u
        mask[u, : rows.sum()] = True
        padded[:, u, : rows.sum()] = score[rows], label[rows]
    kernel = jax.jit(jax.vmap(lambda s, y, m: metrics.auc(s, y, m, mirrored=mirrored)))
    got = kernel(padded[0], padded[1], mask)
    want = metrics.user_auc(user, score.astype(np.float32), label, mirrored=mirrored)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_auc_is_blind_to_the_order_of_pairs_and_of_rows(table):
    user, score, label = table
    rng = np.random.default_rng(1)
    flip, order = rng.random(len(user)) < 0.5, rng.permutation(len(user))
    turned = np.where(flip, -score, score), np.where(flip, 1 - label, label)
    want = metrics.user_auc(user, score, label)
    np.testing.assert_allclose(metrics.user_auc(user, *turned), want, atol=1e-12)
    np.testing.assert_allclose(
        metrics.user_auc(user[order], score[order], label[order]), want, atol=1e-12
    )
    # The claim of the docstring: the AUC of the mirrored set alone is the plain AUC again.
    plain = metrics.pooled_auc(score, label, mirrored=False)
    assert metrics.pooled_auc(-score, 1 - label, mirrored=False) == pytest.approx(plain, abs=1e-12)


def test_mirrored_auc_is_the_mean_over_random_orders_of_the_plain_one():
    rng = np.random.default_rng(2)
    margin = rng.normal(0.4, 1.0, 200)
    plain = []
    for _ in range(400):
        first = rng.random(200) < 0.5
        plain.append(roc_auc_score(first, np.where(first, margin, -margin)))
    assert metrics.pooled_auc(margin, np.ones(200)) == pytest.approx(np.mean(plain), abs=0.002)


def test_unmasked_nan_score_is_not_hidden():
    score = jnp.array([np.nan, 1.0])
    assert np.isnan(metrics.auc(score, jnp.ones(2), jnp.ones(2, bool)))
    with pytest.raises(ValueError, match=r"1 scores are NaN, first in row 1 \(user 4\)"):
        metrics.user_auc(np.array([0, 4]), np.array([0.0, np.nan]), np.ones(2))
    with pytest.raises(ValueError, match="row 0 has -1"):
        metrics.pooled_auc(np.ones(1), -np.ones(1))
    with pytest.raises(ValueError, match=r"\[0, 2\)"):
        metrics.user_auc(np.array([0, 2]), np.zeros(2), np.ones(2), num_users=2)


def test_mean_interval_agrees_with_scipy_and_skips_missing_units():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(10, 4))
    values[3, 1] = np.nan
    values[1:, 3] = np.nan
    got = metrics.mean_interval(values)
    for column in range(3):
        present = values[~np.isnan(values[:, column]), column]
        want = stats.ttest_1samp(present, 0.0).confidence_interval(0.95)
        assert (got.low[column], got.high[column]) == pytest.approx(tuple(want))
    assert got.num.tolist() == [10, 9, 10, 1]
    assert got.value[3] == values[0, 3]
    assert np.isnan(got.low[3])
    half = metrics.mean_interval(np.array([-1.0, 1.0] * 5)).high
    assert half == pytest.approx(2.262157 * np.sqrt(10 / 9 / 10), abs=1e-6)


def test_clustered_interval_covers_where_the_naive_one_does_not():
    rng = np.random.default_rng(4)
    user = np.repeat(np.arange(40), 25)
    covered, naive = [], []
    for _ in range(200):
        rate = rng.beta(2, 2, 40)
        win = (rng.random(1000) < rate[user]).astype(float)
        interval = metrics.clustered_mean(win, user)
        covered.append(interval.low < 0.5 < interval.high)
        naive.append(abs(win.mean() - 0.5) < 1.96 * np.sqrt(0.25 / 1000))
    assert 0.9 < np.mean(covered) < 0.99
    assert np.mean(naive) < 0.75


def test_paired_difference_by_t_and_by_bootstrap():
    rng = np.random.default_rng(5)
    population = rng.random(300)
    personal = population + rng.normal(0.05, 0.1, 300)
    personal[5] = population[5] = np.nan
    by_t = metrics.paired_difference(personal, population)
    want = stats.ttest_rel(personal, population, nan_policy="omit").confidence_interval(0.95)
    assert (by_t.low, by_t.high) == pytest.approx((want.low, want.high))
    boot = metrics.paired_difference(personal, population, key=jax.random.key(0))
    assert boot.value == pytest.approx(by_t.value)
    assert (boot.low, boot.high) == pytest.approx((by_t.low, by_t.high), abs=0.002)
    assert by_t.num == boot.num == 299
    personal[6] = np.nan
    with pytest.raises(ValueError, match="User 6 has a score under one model only"):
        metrics.paired_difference(personal, population)


def test_user_means_weights_people_equally():
    value, user = np.array([1.0, np.nan, 0.0, 0.0, 1.0]), np.array([0, 0, 2, 2, 2])
    np.testing.assert_allclose(metrics.user_means(value, user), [1.0, np.nan, 1 / 3])


def test_row_measures():
    logit = jnp.array([1e30, -1e30, 0.0, 2.0, -3.0])
    label = jnp.array([1.0, 1.0, 1.0, 0.5, 0.0])
    np.testing.assert_allclose(
        metrics.nll(logit, label),
        [0, 1e30, np.log(2), np.log1p(np.exp(2)) - 1, np.log1p(np.exp(-3))],
        rtol=1e-6,
    )
    p = 1 / (1 + np.exp(-np.array([2.0, -3.0])))
    np.testing.assert_allclose(
        metrics.brier(logit, label), [0, 1, 0.25, (p[0] - 0.5) ** 2, p[1] ** 2], rtol=1e-5
    )
    np.testing.assert_array_equal(metrics.correct(logit, label), [1, 0, 0.5, np.nan, 1])


def test_reliability_bins_have_equal_mass_and_ece_is_the_known_gap():
    rng = np.random.default_rng(6)
    truth = rng.uniform(0.05, 0.95, 60_000)
    label = (rng.random(60_000) < truth).astype(float)
    bins = metrics.reliability(truth, label, mirrored=False)
    assert bins.count.tolist() == [4000] * 15
    assert np.all(np.abs(bins.observed - bins.predicted) < 4 * bins.standard_error)
    np.testing.assert_allclose(
        bins.standard_error, np.sqrt(bins.observed * (1 - bins.observed) / 4000), rtol=0.05
    )
    assert metrics.expected_calibration_error(truth, label) < 0.004
    shifted = 0.5 + 0.6 * (truth - 0.5)
    want = np.mean(np.abs(shifted - truth))
    for mirrored in (True, False):
        got = metrics.expected_calibration_error(shifted, label, mirrored=mirrored)
        assert got == pytest.approx(want, abs=0.006)


def test_debiasing_removes_most_of_the_noise_of_a_calibrated_model():
    rng = np.random.default_rng(7)
    plain, debiased = [], []
    for _ in range(50):
        truth = rng.uniform(0.5, 1.0, 600)
        label = (rng.random(600) < truth).astype(float)
        bins = metrics.reliability(truth, label)
        plain.append(np.average(np.abs(bins.observed - bins.predicted), weights=bins.count))
        debiased.append(metrics.expected_calibration_error(truth, label))
    assert np.mean(debiased) < 0.65 * np.mean(plain)


def test_calibration_is_blind_to_the_order_of_pairs():
    rng = np.random.default_rng(8)
    p = rng.random(500)
    p[:20] = 0.5
    label = (rng.random(500) < p).astype(float)
    flip = rng.random(500) < 0.5
    turned = np.where(flip, 1 - p, p), np.where(flip, 1 - label, label)
    want = metrics.expected_calibration_error(p, label)
    assert metrics.expected_calibration_error(*turned) == pytest.approx(want, abs=1e-12)
    constant = metrics.reliability(np.full(10, 0.7), np.ones(10))
    assert (constant.count.tolist(), constant.predicted[0]) == ([10], pytest.approx(0.7))
    with pytest.raises(ValueError, match="row 2 has nan"):
        metrics.reliability(np.array([0.1, 0.2, np.nan]), np.zeros(3))
    with pytest.raises(ValueError, match="No rows"):
        metrics.reliability(np.zeros(0), np.zeros(0))


def test_interval_coverage_of_gaussian_draws():
    rng = np.random.default_rng(9)
    deviation = rng.uniform(0.5, 2.0, (5000, 4))
    truth = deviation * rng.normal(size=(5000, 4))
    for level in (0.5, 0.95):
        got = metrics.interval_coverage(truth, np.zeros((5000, 4)), deviation, level=level)
        assert got == pytest.approx(level, abs=0.012)


def test_subspace_angles_of_a_planted_rotation_ignore_the_gauge():
    rng = np.random.default_rng(10)
    basis = np.linalg.qr(rng.normal(size=(12, 12)))[0].T
    angles = np.array([8.0, 1e-4])
    radians = np.radians(angles)
    turned = np.cos(radians)[:, None] * basis[:2] + np.sin(radians)[:, None] * basis[4:6]
    gauge = rng.normal(size=(3, 2))
    np.testing.assert_allclose(
        metrics.subspace_angles(basis[:2], gauge @ turned), angles, rtol=1e-6
    )
    with pytest.raises(ValueError, match="finite"):
        metrics.subspace_angles(np.full((1, 2), np.nan), np.eye(2))
    with pytest.raises(ValueError, match="zero matrix"):
        metrics.subspace_angles(np.zeros((1, 2)), np.eye(2))


def test_effective_rank():
    assert metrics.effective_rank(np.ones(5)) == pytest.approx(5)
    assert metrics.effective_rank(np.array([3.0, 0.0])) == pytest.approx(1)
    assert 1 < metrics.effective_rank(np.array([1.0, 0.1])) < 2
    with pytest.raises(ValueError, match="spectrum"):
        metrics.effective_rank(np.zeros(3))


def test_bounded_intervals_stay_inside_and_keep_their_coverage():
    rng = np.random.default_rng(11)
    values = rng.beta(9, 1, (5, 2000))
    plain = metrics.mean_interval(values)
    bounded = metrics.mean_interval(values, bounds=(0.0, 1.0))
    assert plain.high.max() > 1.0
    assert bounded.low.min() >= 0.0
    assert bounded.high.max() <= 1.0
    covered = [np.mean((x.low <= 0.9) & (x.high >= 0.9)) for x in (plain, bounded)]
    assert covered[0] == covered[1]
    wins = np.where(rng.random((5, 2000)) < 0.97, 1.0, 0.0)
    every = metrics.mean_interval(wins, bounds=(0.0, 1.0))
    assert np.mean((every.low <= 0.97) & (every.high >= 0.97)) > 0.95
    assert np.mean(metrics.mean_interval(wins).low <= 0.97) < 0.2
    with pytest.raises(ValueError, match="Unit 1 has"):
        metrics.mean_interval(np.array([0.5, 1.2]), bounds=(0.0, 1.0))
    macro = metrics.macro_auc(np.arange(4), np.ones(4), np.ones(4))
    assert (macro.value, macro.high) == (1.0, 1.0)
    assert macro.low == pytest.approx(0.025**0.25)


def test_bootstrap_of_users_covers_and_leaves_out_missing_ones():
    rng = np.random.default_rng(12)
    values = rng.normal(0.3, 1.0, (80, 300))
    inside = []
    for study, users in enumerate(values):
        interval = metrics.cluster_bootstrap(jax.random.key(study), users, num_resamples=300)
        inside.append(interval.low <= 0.3 <= interval.high)
    assert np.mean(inside) > 0.88
    users[::3] = np.nan
    alone = metrics.cluster_bootstrap(jax.random.key(0), users)
    deleted = metrics.cluster_bootstrap(jax.random.key(0), users[~np.isnan(users)])
    np.testing.assert_array_equal(alone, deleted)
    assert alone.num == 200


def test_recalibration_is_a_logistic_regression_with_intervals_over_people():
    rng = np.random.default_rng(0)
    logit, user = 2 * rng.normal(size=4000), np.repeat(np.arange(100), 40)
    label = (rng.random(4000) < 1 / (1 + np.exp(-(0.3 + 0.7 * logit)))).astype(float)
    found = metrics.recalibrate(logit, label, user, mirrored=False)
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-8)
    model.fit(logit[:, None], label)
    np.testing.assert_allclose(found.slope.value, model.coef_[0, 0], rtol=1e-4)
    np.testing.assert_allclose(found.intercept.value, model.intercept_[0], rtol=1e-3)
    assert found.slope.low < 0.7 < found.slope.high
    assert found.intercept.low < 0.3 < found.intercept.high
    # A person's rows said twice are no more people; the rows of others change nothing.
    twice = [np.concatenate([x, x]) for x in (logit, label, user)]
    again = metrics.recalibrate(*twice, mirrored=False)
    np.testing.assert_allclose(again.slope, found.slope, rtol=1e-4)
    # The order of a pair is arbitrary: the mirror of a row is the row.
    flip = np.where(rng.random(4000) < 0.5, -1.0, 1.0)
    mirror = metrics.recalibrate(flip * logit, np.where(flip < 0, 1 - label, label), user)
    plain = metrics.recalibrate(logit, label, user)
    np.testing.assert_allclose(mirror.slope, plain.slope, rtol=1e-4)
    assert float(plain.intercept.value) == 0
    nothing = metrics.recalibrate(np.zeros(6), np.ones(6), np.arange(6))
    assert np.isnan(nothing.slope.value)


def test_intervals_of_a_slope_cover_it():
    """Each person is too sure or too cautious in the own way, so that rows are not independent."""
    rng = np.random.default_rng(1)

    def slope_of(num_users):
        logit = rng.normal(size=(num_users, 20))
        own = np.exp(0.5 * rng.normal(size=(num_users, 1)))
        label = rng.random(logit.shape) < 1 / (1 + np.exp(-own * logit))
        user = np.repeat(np.arange(num_users), 20)
        return metrics.recalibrate(logit.ravel(), label.ravel().astype(float), user).slope

    truth = float(slope_of(20_000).value)
    found = [slope_of(40) for _ in range(200)]
    inside = np.mean([slope.low < truth < slope.high for slope in found])
    assert 0.9 <= inside <= 0.99
