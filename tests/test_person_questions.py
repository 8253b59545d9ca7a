from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit

from prefjax.person import (
    RULES,
    PairPool,
    ResponsePool,
    Rule,
    gap_at,
    get_rule,
    score,
    select,
    select_batch,
    split_index,
)
from prefjax.person.pools import second_moment, update_covariance
from prefjax.types import FeatureGap, Gaussian

J, P, N = 3, 4, 6
NONE = jnp.full((2,), -1, jnp.int32)
DETERMINISTIC = [name for name in RULES if name not in ("random", "thompson")]
_select = jax.jit(select, static_argnames="rule")
_select_batch = jax.jit(select_batch, static_argnames=("rule", "num_questions"))
_score = jax.jit(score, static_argnames="rule")


def make_belief(seed=0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(J, J))
    return Gaussian(
        mean=jnp.asarray(rng.normal(size=J), jnp.float32),
        covariance=jnp.asarray(root @ root.T + 0.1 * np.eye(J), jnp.float32),
    )


def make_responses(seed=0):
    rng = np.random.default_rng(seed)
    mask = np.ones((P, N), bool)
    mask[1, 4:] = mask[3, :2] = False
    features = rng.normal(size=(P, N, J)) + 2
    features[~mask] = np.nan
    return ResponsePool(
        features=jnp.asarray(features, jnp.float32),
        utility=jnp.asarray(np.where(mask, rng.normal(size=(P, N)), np.nan), jnp.float32),
        mask=jnp.asarray(mask),
    )


def listed(pool):
    """Every pair of a response pool one by one, with its index there."""
    features, utility, mask = (np.asarray(x) for x in pool[:3])
    named = [
        ((p * N + a) * N + b, features[p, a] - features[p, b], utility[p, a] - utility[p, b])
        for p in range(P)
        for a, b in combinations(range(N), 2)
        if mask[p, a] and mask[p, b]
    ]
    index, gap, offset = (np.array(x) for x in zip(*named, strict=True))
    pairs = PairPool(
        features=jnp.asarray(gap), offset=jnp.asarray(offset), mask=jnp.ones(len(index), bool)
    )
    return index, pairs


def make_gap(seed=0, size=20):
    rng = np.random.default_rng(seed)
    return FeatureGap(
        features=jnp.asarray(rng.normal(size=(size, J)), jnp.float32),
        offset=jnp.asarray(rng.normal(size=size), jnp.float32),
    )


def closed_form(name, gap, belief):
    """The table of rules in NumPy, float64, one candidate at a time."""
    features, offset = (np.asarray(x, np.float64) for x in gap[:2])
    weight, cov = (np.asarray(x, np.float64) for x in belief)
    target = features.T @ features / len(features)
    scores = []
    for f, t in zip(features, offset, strict=True):
        m, v = weight @ f + t, f @ cov @ f
        slope = expit(m) * expit(-m)
        with_bald = name == "bald"
        scores.append(
            {
                "eq8": v,
                "prob_variance": slope**2 * v,
                "official": slope**2 * v,
                "d_optimal": np.log1p(slope * v),
                "v_optimal": slope * (f @ cov @ target @ cov @ f) / (1 + slope * v),
                "entropy": -abs(m),
                "bald": mutual_information(m, v) if with_bald else None,
            }[name]
        )
    return np.array(scores)


def binary_entropy(p):
    return -p * np.log(p) - (1 - p) * np.log1p(-p)


def mutual_information(m, v):
    def mean(function):
        def weighted(z):
            return function(expit(m + np.sqrt(v) * z)) * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)

        return quad(weighted, -8, 8)[0]

    return binary_entropy(mean(lambda p: p)) - mean(binary_entropy)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_rule_is_its_formula(name):
    gap, belief = make_gap(), make_belief()
    ours = _score(jax.random.key(0), gap, belief, rule=name)
    np.testing.assert_allclose(ours, closed_form(name, gap, belief), rtol=2e-4, atol=2e-6)


