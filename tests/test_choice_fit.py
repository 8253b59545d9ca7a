"""Fits to choices of one among several: the likelihood, its bound, and what a fit makes of them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logsumexp
from sklearn.metrics import roc_auc_score

import prefjax
from prefjax.basis import (
    EMConfig,
    SearchConfig,
    choose_num_factors,
    divisions,
    em,
    fit,
    fit_block,
    fit_head,
    make_problem,
    svd,
)
from prefjax.basis.heads import HeadConfig
from prefjax.data import from_comparisons, observations_of, read
from prefjax.data.choices import independent_pairs
from prefjax.logistic import softmax_bound, softmax_expectation
from prefjax.model.sources import prepare
from prefjax.types import BASELINE, Choices, Comparisons, Penalties
from prefjax.variational import jaakkola

U, R, J, K = 30, 12, 3, 4
CONFIG = EMConfig(num_factors=J, max_steps=30, tolerance=1e-6)
KEY = jax.random.key(0)


def given(penalty, posterior_scale):
    return Penalties(*(np.float32(x) for x in (penalty, penalty / 4, posterior_scale)))


@pytest.fixture(scope="module")
def choices():
    """Ten choices of every user, among two to four responses or the zero baseline."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(U), 10)
    shown = np.stack([rng.permutation(R)[:K] for _ in user])
    shown[::7, 1] = BASELINE
    mask = np.arange(K)[None] < rng.integers(2, K + 1, len(user))[:, None]
    reward = np.einsum("cj,ckj->ck", rng.normal(size=(U, J))[user], rng.normal(size=(R, J))[shown])
    reward = np.where(shown == BASELINE, 0, reward) + rng.gumbel(size=shown.shape)
    label = np.eye(K, dtype=np.float32)[np.where(mask, reward, -np.inf).argmax(axis=1)]
    label[0] = [0.25, 0.75, 0, 0]
    return Choices(user, shown, label, mask, np.ones(len(user), np.float32))


def free(choices, num_users=U):
    return make_problem(choices, None, num_users=num_users, num_responses=R)


@pytest.mark.parametrize("variance", [0.0, 1.0])
def test_the_bound_is_above_the_expectation_and_of_two_it_is_that_of_jaakkola(variance):
    rng = np.random.default_rng(0)
    for size in (2, 5):
        mean = rng.normal(size=(size, 6))
        root = np.sqrt(variance) * rng.normal(size=(size, 3, 6))
        spread = np.einsum("kjc,ljc->klc", root, root)
        mask = np.ones(mean.shape, bool)
        found = softmax_bound.bound(*map(jnp.asarray, (mean, spread, mask)))
        exact = softmax_expectation.expect(*map(jnp.asarray, (mean, spread, mask)))
        chex.assert_trees_all_close(found.curvature.sum(axis=0), np.zeros(mean.shape), atol=1e-5)
        assert np.linalg.eigvalsh(np.moveaxis(found.curvature, -1, 0)).min() > -1e-6
        if not variance:
            chex.assert_trees_all_close(found.value, logsumexp(mean, axis=0), rtol=1e-5)
            known = softmax_expectation.expect(jnp.asarray(mean), None, jnp.asarray(mask))
            chex.assert_trees_all_close(found.probability, known.probability, atol=1e-5)
            moved = mean + rng.normal(size=(size, 6))
            step = moved - mean
            top = found.value + np.sum(found.probability * step, axis=0)
            top = top + np.einsum("ic,ijc,jc->c", step, found.curvature, step) / 2
            assert np.all(top >= logsumexp(moved, axis=0) - 1e-5)
        else:
            assert np.all(found.value >= exact.value - 0.01)
        if size == 2:
            gap = spread[0, 0] + spread[1, 1] - 2 * spread[0, 1]
            row = jaakkola(mean[1] - mean[0], gap)
            chex.assert_trees_all_close(found.value, row.value + mean[0], rtol=1e-5)
            chex.assert_trees_all_close(found.probability[1], row.slope, rtol=1e-5)
            chex.assert_trees_all_close(found.curvature[0, 0], row.curvature, rtol=1e-5)


