"""Choices of one among several: the likelihood, a person, a data set, a file."""

import itertools
import warnings
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

from prefjax import logistic, person
from prefjax.basis.heads import linear_params
from prefjax.data import (
    choices_of,
    from_comparisons,
    from_rankings,
    group_choices,
    read,
    weigh_choices,
)
from prefjax.data.answers import describe_answers, inspect_answers
from prefjax.data.choices import independent_pairs, validate_choices
from prefjax.data.observations import shared_winners
from prefjax.logistic import GaussianConfig, NewtonConfig, softmax_expectation
from prefjax.types import BASELINE, Choices, FeatureGap, Gaussian, RewardBasis

PRIOR = {"mean": jnp.array([0.2, -0.1, 0.0]), "precision": 0.5 * jnp.eye(3)}
SOLVERS = (NewtonConfig(), GaussianConfig(tolerance=1e-6, max_steps=200))


def draw(seed, num_choices=12, num_shown=4, num_factors=3):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num_choices, num_shown, num_factors)).astype(np.float32)
    offset = rng.normal(size=(num_choices, num_shown)).astype(np.float32)
    label = np.eye(num_shown, dtype=np.float32)[rng.integers(num_shown, size=num_choices)]
    return features, offset, label


@pytest.mark.parametrize("config", SOLVERS)
def test_a_choice_among_two_is_the_logistic(config):
    features, offset, label = draw(0, num_shown=2)
    label[0] = 0.5
    weight = np.ones(12, np.float32)
    weight[3], weight[4] = 0, 2
    one = logistic.fit_choices(
        features, label, np.ones((12, 2), bool), weight, offset=offset, config=config, **PRIOR
    )
    gap = features[:, 0] - features[:, 1]
    shared = offset[:, 0] - offset[:, 1]
    other = logistic.solve(gap, label[:, 0], weight, offset=shared, config=config, **PRIOR)
    chex.assert_trees_all_close(one.weights, other.weights, atol=3e-6)
    chex.assert_trees_all_close(one.hessian, other.hessian, atol=1e-5)
    assert bool(one.converged)


def test_the_map_is_that_of_scipy_and_its_hessian_that_of_autodiff():
    features, offset, label = draw(1)
    weight = np.ones(12, np.float32)
    mask = np.ones(label.shape, bool)
    found = logistic.fit_choices(
        features, label, mask, weight, offset=offset, config=NewtonConfig(), **PRIOR
    )

    def objective(point, log_sum=logsumexp, xp=np):
        rewards = features @ point + offset
        gap = point - xp.asarray(PRIOR["mean"])
        data = xp.sum(log_sum(rewards, axis=1) - xp.sum(label * rewards, axis=1))
        return data + 0.25 * xp.sum(gap**2)

    exact = minimize(objective, np.zeros(3), tol=1e-10)
    chex.assert_trees_all_close(found.weights, exact.x.astype(np.float32), atol=2e-4)
    hessian = jax.hessian(lambda x: objective(x, jax.nn.logsumexp, jnp))(found.weights)
    chex.assert_trees_all_close(found.hessian, hessian, atol=1e-4)


@pytest.mark.parametrize("config", SOLVERS)
def test_padding_is_absent_and_the_order_of_what_is_shown_says_nothing(config):
    features, offset, label = draw(2)
    weight, mask = np.ones(12, np.float32), np.ones(label.shape, bool)

    def solve(features, offset, label, mask, weight):
        told = {"offset": offset, "config": config, **PRIOR}
        return logistic.fit_choices(features, label, mask, weight, **told)

    plain = solve(features, offset, label, mask, weight)
    wide = ((0, 3), (0, 2))
    padded = solve(
        np.pad(features, (*wide, (0, 0)), constant_values=np.nan),
        np.pad(offset, wide, constant_values=np.inf),
        np.pad(label, wide),
        np.pad(mask, wide),
        np.pad(weight, (0, 3)),
    )
    chex.assert_trees_all_close(plain.weights, padded.weights, atol=1e-5)
    chex.assert_trees_all_close(plain.hessian, padded.hessian, atol=1e-4)
    order = np.array([2, 0, 3, 1])
    turned = solve(features[:, order], offset[:, order], label[:, order], mask, weight)
    chex.assert_trees_all_close(plain.weights, turned.weights, atol=2e-3)
    nothing = solve(features, offset, label, mask, 0 * weight)
    np.testing.assert_array_equal(nothing.weights, PRIOR["mean"])
    np.testing.assert_array_equal(nothing.hessian, PRIOR["precision"])


