"""Families against closed forms, against each other, and against what they must find."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from prefjax import logistic
from prefjax.basis import heads, make_problem
from prefjax.families import bradley_terry as bt
from prefjax.families import (
    descent,
    gather,
    gpm,
    linear,
    lore,
    micro,
    mixture,
    p_rlhf,
    pal_a,
    per_user,
    person,
    pref,
    pref_map,
    vpl,
)
from prefjax.numerics import softplus_loss
from prefjax.types import BASELINE, Comparisons, Gaussian, RewardBasis, UserBatch

USERS, RESPONSES, INPUTS, PAIRS = 6, 12, 5, 8


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(RESPONSES, INPUTS)).astype(np.float32)
    user = np.repeat(np.arange(USERS), PAIRS)
    first = np.tile(np.arange(RESPONSES), len(user) // RESPONSES)
    second = (first + rng.integers(1, RESPONSES, len(user))) % RESPONSES
    label = rng.integers(2, size=len(user)).astype(np.float32)
    return Comparisons(user, first, second, label, np.ones(len(user), np.float32)), embeddings


@pytest.fixture(scope="module")
def data(world):
    return make_problem(*world, num_users=USERS)


@pytest.fixture(scope="module")
def answers(world):
    """One person's six answers."""
    rows, embeddings = world
    batch = UserBatch(
        *(np.asarray(column)[None, :6] for column in (rows.first, rows.second, rows.label)),
        sample_weight=np.ones((1, 6), np.float32),
        mask=np.ones((1, 6), bool),
    )
    return jax.tree.map(lambda leaf: leaf[0], gather(embeddings, batch))


def gaps(world):
    rows, embeddings = world
    return embeddings[rows.first] - embeddings[rows.second]


KEY = jax.random.key(0)
NOTHING = jnp.zeros(0)


def test_bradley_terry_is_ridge_logistic_regression(world, data):
    found = jax.jit(bt.fit)(KEY, data, bt.Config(penalty=2.0)).weights
    scale = np.asarray(data.standardizer.scale)
    strength = 1 / (2.0 * float(scale[0]) ** 2)
    model = LogisticRegression(C=strength, fit_intercept=False, solver="newton-cholesky")
    model.fit(gaps(world), world[0].label)
    np.testing.assert_allclose(found / scale, model.coef_[0], atol=2e-5)


def test_lore_with_one_reward_is_bradley_terry(data):
    settings = {"penalty": 5.0, "alignment": 0.0, "num_basis": 1, "num_steps": 300}
    found = jax.jit(lore.fit)(KEY, data, lore.Config(**settings))
    classic = linear.population(data, 5.0)
    np.testing.assert_allclose(found.basis[:, 0], classic, atol=1e-3)
    np.testing.assert_array_equal(found.weights, 1.0)


def test_pref_without_factors_is_bradley_terry(data):
    """Factors shut by their penalty leave the shared utility, a ridge logistic regression."""
    config = pref_map.Config(penalty=1e8, utility_penalty=5.0)
    head = jax.jit(pref_map.fit)(KEY, data, config).params["out"]["kernel"]
    np.testing.assert_allclose(head[:, -1], linear.population(data, 5.0), atol=2e-3)


def certain(weight):
    """A person whose weights are known."""
    return Gaussian(jnp.asarray(weight), jnp.zeros((len(weight), len(weight))))


def make_basis(head, mean, covariance):
    """A linear basis at posterior scale 1."""
    population = Gaussian(*(jnp.asarray(part, jnp.float32) for part in (mean, covariance)))
    params = heads.linear_params(jnp.asarray(head, jnp.float32))
    return RewardBasis(params, population, jnp.float32(1.0))


def test_one_base_reward_with_one_weight_is_bradley_terry(answers):
    weight = jnp.arange(1.0, INPUTS + 1)
    head = jnp.stack([weight / 2, jnp.zeros(INPUTS)], axis=1)
    params = make_basis(head, jnp.zeros(1), jnp.eye(1))
    pair = answers.first[0], answers.second[0], NOTHING
    shared = pref.logit(params, certain([2.0]), *pair)
    np.testing.assert_allclose(shared, bt.logit(bt.Params(weight), (), *pair), rtol=1e-5)