def test_the_objective_never_falls_and_map_ends_where_the_likelihood_is_stationary(choices):
    problem = free(choices)
    assert float(problem.rows.sample_weight.sum()) == pytest.approx(len(choices.user), rel=1e-5)

    def as_double(leaf):
        is_float = np.issubdtype(np.asarray(leaf).dtype, np.floating)
        return jnp.asarray(leaf, np.float64) if is_float else leaf

    @jax.jit
    def path(problem, penalties):
        state = svd.start(KEY, problem, jnp.zeros(em.num_inputs(problem)), CONFIG)

        def repeat(state, _):
            before = state.num_steps
            state = em.step(state._replace(num_steps=before % 2), problem, penalties, CONFIG)
            return state, state.objective[before % 2]

        return jax.lax.scan(repeat, state, None, length=200)

    for scale in (1.0, 0.0):
        with jax.enable_x64(True):  # single precision rounds the objective by as much as the bound
            wide = jax.tree.map(as_double, problem)
            _, objective = path(wide, jax.tree.map(as_double, given(1.0, scale)))
        state, _ = path(problem, given(1.0, scale))
        objective = np.asarray(objective, np.float64)
        assert objective[40] > objective[0] + 1
        assert np.all(np.diff(objective) > -1e-6 * np.abs(objective[:-1]))

    def loss(mean, head):
        table = head[choices.shown]  # the last row is that of the baseline, −1
        reward = jnp.einsum("cj,ckj->ck", mean[choices.user], table[..., :J]) + table[..., J]
        logit = jnp.where(choices.mask, reward, -jnp.inf)
        data = jax.nn.logsumexp(logit, axis=1) - jnp.sum(choices.label * reward, axis=1)
        tau = em.column_penalties(given(1.0, 0.0), J)
        return jnp.sum(data) + (jnp.sum(mean**2) + jnp.sum(tau[None] * head**2)) / 2

    value, gradient = jax.value_and_grad(loss, argnums=(0, 1))(state.mean, state.head)
    assert max(float(jnp.abs(part).max()) for part in gradient) < 0.02
    assert objective[-1] == pytest.approx(-float(value), rel=1e-5)


def test_choices_among_two_are_comparisons_to_the_bit():
    rng = np.random.default_rng(1)
    first = rng.integers(R, size=200)
    rows = Comparisons(
        rng.integers(U, size=200),
        first,
        np.where(rng.random(200) < 0.1, BASELINE, (first + rng.integers(1, R, size=200)) % R),
        rng.integers(0, 3, size=200).astype(np.float32) / 2,
        rng.integers(1, 3, size=200).astype(np.float32),
    )
    one, other = free(rows), free(from_comparisons(rows))
    assert other.rows.choices is None
    chex.assert_trees_all_equal(one, other)


@pytest.mark.parametrize("scale", [pytest.param(0.0, marks=pytest.mark.slow), 1.0])
def test_order_padding_and_weights_of_choices_are_what_they_say(choices, scale):
    rng = np.random.default_rng(2)
    order = np.argsort(rng.random(choices.shown.shape), axis=1)
    row = rng.permutation(len(choices.user))
    shown, label, mask = (
        np.take_along_axis(part, order, axis=1)[row]
        for part in (choices.shown, choices.label, choices.mask)
    )
    wide = (0, 0), (1, 1)
    turned = Choices(
        choices.user[row],
        np.pad(shown, wide),
        np.pad(label, wide),
        np.pad(mask, wide),
        choices.sample_weight[row],
    )
    twice = Choices(*(np.concatenate([part, part]) for part in turned))
    twice = twice._replace(sample_weight=twice.sample_weight / 2)
    more = Choices(*(np.concatenate([part, part[:5]]) for part in turned))
    more.sample_weight[-5:] = 0
    want = fit_block(KEY, free(choices), given(2.0, scale), config=CONFIG)
    for data in (turned, twice, more):
        found = fit_block(KEY, free(data), given(2.0, scale), config=CONFIG)
        chex.assert_trees_all_close(found[1], want[1], atol=1e-4)