def test_one_choice_among_four_tells_less_than_three_independent_pairs():
    features, _, _ = draw(3, num_choices=1)
    label = np.eye(4, dtype=np.float32)[:1]
    one = logistic.fit_choices(features, label, np.ones((1, 4), bool), np.ones(1), **PRIOR)
    gap = features[0, :1] - features[0, 1:]
    three = logistic.solve(gap, np.ones(3), np.ones(3), **PRIOR)
    told = [
        np.linalg.slogdet(found.hessian / PRIOR["precision"][0, 0])[1] for found in (one, three)
    ]
    assert 0 < told[0] < 0.95 * told[1]


@pytest.mark.parametrize("variance", [0.25, 1.0])
def test_expectations_are_those_of_random_draws(variance):
    rng = np.random.default_rng(0)
    for _ in range(4):
        root = rng.normal(size=(4, 6))
        root *= np.sqrt(variance / np.mean(np.sum(root**2, axis=1)))
        mean = rng.normal(size=4)
        found = softmax_expectation.expect(
            jnp.asarray(mean), jnp.asarray(root @ root.T), jnp.ones(4, bool)
        )
        logit = mean + rng.normal(size=(200_000, 6)) @ root.T
        drawn = np.exp(logit - logsumexp(logit, axis=1, keepdims=True))
        np.testing.assert_allclose(found.probability, drawn.mean(0), atol=0.02)
        spread = np.diag(drawn.mean(0)) - drawn.T @ drawn / len(drawn)
        np.testing.assert_allclose(found.curvature, spread, atol=0.015)
        np.testing.assert_allclose(found.value, logsumexp(logit, axis=1).mean(), atol=0.05)


def test_many_choices_at_once_are_as_few():
    """12,000 of them in one compiled program, against the same by the hundred."""
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(4, 12_000)).astype(np.float32)
    gap = 1.5 * rng.normal(size=(4, 5, 12_000)).astype(np.float32)
    covariance = np.einsum("ilc,jlc->ijc", gap, gap)
    mask = np.ones(mean.shape, bool)
    expect = jax.jit(softmax_expectation.expect)
    whole = expect(mean, covariance, mask)
    for start in (0, 6_000, 11_900):
        part = slice(start, start + 100)
        few = expect(mean[:, part], covariance[..., part], mask[:, part])
        some = jax.tree.map(lambda leaf, part=part: leaf[..., part], whole)
        chex.assert_trees_all_close(some, few, atol=1e-4, rtol=1e-4)
    chex.assert_tree_all_finite(whole)


def test_a_ranking_is_plackett_luce():
    rng = np.random.default_rng(0)
    reward, rank = rng.normal(size=5), np.array([3, 1, 5, 2, 4])
    made = from_rankings(np.zeros(1, int), np.arange(5)[None], rank[None])
    total = 0.0
    for label, mask in zip(made.label, made.mask, strict=True):
        total -= float(
            softmax_expectation.loss(jnp.asarray(reward), None, jnp.asarray(label), mask)
        )
    order = np.argsort(rank)
    exact = sum(reward[order[i]] - logsumexp(reward[order[i:]]) for i in range(5))
    np.testing.assert_allclose(total, exact, rtol=1e-5)
    # The probabilities of all rankings sum to 1.
    sums = 0.0
    for some in itertools.permutations(range(3)):
        parts = [reward[some[i]] - logsumexp(reward[list(some[i:])]) for i in range(3)]
        sums += np.exp(np.sum(parts))
    np.testing.assert_allclose(sums, 1.0)


