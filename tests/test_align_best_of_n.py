"""Best-of-N against dense loops, enumeration of subsets, and bad input."""

from functools import partial
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from prefjax import align
from prefjax.align import BestOfNConfig, _best_of_n, best_of_n_checked, robust
from prefjax.person import ResponsePool
from prefjax.types import Gaussian

USERS, PROMPTS, SIZE, J = 7, 4, 6, 3


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(PROMPTS, SIZE, J)).astype(np.float32)
    utility = rng.normal(size=(PROMPTS, SIZE)).astype(np.float32)
    mask = np.ones((PROMPTS, SIZE), bool)
    mask[1, 4:] = False
    mask[2, 1:] = False
    weight = rng.normal(size=(USERS, J)).astype(np.float32)
    root = rng.normal(size=(USERS, J, J)).astype(np.float32)
    return ResponsePool(features, utility, mask), weight, root @ root.swapaxes(1, 2)


def dense(pool, weight, covariance, rule, caution):
    """Scores in loops over users, prompts and responses."""
    scores = np.full((len(weight), PROMPTS, SIZE), -np.inf)
    for u, (w, cov) in enumerate(zip(weight, covariance, strict=True)):
        for p in range(PROMPTS):
            use = pool.mask[p]
            center, base = pool.features[p][use].mean(0), pool.utility[p][use].mean()
            for n in np.flatnonzero(use):
                gap = pool.features[p, n] - center
                m, v = w @ gap + pool.utility[p, n] - base, gap @ cov @ gap
                scores[u, p, n] = {
                    "mean": m,
                    "lcb": m - caution * np.sqrt(v),
                    "pwin": expit(m / np.sqrt(1 + np.pi * v / 8)),
                }[rule]
    return scores


@pytest.mark.parametrize("rule", ["mean", "lcb", "pwin"])
def test_blocks_are_the_dense_loops_whatever_padding_holds(problem, rule):
    pool, weight, covariance = problem
    want = dense(pool, weight, covariance, rule, 0.7)
    padded = pool._replace(
        features=np.where(pool.mask[:, :, None], pool.features, np.nan),
        utility=np.where(pool.mask, pool.utility, np.nan),
    )
    for block_size in (3, 128):
        config = BestOfNConfig(rule, caution=0.7, block_size=block_size)
        got = best_of_n_checked(Gaussian(weight, covariance), padded, config=config)
        np.testing.assert_array_equal(got.index, want.argmax(2))
        np.testing.assert_allclose(got.score, want.max(2), rtol=1e-4, atol=1e-5)
    # A pool with one response has no choice.
    assert (np.asarray(got.index)[:, 2] == 0).all()


@pytest.mark.parametrize("rule", ["mean", "lcb", "pwin"])
@pytest.mark.parametrize("most_terms", [0, 64])
def test_accelerators_choose_the_same(problem, rule, most_terms, monkeypatch):
    pool, weight, covariance = problem
    config = BestOfNConfig(rule, caution=0.7)
    want = best_of_n_checked(Gaussian(weight, covariance), pool, config=config)
    monkeypatch.setattr(_best_of_n, "platform", lambda: "cuda")
    monkeypatch.setattr(_best_of_n, "_MOST_TERMS", most_terms)
    monkeypatch.setattr(_best_of_n, "_STORED_SCORES", 3 * PROMPTS * SIZE)
    got = jax.jit(partial(align.best_of_n, config=config))(Gaussian(weight, covariance), pool)
    np.testing.assert_array_equal(got.index, want.index)
    np.testing.assert_allclose(got.score, want.score, rtol=1e-5, atol=1e-6)


def test_a_user_without_answers_gets_the_best_of_the_population(problem):
    pool, weight, covariance = problem
    got = best_of_n_checked(Gaussian(np.zeros_like(weight[:1]), covariance[:1]), pool)
    np.testing.assert_array_equal(
        got.index[0], np.where(pool.mask, pool.utility, -np.inf).argmax(1)
    )