def test_no_choice_is_torn_between_answered_and_predicted(choices):
    for group in (None, np.arange(R) // 3):
        problem = make_problem(choices, None, num_users=U, num_responses=R, group=group)
        division = divisions.divide(KEY, problem, 0.4, 3, 10.0)
        assert problem.rows.choices is not None
        slot = np.asarray(problem.rows.choices.slot)
        one, other = np.triu_indices(K, 1)
        shown = np.asarray(problem.rows.choices.mask)
        valid = shown[:, one] & shown[:, other]
        for part in division:
            inside = np.asarray(part).reshape(3, -1)[:, slot] > 0
            assert np.all((inside == inside[:, :, :1]) | ~valid[None])
            assert 0 < inside[:, :, 0].mean() < 1 or group is not None


@pytest.mark.slow
def test_heads_with_hidden_layers_and_the_number_of_factors_read_choices(choices):
    rng = np.random.default_rng(3)
    embeddings = rng.normal(size=(R, 5)).astype(np.float32)
    problem = make_problem(choices, embeddings, num_users=U)
    config = HeadConfig(num_factors=2, hidden=(4,), max_steps=6)
    basis, people, info = fit_head(KEY, problem, given(2.0, 1.0), config=config)
    chex.assert_tree_all_finite((basis, people))
    assert info.objective[int(info.num_steps)] > info.objective[0]
    assert choose_num_factors(KEY, problem, num_nulls=20).chosen >= 1


def rows_of_texts(num_shown):
    """Rows of 16 people who like words; one chosen among the responses of each row."""
    rng = np.random.default_rng(0)
    words = np.array(["wing", "air", "lift", "plane", "sky", "bird", "fly", "cloud", "wind"])
    taste = rng.normal(size=(16, len(words)))
    rows = []
    for user in range(16):
        for number in range(10):
            picked = np.stack([rng.permutation(len(words))[:3] for _ in range(num_shown)])
            reward = taste[user][picked].sum(axis=1) + rng.gumbel(size=num_shown)
            told = {"user": f"u{user}", "prompt": f"p{number % 5}"}
            texts = [" ".join(words[some]) for some in picked]
            rows.append({**told, "responses": texts, "choice": int(reward.argmax())})
    return rows


@pytest.mark.filterwarnings("ignore")
def test_a_file_of_choices_among_two_gives_the_model_of_its_pairs():
    rows = rows_of_texts(2)
    pairs = [
        {
            "user": row["user"],
            "prompt": row["prompt"],
            "chosen": row["responses"][row["choice"]],
            "rejected": row["responses"][1 - row["choice"]],
        }
        for row in rows
    ]
    search = SearchConfig(factor_penalties=(1.0, 30.0), utility_penalties=(1.0, 10.0))
    settings = {"config": EMConfig(num_factors=2, max_steps=10), "search_config": search}
    one, other = (prefjax.fit(data, encoder="hashed", **settings) for data in (rows, pairs))
    texts = rows[0]["responses"]
    rewards = [model.person("u3").rank("p0", texts).reward for model in (one, other)]
    np.testing.assert_allclose(*rewards, atol=2e-3)
    assert one.report["gain"] == pytest.approx(other.report["gain"], abs=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_a_file_of_choices_among_three_is_fitted_as_choices():
    data = read(rows_of_texts(3), layout="best-of-k")
    told = observations_of(data)
    assert isinstance(told, Choices)
    assert told.mask.sum(axis=1).tolist() == [3] * 160
    training = prepare(data, None, encoder="hashed", num_users=None, group=None)
    chex.assert_trees_all_equal(training.observations, told)
    assert len(training.comparisons.user) == 320
    plain = data.select(np.arange(1))
    assert observations_of(plain) is plain.comparisons


@pytest.mark.slow
def test_intervals_of_a_planted_world_cover_from_choices_and_not_from_their_pairs():
    """300 people, 40 choices among four each, base rewards learned, new prompts predicted."""
    rng = np.random.default_rng(0)
    people, inputs, factors, size, prompts = 300, 12, 4, 8, 100
    axes, _ = np.linalg.qr(rng.normal(size=(inputs, factors)))
    weight = rng.normal(size=(people, factors)) @ axes.T * 0.75
    weight = weight + rng.normal(size=inputs) * 0.5 / np.sqrt(inputs)
    embeddings = rng.normal(size=(prompts * size, inputs)).astype(np.float32)
    user = np.repeat(np.arange(people), 40)
    prompt = rng.integers(75, size=len(user))
    shown = prompt[:, None] * size + np.argsort(rng.random((len(user), size)), axis=1)[:, :4]
    reward = np.einsum("cd,ckd->ck", weight[user], embeddings[shown])
    label = np.eye(4, dtype=np.float32)[(reward + rng.gumbel(size=reward.shape)).argmax(axis=1)]
    ones = np.ones(len(user), np.float32)
    choices = Choices(user, shown, label, np.ones(shown.shape, bool), ones)
    asked = np.repeat(np.arange(people), 60)
    first = 75 * size + rng.integers(25 * size, size=len(asked))
    second = first // size * size + (first + rng.integers(1, size, size=len(asked))) % size
    gap = embeddings[first] - embeddings[second]
    truth = rng.random(len(asked)) < expit(np.sum(gap * weight[asked], axis=1))
    config = EMConfig(num_factors=factors)
    # The best penalty: the strongest that cannot be told shrinks what the intervals are about.
    search = SearchConfig(posterior_scales=(1.0,), standard_errors=0.0)

    def fitted(data):
        group = np.repeat(np.arange(prompts), size)
        problem = make_problem(data, embeddings, num_users=people, group=group)
        basis, known, _ = fit(KEY, problem, config=config, search_config=search)
        kernel = np.asarray(basis.params["out"]["kernel"], np.float64)
        # What each person's reward is in the coordinates that were found.
        own = (weight - kernel[:, -1]) @ np.linalg.pinv(kernel[:, :-1]).T
        deviation = np.sqrt(np.diagonal(known.covariance, axis1=1, axis2=2))
        covered = np.mean(np.abs(own - known.mean) < 1.96 * deviation)
        features = gap @ kernel[:, :-1]
        logit = np.sum(features * np.asarray(known.mean)[asked], axis=1) + gap @ kernel[:, -1]
        parts = (asked == person for person in range(people))
        return covered, np.mean([roc_auc_score(truth[part], logit[part]) for part in parts])

    covered, auc = fitted(choices)
    covered_by_pairs, auc_of_pairs = fitted(independent_pairs(choices))
    assert 0.93 < covered < 0.97
    assert covered_by_pairs < 0.90
    assert auc > auc_of_pairs - 0.001
