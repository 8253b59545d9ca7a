"""Coins among people are found, people among people are not, and rows are judged by the others."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit

from prefjax import logistic
from prefjax.basis import EMConfig, SearchConfig
from prefjax.numerics import precision
from prefjax.person import AnswerAuditConfig, audit_answers, describe_audit, laplace
from prefjax.person.evidence import judge_person
from prefjax.types import Comparisons, Gaussian

judge = jax.jit(partial(judge_person, num_simulations=9))
POPULATION = Gaussian(jnp.array([0.5, 0.0, 0.0]), jnp.diag(jnp.array([1.7, 2.0, 0.5])))


def one_person(num_factors=3, seed=0):
    """Twenty answers, padded with twenty of weight 0, so that one program judges everybody."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(40, 3)).astype(np.float32)
    features[:, num_factors:] = 0.0
    offset = (0.3 * rng.normal(size=40)).astype(np.float32)
    label = (rng.random(40) < expit(2 * features[:, 0] + offset)).astype(np.float32)
    return features, offset, label, (np.arange(40) < 20).astype(np.float32)


def test_evidence_is_the_integral_over_the_weights():
    features, offset, label, weight = one_person(num_factors=1)
    judged = judge(jax.random.key(0), features, offset, label, weight, population=POPULATION)

    def integrand(own):
        chance = expit(features[:20, 0] * own + offset[:20])
        density = np.exp(-((own - 0.5) ** 2) / (2 * 1.7)) / np.sqrt(2 * np.pi * 1.7)
        return np.prod(2 * np.where(label[:20] > 0.5, chance, 1 - chance)) * density

    expected = np.log(quad(integrand, -10, 10)[0])
    assert float(judged.evidence) == pytest.approx(expected, abs=0.03)
    assert 0 < float(judged.rank) < 1


def test_padding_changes_nothing():
    features, offset, label, weight = one_person()
    plain = judge(jax.random.key(0), features, offset, label, weight, population=POPULATION)
    for column in (features, offset):
        column[20:] = 7.0
    padded = judge(jax.random.key(0), features, offset, label, weight, population=POPULATION)
    np.testing.assert_allclose(padded.evidence, plain.evidence, atol=1e-5)
    np.testing.assert_allclose(padded.probability[:20], plain.probability[:20], atol=1e-6)


def test_a_row_is_judged_by_the_other_rows():
    features, offset, label, weight = one_person()
    judged = judge(jax.random.key(0), features, offset, label, weight, population=POPULATION)
    without = np.tile(weight, (20, 1))
    np.fill_diagonal(without, 0.0)
    prior = {"mean": POPULATION.mean, "precision": precision(POPULATION)}
    fits = jax.jit(
        jax.vmap(lambda weight: logistic.fit(features, label, weight, offset=offset, **prior))
    )(without)
    beliefs = jax.vmap(laplace.posterior)(fits)
    moments = jax.vmap(laplace.predict_logit)(beliefs, features[:20], offset[:20])
    win = np.asarray(laplace.probit_win_probability(*moments))
    expected = np.where(label[:20] > 0.5, win, 1 - win)
    np.testing.assert_allclose(judged.probability[:20], expected, atol=0.02)