def test_bad_input_is_named(problem):
    pool, weight, covariance = problem
    people = Gaussian(weight, covariance)
    spoiled = pool.features.copy()
    spoiled[3, 2, 0] = np.inf
    with pytest.raises(ValueError, match="response 2 to prompt 3 is not finite"):
        best_of_n_checked(people, pool._replace(features=spoiled))
    mask = pool.mask.copy()
    mask[2] = False
    with pytest.raises(ValueError, match="Prompt 2 has no response"):
        best_of_n_checked(people, pool._replace(mask=mask))
    spoiled = np.where(np.arange(USERS)[:, None] == 5, np.nan, weight)
    with pytest.raises(ValueError, match="weights of user 5"):
        best_of_n_checked(Gaussian(spoiled, covariance), pool)
    unknown = Gaussian(weight, covariance * np.nan)
    with pytest.raises(ValueError, match="covariance of user 0"):
        best_of_n_checked(unknown, pool, config=BestOfNConfig("lcb"))
    assert best_of_n_checked(unknown, pool).index.shape == (USERS, PROMPTS)
    with pytest.raises(ValueError, match=r"have 3 features.*got shape \(7, 2\)"):
        best_of_n_checked(Gaussian(weight[:, :2], covariance[:, :2, :2]), pool)
    with pytest.raises(ValueError, match=r"got shape \(0, 3\)"):
        best_of_n_checked(Gaussian(weight[:0], covariance[:0]), pool)
    refused: list[dict[str, Any]] = [{"block_size": 0}, {"caution": -1.0}, {"caution": np.nan}]
    for settings in refused:
        with pytest.raises(ValueError, match=next(iter(settings))):
            BestOfNConfig(**settings)


def test_regret_is_zero_for_the_truth_itself(problem):
    pool, weight, covariance = problem
    truth = np.einsum("pnj,uj->upn", pool.features, weight) + pool.utility[None]
    best = best_of_n_checked(Gaussian(weight, covariance), pool).index
    np.testing.assert_allclose(align.regret(truth, best, pool.mask), 0, atol=1e-6)
    worst = np.where(pool.mask[None], truth, np.inf).argmin(2)
    others = np.asarray(align.regret(truth, worst, pool.mask))
    assert (others[:, [0, 1, 3]] > 0).all()


def test_over_optimization_is_the_mean_over_all_subsets():
    rng = np.random.default_rng(1)
    proxy, reward = rng.normal(size=(2, 3, SIZE)).astype(np.float32)
    sizes = (1, 2, 4, SIZE)
    got = align.over_optimization(proxy, reward, sizes)
    for row in range(3):
        for k, n in enumerate(sizes):
            subsets = [list(s) for s in combinations(range(SIZE), n)]
            want = np.mean([reward[row, s][proxy[row, s].argmax()] for s in subsets])
            assert float(got[row, k]) == pytest.approx(want, abs=1e-5)
    promised = align.over_optimization(proxy, proxy, sizes)
    assert (np.diff(promised, axis=-1) > 0).all()


def test_kl_bound_holds_for_an_exact_best_of_n():
    base = np.array([0.5, 0.3, 0.15, 0.05])
    for n in (1, 2, 4, 16):
        below = np.cumsum(base)
        policy = below**n - (below - base) ** n
        kl = np.sum(policy * np.log(policy / base))
        assert kl <= align.kl_bound(n) + 1e-12
    # Tight for a continuous distribution: a fine grid of equally likely responses.
    grid = np.arange(1, 100_001) / 100_000
    policy = grid**4 - (grid - 1e-5) ** 4
    assert np.sum(policy * np.log(policy * 1e5)) == pytest.approx(align.kl_bound(4), abs=1e-3)


def test_robust_directions_surround_the_estimate_and_never_lose_to_it():
    weight, covariance = jnp.array([1.0, 2.0]), jnp.diag(jnp.array([0.5, 0.0]))
    directions = robust.sample_directions(jax.random.key(0), Gaussian(weight, covariance), num=500)
    np.testing.assert_array_equal(directions[0], weight)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), np.sqrt(5), rtol=1e-5)
    slope = np.asarray(directions[1:, 0] / directions[1:, 1]) * 2
    assert slope.mean() == pytest.approx(1.0, abs=0.1)
    assert slope.std() == pytest.approx(np.sqrt(0.5), abs=0.07)

    features = jax.random.normal(jax.random.key(1), (20, 8, 2))
    utility = jnp.zeros((20, 8))
    chosen = jax.vmap(robust.select, in_axes=(None, 0, 0))(weight, features, utility)
    reward = features @ weight
    best = jnp.take_along_axis(reward, chosen[:, None], axis=1)[:, 0]
    assert (best >= reward[:, 0]).all()
    assert (best > reward[:, 0]).any()