def test_files_of_choices_and_of_rankings_are_read_as_what_they_are(tmp_path):
    best = [
        {"user": "u", "prompt": "p", "responses": ["a", "b", "c", "d"], "choice": 2},
        {"user": "v", "prompt": "p", "responses": ["a", "b"], "choice": 0},
        {"user": "u", "prompt": "q", "responses": ["a", "b", "c"], "choice": 1},
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = read(best, layout="best-of-k")
    found = choices_of(data)
    assert sorted(found.mask.sum(axis=1).tolist()) == [2, 3, 4]
    for row, size in zip(found.label.argmax(axis=1), found.mask.sum(axis=1), strict=True):
        which = {4: "c", 3: "b", 2: "a"}[int(size)]
        place = np.flatnonzero(found.mask.sum(axis=1) == size)[0]
        assert data.responses[found.shown[place, row]] == which
    assert shared_winners(data) == (5, 2)
    assert "5 rows are parts of 2 choices" in describe_answers(inspect_answers(data))
    ranked = [{"user": "u", "prompt": "p", "responses": ["a", "b", "c"], "rank": [2, 1, 3]}]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = read(ranked, layout="ranking")
    found = choices_of(data)
    first = np.argmax(found.mask.sum(axis=1))
    assert found.mask.sum(axis=1).tolist() in ([3, 2], [2, 3])
    assert data.responses[found.shown[first, found.label[first].argmax()]] == "b"


def test_pairs_and_votes_are_choices_among_two_and_choices_give_their_pairs():
    made = Choices(
        np.array([1, 0]),
        np.array([[4, 2, 9], [1, 3, BASELINE]]),
        np.array([[0, 1, 0], [1, 0, 0]], np.float32),
        np.array([[True, True, True], [True, True, False]]),
        np.ones(2),
    )
    rows = independent_pairs(validate_choices(made, 2, 10))
    assert rows.first.tolist() == [2, 2, 1]
    assert rows.second.tolist() == [4, 9, 3]
    again = from_comparisons(rows)
    np.testing.assert_array_equal(again.label, [[1, 0]] * 3)
    batch = group_choices(validate_choices(made, 2, 10), 3)
    assert batch.shown.shape == (3, 1, 3)
    assert batch.sample_weight.tolist() == [[1], [1], [0]]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("shown", [[4, 4, 9]], "shows a response twice"),
        ("shown", [[4, 2, 10]], "outside 0 … 9"),
        ("label", [[0.5, 0.0, 0.0]], "do not sum to 1"),
        ("mask", [[True, False, False]], "fewer than two"),
        ("user", [2], "outside 0 … 1"),
        ("sample_weight", [np.nan], "not finite"),
    ],
)
def test_a_choice_that_is_none_is_refused_by_its_number(field, value, message):
    label, mask = np.array([[1.0, 0, 0]]), np.ones((1, 3), bool)
    good = Choices(np.zeros(1, int), np.array([[4, 2, 9]]), label, mask, np.ones(1))
    with pytest.raises(ValueError, match=f"choice 0 .*{message}"):
        validate_choices(good._replace(**{field: np.array(value)}), 2, 10)


def make_basis():
    population = Gaussian(jnp.zeros(2), jnp.eye(2))
    kernel = jnp.concatenate([jnp.eye(2, 3), jnp.array([[0.0, 0.0, 0.3]])]).T
    return RewardBasis(linear_params(kernel), population, jnp.ones(()))


def test_a_person_hears_choices_beside_pairs_and_is_stored_with_them(tmp_path):
    pool = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    one, other = person.Person(make_basis()), person.Person(make_basis())
    for who in (one, other):
        who.observe(pool[0], pool[1], 1.0)
    one.observe_choice(None, pool[2:4], 1)
    other.observe(pool[2], pool[3], 0.0)
    # Both stop within the tolerance of their solves, a twentieth of a logit.
    chex.assert_trees_all_close(one.belief.mean, other.belief.mean, atol=2e-2)
    chex.assert_trees_all_close(one.belief.covariance, other.belief.covariance, atol=2e-2)
    one.observe_ranking(None, pool[:4], [2, 1, 4, 3])
    assert one.num_answers == 5
    stored = person.stored.from_dict(one.to_dict(), "the person")
    assert stored.choices == [choice._replace(shown=choice.shown) for choice in stored.choices]
    again = person.Person(make_basis())
    again.follow(stored)
    chex.assert_trees_all_close(again.belief.mean, one.belief.mean, atol=1e-6)
    with pytest.raises(ValueError, match="place from 0 to 3"):
        one.observe_choice(None, pool[:4], 4)
    with pytest.raises(ValueError, match="as many finite ranks"):
        one.observe_ranking(None, pool[:4], [1, 2, 3])


def test_a_question_with_two_is_the_best_pair_and_one_with_four_tells_much():
    pool = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    someone = person.Person(make_basis())
    question = someone.ask(pool)
    assert sorted(someone.ask_choice(pool, num_shown=2)) == [question.first, question.second]
    four = someone.ask_choice(pool, num_shown=4)
    assert len(set(four)) == 4
    items = someone.reader(pool)

    def gain(some):
        told = items.features[list(some)], items.utility[list(some)], np.ones(4, bool)
        return float(person.choice_gain(someone.belief, *told))

    gains = [gain(some) for some in itertools.combinations(range(7), 4)]
    assert gain(four) > np.quantile(gains, 0.8)
    with pytest.raises(ValueError, match="8 of 7 responses"):
        someone.ask_choice(pool, num_shown=8)