def test_a_change_of_gauge_changes_no_prediction(answers):
    rng = np.random.default_rng(1)
    head, turn = rng.normal(size=(INPUTS, 3)), rng.normal(size=(2, 2)) + 2 * np.eye(2)
    mean, covariance = rng.normal(size=2), np.diag([1.0, 1 / 3.0])
    inverse = np.linalg.inv(turn)
    turned = np.column_stack([head[:, :2] @ turn, head[:, 2]])
    logits = []
    for params in (
        make_basis(head, mean, covariance),
        make_basis(turned, inverse @ mean, inverse @ covariance @ inverse.T),
    ):
        state = pref.adapt(params, answers, pref.Config())
        pairs = answers.first, answers.second
        each = jax.vmap(lambda a, b, p=params, s=state: pref.logit(p, s, a, b, NOTHING))
        logits.append(each(*pairs))
    np.testing.assert_allclose(*logits, atol=1e-4)


def test_pal_a_with_squared_distances_is_pref_with_squared_norms_as_a_feature():
    rng = np.random.default_rng(2)
    points, ideal = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32), jnp.asarray([0.3, -1.0, 2.0])
    far = pal_a.distance(points, jnp.stack([ideal, ideal])) ** 2
    features = jnp.concatenate([points, jnp.sum(points**2, axis=1, keepdims=True)], axis=1)
    params = make_basis(jnp.eye(4, 5), jnp.zeros(4), jnp.eye(4))
    same = pref.logit(params, certain([*(2 * ideal), -1.0]), features[0], features[1], NOTHING)
    np.testing.assert_allclose(far[1] - far[0], same, rtol=1e-4)


def test_gpm_makes_a_cycle_of_three_and_a_reward_where_one_coordinate_is_constant(answers):
    angle = 2 * np.pi / 3 * np.arange(3)
    vectors = jnp.asarray(np.stack([np.cos(angle), np.sin(angle)], axis=1), jnp.float32)
    one = jnp.ones(1)
    plane = gpm.Params(jnp.eye(2), jnp.zeros(2), one, one[None])
    for a, b in ((0, 1), (1, 2), (2, 0)):
        won = gpm.logit(plane, one, vectors[a], vectors[b], NOTHING)
        np.testing.assert_allclose(won, np.sin(2 * np.pi / 3), rtol=1e-5)
    weight = jnp.arange(1.0, INPUTS + 1)
    kernel = jnp.stack([weight, jnp.zeros(INPUTS)], axis=1)
    reward = gpm.Params(kernel, jnp.asarray([0.0, 1.0]), one, one[None])
    pair = answers.first[0], answers.second[0], NOTHING
    classic = bt.logit(bt.Params(weight), (), *pair)
    np.testing.assert_allclose(gpm.logit(reward, one, *pair), classic, rtol=1e-4)


def test_hedge_at_rate_one_is_bayes():
    rng = np.random.default_rng(3)
    prior, logits = rng.dirichlet(np.ones(3)), rng.normal(size=(4, 3)).astype(np.float32)
    label, weight = np.array([1.0, 0.0, 1.0, 0.5]), np.array([1.0, 1.0, 2.0, 1.0])
    likelihood = expit(logits) ** label[:, None] * expit(-logits) ** (1 - label[:, None])
    posterior = prior * np.prod(likelihood ** weight[:, None], axis=0)
    found = mixture.hedge(jnp.log(jnp.float32(prior)), logits, jnp.float32(label), weight)
    np.testing.assert_allclose(jnp.exp(found), posterior / posterior.sum(), rtol=1e-4)
    mean = expit(logits[0]) @ prior
    odds = mixture.mixture_logit(jnp.log(jnp.float32(prior)), jnp.asarray(logits[0]))
    np.testing.assert_allclose(expit(odds), mean, rtol=1e-5)


def test_micro_with_one_head_is_bradley_terry(data):
    found = jax.jit(micro.fit)(KEY, data, micro.Config(penalty=5.0, num_heads=1))
    np.testing.assert_allclose(found.weights[0], linear.population(data, 5.0), atol=1e-5)


def test_the_span_of_the_answers_holds_the_ridge_solution(answers):
    """With fewer answers than inputs as with more, the solve is the one over all inputs."""
    few = jax.tree.map(lambda leaf: leaf[:3], answers)
    params = per_user.Params(jnp.arange(INPUTS) / 5.0, jnp.float32(0.7))
    found = per_user.adapt(params, few, per_user.Config())
    gap = few.first - few.second
    prior = {"mean": params.center, "precision": 0.7 * jnp.eye(INPUTS)}
    dense = logistic.fit(gap, few.label, few.sample_weight, **prior).weights
    np.testing.assert_allclose(found, dense, atol=2e-5)