def test_v_optimal_is_the_drop_of_the_mean_variance():
    gap, belief = make_gap(), make_belief()
    target = gap.features.T @ gap.features / len(gap.features)
    drop = [
        jnp.trace(target @ (belief.covariance - update_covariance(belief, one).covariance))
        for one in (FeatureGap(f, t) for f, t in zip(*gap[:2], strict=True))
    ]
    ours = _score(jax.random.key(0), gap, belief, rule="v_optimal")
    np.testing.assert_allclose(ours, jnp.stack(drop), rtol=1e-3)


def test_thompson_averages_to_the_spread_of_two_draws():
    gap, belief = make_gap(size=2), make_belief()
    keys = jax.random.split(jax.random.key(0), 4000)
    ours = jax.vmap(lambda key: score(key, gap, belief, rule="thompson"))(keys).mean(axis=0)
    draws = np.random.default_rng(1).multivariate_normal(
        np.asarray(belief.mean), np.asarray(belief.covariance, np.float64), (20_000, 2)
    )
    p = expit(draws @ np.asarray(gap.features).T + np.asarray(gap.offset))
    np.testing.assert_allclose(ours, np.abs(p[:, 0] - p[:, 1]).mean(axis=0), atol=0.02)


def test_offset_enters_the_logit_only():
    gap, belief = make_gap(), make_belief()
    moved = gap._replace(offset=gap.offset + 3)
    key = jax.random.key(0)
    np.testing.assert_array_equal(
        _score(key, gap, belief, rule="eq8"), _score(key, moved, belief, rule="eq8")
    )
    shifted = jnp.abs(gap.features @ belief.mean + moved.offset)
    np.testing.assert_allclose(_score(key, moved, belief, rule="entropy"), -shifted, rtol=1e-5)


def test_unknown_rule_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"'magic'.*eq8.*d_optimal.*random"):
        get_rule("magic")


@pytest.mark.parametrize("name", [name for name in RULES if name != "random"])
def test_pool_search_is_brute_force(name):
    pool, belief, key = make_responses(), make_belief(), jax.random.key(3)
    index, pairs = listed(pool)
    gap = FeatureGap(features=pairs.features, offset=pairs.offset)
    scores = np.asarray(_score(key, gap, belief, rule=name))
    order = np.argsort(-scores)
    asked = NONE
    for rank in range(3):
        found = _select(key, pool, belief, asked, RULES[name])
        assert int(found.index) == index[order[rank]]
        np.testing.assert_allclose(found.score, scores[order[rank]], rtol=1e-3, atol=1e-6)
        same = _select(key, pairs, belief, jnp.asarray(order[:2]).at[rank:].set(-1), RULES[name])
        assert int(same.index) == order[rank]
        if rank < 2:
            asked = asked.at[rank].set(found.index)


def test_target_second_moment_of_all_pairs():
    pool = make_responses()
    _, pairs = listed(pool)
    np.testing.assert_allclose(second_moment(pool), second_moment(pairs), rtol=1e-4)


@pytest.mark.parametrize("name", ["d_optimal", "random"])
def test_every_pair_once_then_nothing(name):
    pool, belief = make_responses(), make_belief()
    index, _ = listed(pool)
    size = len(index)
    found = _select_batch(jax.random.key(1), pool, belief, NONE, RULES[name], size + 1)
    assert sorted(np.asarray(found.index)[:size]) == sorted(index)
    assert int(found.index[-1]) == -1
    assert float(found.score[-1]) == -np.inf
    prompt, first, second = split_index(pool, found.index[:size])
    assert bool(jnp.all(pool.mask[prompt, first] & pool.mask[prompt, second] & (first < second)))