@pytest.mark.slow
def test_intervals_of_planted_people_cover_under_the_choice_and_not_under_its_pairs():
    """300 simulated people, 40 choices of one among four, base rewards known."""
    rng = np.random.default_rng(0)
    users, factors = 300, 6
    weights = rng.normal(size=(users, factors))
    size = (users, 40, 4)
    features = 2 * rng.normal(size=(*size, factors)).astype(np.float32) / np.sqrt(factors)
    offset = 0.5 * rng.normal(size=size).astype(np.float32)
    reward = np.einsum("uckj,uj->uck", features, weights) + offset + rng.gumbel(size=size)
    label = np.eye(4, dtype=np.float32)[reward.argmax(axis=-1)]
    prior = Gaussian(jnp.zeros(factors), jnp.eye(factors))
    ones = np.ones(size[:2], np.float32)
    chosen = jax.jit(lambda *told: person.adapt_choices(*told, prior=prior))(
        features, offset, label, np.ones(size, bool), ones
    )
    order = np.argsort(-label, axis=-1, kind="stable")  # the chosen first
    features = np.take_along_axis(features, order[..., None], axis=2)
    offset = np.take_along_axis(offset, order, axis=2)
    gap = (features[:, :, :1] - features[:, :, 1:]).reshape(users, -1, factors)
    shared = (offset[:, :, :1] - offset[:, :, 1:]).reshape(users, -1)
    ones = np.ones(shared.shape, np.float32)
    adapt = jax.jit(lambda gap, *told: person.adapt(gap, *told, prior=prior))
    pairs, weighed = (adapt(FeatureGap(gap, shared), ones, w * ones) for w in (1.0, 0.5))

    def coverage(fit):
        deviation = np.sqrt(np.diagonal(np.linalg.inv(fit.hessian), axis1=1, axis2=2))
        return np.mean(np.abs(fit.weights - weights) < 1.96 * deviation)

    assert 0.93 < coverage(chosen) < 0.97
    assert 0.93 < coverage(weighed) < 0.97
    assert coverage(pairs) < 0.90


def test_pairs_of_a_choice_weigh_as_much_as_the_choice_tells():
    """With equal rewards the weighted pairs have its score and its information."""
    rng = np.random.default_rng(0)
    for ranks, shown in itertools.product(([1, 2, 2, 2], [3, 1, 2, 4], [1, 1, 2, 3]), (2, 3, 4)):
        rank = ranks[:shown]
        row = {"choice": 0} if ranks[1:] == [2, 2, 2] else {"rank": rank}
        told = {"user": "u", "prompt": "p", "responses": list("abcd")[:shown], **row}
        more = {"user": "v", "prompt": "q", "responses": list("efg")}
        more |= {"choice": 1} if "choice" in row else {"rank": [1, 2, 3]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = read([told, more], layout="best-of-k" if "choice" in row else "ranking")
        features = rng.normal(size=(data.num_responses, 5))
        rows, made = weigh_choices(data), choices_of(data)
        is_u = rows.user == data.users.index("u")
        gap = (features[rows.first] - features[rows.second])[is_u]
        weight, label = rows.sample_weight[is_u], rows.label[is_u]
        exact, information = np.zeros(5), 0.0
        for who, some, said, mask, _ in zip(*made, strict=True):
            if who == data.users.index("u"):
                seen = features[some[mask]]
                exact += (said[mask] - 1 / mask.sum()) @ seen
                information += 1 - 1 / mask.sum()  # trace of diag p − p pᵀ
        score = (weight * (label - 0.5)) @ gap
        np.testing.assert_allclose(score, exact, atol=1e-6)
        # Each pair (i, j) has the trace w (e_i − e_j)ᵀ(e_i − e_j) / 4 = w / 2, the winner of a
        # choice being each of k in turn.
        np.testing.assert_allclose(weight.sum() / 2, information, rtol=1e-6)


def test_pairs_asked_one_by_one_and_choices_of_two_keep_their_weight():
    rows = [
        {"user": "u", "prompt": "p", "responses": ["a", "b"], "choice": 0},
        {"user": "u", "prompt": "q", "responses": ["a", "b", "c"], "choice": 1},
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = read(rows, layout="best-of-k")
    np.testing.assert_allclose(weigh_choices(data).sample_weight, [1, 2 / 3, 2 / 3])
    two = data.select(np.array([0]))
    chex.assert_trees_all_equal(weigh_choices(two), two.comparisons)
    untold = replace(data, meta={})
    assert weigh_choices(untold) is untold.comparisons