def planted(num_users, rows, sharpness, seed, num_coins=0, num_flipped=0):
    """People w ~ N(0, I / 3) over 8 inputs, of whom some toss coins and some rows are wrong."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(400, 8)).astype(np.float32)
    directions, _ = np.linalg.qr(rng.normal(size=(8, 3)))
    shared = 0.3 * rng.normal(size=3)
    weights = (rng.normal(size=(num_users, 3)) / np.sqrt(3) + shared) @ directions.T
    user = np.repeat(np.arange(num_users), rows)
    first = rng.integers(400, size=len(user))
    second = (first + rng.integers(1, 400, size=len(user))) % 400
    gap = embeddings[first] - embeddings[second]
    logit = sharpness / np.sqrt(2) * np.einsum("rd,rd->r", gap, weights[user])
    label = (rng.random(len(user)) < expit(logit)).astype(np.float32)
    is_coin = np.zeros(num_users, bool)
    is_coin[rng.permutation(num_users)[:num_coins]] = True
    tossed = is_coin[user]
    label[tossed] = rng.integers(2, size=tossed.sum())
    sure = np.flatnonzero((np.abs(logit) > 4) & ~tossed)
    flipped = rng.permutation(sure)[:num_flipped]
    label[flipped] = logit[flipped] < 0
    rows = Comparisons(user, first, second, label, np.ones(len(user), np.float32))
    return rows, embeddings, is_coin, flipped


QUICK = AnswerAuditConfig(
    num_parts=2,
    num_cuts=1,
    num_simulations=49,
    fit=EMConfig(num_factors=3, max_steps=40),
    search=SearchConfig(
        factor_penalties=(1.5, 12.0), utility_penalties=(1.0,), posterior_scales=(1.0,)
    ),
)


@pytest.mark.slow
def test_coins_and_wrong_rows_are_found_among_few_people():
    rows, embeddings, is_coin, flipped = planted(60, 40, 5.0, 0, num_coins=3, num_flipped=10)
    found = audit_answers(jax.random.key(0), rows, embeddings, num_users=60, config=QUICK)
    assert found.is_random[is_coin].all()
    assert found.is_random[~is_coin].mean() <= 0.08
    wrong = np.zeros(len(rows.label), bool)
    wrong[flipped] = True
    assert found.is_contradicted[wrong].mean() >= 0.5
    assert found.is_contradicted[~wrong & ~is_coin[rows.user]].mean() < 0.01
    assert found.probability[~found.is_contradicted].min() > QUICK.max_probability
    assert found.num_confident > 500
    names = tuple(f"p{index}" for index in range(60))
    text = describe_audit(found, names)
    assert all(f"| p{index} | 40 |" in text for index in np.flatnonzero(is_coin))


@pytest.mark.slow
def test_people_with_few_answers_and_ties_are_not_judged():
    rows, embeddings, _, _ = planted(30, 12, 5.0, 1)
    label = rows.label.copy()
    label[rows.user == 4] = 0.5
    label[np.flatnonzero(rows.user == 5)[:3]] = 0.5
    rows = rows._replace(label=label)
    found = audit_answers(jax.random.key(0), rows, embeddings, num_users=30, config=QUICK)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found.evidence)), [4, 5])
    assert (found.num_rows[4], found.num_rows[5]) == (0, 9)
    assert np.isnan(found.probability[np.isin(rows.user, [4, 5])]).all()
    assert not found.is_random[[4, 5]].any()


def test_too_few_people_are_refused_by_number():
    rows, embeddings, _, _ = planted(30, 12, 5.0, 1)
    few = rows._replace(label=np.where(rows.user < 27, 0.5, rows.label).astype(np.float32))
    with pytest.raises(ValueError, match="3 people have 10 decided answers; at least 4"):
        audit_answers(jax.random.key(0), few, embeddings, num_users=30, config=QUICK)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"false_alarms": 0.0}, "false_alarms must lie in"),
        ({"num_simulations": 9}, "at least 19 are needed"),
        ({"num_parts": 1}, "two parts"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        AnswerAuditConfig(**settings)


@pytest.mark.slow
def test_random_clickers_are_found_and_clean_people_are_not():
    """5 % coins, 40 answers each, in three worlds; then the same people without coins."""
    config = AnswerAuditConfig(num_cuts=1)
    found, missed, false, clean = 0, 0, [], []
    for seed in range(3):
        rows, embeddings, is_coin, _ = planted(400, 40, 5.0, seed, num_coins=20)
        audit = audit_answers(jax.random.key(seed), rows, embeddings, num_users=400, config=config)
        found += int(audit.is_random[is_coin].sum())
        missed += int((~audit.is_random[is_coin]).sum())
        false.append(audit.is_random[~is_coin].mean())
        assert np.nanmean(audit.power) > 0.95
        rows, embeddings, _, _ = planted(400, 40, 5.0, seed)
        audit = audit_answers(jax.random.key(seed), rows, embeddings, num_users=400, config=config)
        clean.append(audit.is_random.mean())
    assert found >= 0.95 * (found + missed)
    assert np.mean(false) <= 0.05
    # 1,200 people of whom 5 % may be flagged: a standard error is .6 %.
    assert np.mean(clean) <= 0.05 + 2 * 0.006