def test_weights_on_the_simplex_are_at_the_minimum(answers):
    rng = np.random.default_rng(4)
    features, center = rng.normal(size=(6, 3)).astype(np.float32), np.array([0.2, 0.5, 0.3])
    label = np.asarray(answers.label)

    def objective(logits):
        weight = softmax(logits)
        data = np.sum(np.logaddexp(0, features @ weight) - label * (features @ weight))
        return data + 0.8 * np.sum(weight * np.log(weight / center))

    found = person.simplex_weights(lambda w: features @ w, jnp.float32(center), 0.8, answers)
    np.testing.assert_allclose(found, softmax(minimize(objective, np.log(center)).x), atol=2e-4)


def test_looking_up_has_the_gradient_of_a_gather(world):
    """Votes against the baseline are looked up too, and pass their gradient on."""
    rows = world[0]._replace(second=np.where(world[0].second < 2, BASELINE, world[0].second))
    data = make_problem(rows, world[1], num_users=USERS)
    table = descent.inputs(data)

    def total(look):
        def value(table):
            first, second = look(table, data.rows)
            held = data.rows.sample_weight[..., None]
            return jnp.sum(held * jnp.sin(first + 1) * jnp.cos(2 * second + 1))

        return jax.grad(value)(table)

    plain = total(lambda table, rows: (table[rows.first], table[rows.second]))
    np.testing.assert_allclose(total(descent.pick), plain, atol=1e-5)
    assert np.abs(plain[-1]).max() > 0.1


def test_a_new_vector_of_p_rlhf_is_a_stationary_point(answers):
    network = p_rlhf.init_network(KEY, INPUTS, 3, 8)
    params = p_rlhf.Params(network, jnp.zeros(3), jnp.zeros((1, 3)))
    found = p_rlhf.adapt(params, answers, p_rlhf.Config(size=3, user_penalty=0.5))

    def objective(own):
        each = jax.vmap(lambda a, b: p_rlhf.logit(params, own, a, b, NOTHING))
        loss = softplus_loss(each(answers.first, answers.second), answers.label)
        return jnp.sum(loss) + 0.25 * own @ own

    assert np.abs(jax.grad(objective)(found)).max() < 1e-3
    assert objective(found) < objective(jnp.zeros(3))


def test_vpl_hears_an_answer_of_weight_two_twice(answers):
    encoder = vpl.init_encoder(KEY, INPUTS, 8, 3)
    parts = answers.first, answers.second, answers.label
    once = vpl.encode(encoder, *parts, answers.sample_weight.at[0].set(2.0))
    again = (jnp.concatenate([part, part[:1]]) for part in (*parts, answers.sample_weight))
    np.testing.assert_allclose(vpl.encode(encoder, *again).mean, once.mean, atol=1e-5)
    nobody = vpl.encode(encoder, *parts, jnp.zeros(6))
    np.testing.assert_array_equal(vpl.divergence(nobody), 0.0)


def test_diagnostics_ring_where_a_fit_has_collapsed(data):
    read = vpl.init_encoder(KEY, INPUTS, 4, 3)
    unread = {**read, "mean": jnp.zeros((4, 3)), "spread": jnp.zeros((4, 3))}
    network = p_rlhf.init_network(KEY, INPUTS, 3, 4)
    active, none = (
        vpl.diagnostics(vpl.Params(encoder, network), data, vpl.Config())["active_units"]
        for encoder in (read, unread)
    )
    assert none == 0 < active
    alike = jnp.ones((INPUTS, 3)) * jnp.asarray([[1.0, 2.0, 0.5]])
    share = jnp.full((1, 3), 1 / 3)
    for basis, rank, cosine in ((alike, 1, 1), (jnp.eye(INPUTS)[:, :3], 3, 0)):
        told = lore.diagnostics(lore.Params(basis, share, share[0]), data, lore.Config(num_basis=3))
        np.testing.assert_allclose(told["effective_rank"], rank, rtol=1e-4)
        np.testing.assert_allclose(told["largest_cosine"], cosine, atol=1e-6)
    for weight, router, spread, entropy in (
        (jnp.ones((2, INPUTS)), [[50.0, 0.0]], 0, 0),
        (jnp.stack([jnp.ones(INPUTS), -jnp.ones(INPUTS)]), [[0.0, 0.0]], 1, 1),
    ):
        config = micro.Config(num_heads=2)
        told = micro.diagnostics(micro.Params(weight, jnp.asarray(router)), data, config)
        np.testing.assert_allclose(told["router_entropy"], entropy, atol=1e-6)
        assert (told["head_spread"] > 0.1) == bool(spread)