def test_random_is_uniform():
    pool, belief = make_responses(), make_belief()
    index, _ = listed(pool)
    keys = jax.random.split(jax.random.key(0), 3000)
    found = jax.vmap(lambda key: select(key, pool, belief, NONE, RULES["random"]).index)(keys)
    values, counts = np.unique(found, return_counts=True)
    np.testing.assert_array_equal(values, np.sort(index))
    expected = 3000 / len(index)
    assert ((counts - expected) ** 2 / expected).sum() < 2 * len(index)


def test_greedy_batch_is_the_naive_recomputation():
    pool, belief = make_responses(), make_belief()
    found = _select_batch(jax.random.key(0), pool, belief, NONE, RULES["d_optimal"], 5)
    index, pairs = listed(pool)
    features, offset = (np.asarray(x, np.float64) for x in (pairs.features, pairs.offset))
    weight, precision = np.asarray(belief.mean), np.linalg.inv(np.asarray(belief.covariance))
    m = features @ weight + offset
    slope, left = expit(m) * expit(-m), np.ones(len(index), bool)
    for ours in np.asarray(found.index):
        v = np.einsum("ij,jk,ik->i", features, np.linalg.inv(precision), features)
        best = np.argmax(np.where(left, slope * v, -1))
        assert ours == index[best]
        precision += slope[best] * np.outer(features[best], features[best])
        left[best] = False


def test_batch_of_one_is_single():
    pool, belief, key = make_responses(), make_belief(), jax.random.key(5)
    batch = _select_batch(key, pool, belief, NONE, RULES["thompson"], 1)
    single = _select(jax.random.split(key, 1)[0], pool, belief, NONE, RULES["thompson"])
    assert int(batch.index[0]) == int(single.index)


@pytest.mark.parametrize("name", ["eq8", "d_optimal", "bald", "v_optimal"])
def test_gauge_change_changes_no_choice(name):
    pool, belief = make_responses(), make_belief()
    change = jnp.asarray([[2.0, 0.5, 0.0], [0.0, 0.5, 1.0], [-1.0, 0.0, 1.5]])
    inverse = jnp.linalg.inv(change)
    moved = pool._replace(features=pool.features @ change)
    belief_moved = Gaussian(inverse @ belief.mean, inverse @ belief.covariance @ inverse.T)
    ours = _select_batch(jax.random.key(0), pool, belief, NONE, RULES[name], 5)
    theirs = _select_batch(jax.random.key(0), moved, belief_moved, NONE, RULES[name], 5)
    np.testing.assert_array_equal(ours.index, theirs.index)


def test_permutation_equivariance():
    gap, belief = make_gap(), make_belief()
    order = np.random.default_rng(0).permutation(20)
    pool = PairPool(gap.features, gap.offset, jnp.ones(20, bool))
    shuffled = PairPool(gap.features[order], gap.offset[order], jnp.ones(20, bool))
    ours = _select_batch(jax.random.key(0), pool, belief, NONE, RULES["d_optimal"], 5)
    theirs = _select_batch(jax.random.key(0), shuffled, belief, NONE, RULES["d_optimal"], 5)
    np.testing.assert_array_equal(ours.index, order[np.asarray(theirs.index)])


def test_ties_go_to_the_lowest_index_and_nan_is_never_chosen():
    pool = PairPool(jnp.ones((20, J)).at[0, 0].set(jnp.nan), jnp.zeros(20), jnp.ones(20, bool))
    found = _select(jax.random.key(0), pool, make_belief(), NONE, RULES["d_optimal"])
    assert int(found.index) == 1


def test_own_rule():
    pool, belief = make_responses(), make_belief()
    found = _select(jax.random.key(0), pool, belief, NONE, Rule(lambda moments: moments.logit))
    index, pairs = listed(pool)
    best = index[np.argmax(np.asarray(pairs.features @ belief.mean + pairs.offset))]
    assert int(found.index) == best


def test_gap_of_no_question_is_zero():
    gap = gap_at(make_responses(), jnp.int32(-1))
    assert not gap.features.any()
    assert float(gap.offset) == 0
