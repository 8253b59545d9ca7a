"""The marginal and the MAP fit: ascent, invariances, planted truth, learned strengths."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from prefjax import basis, logistic
from prefjax.basis import (
    EMConfig,
    LearnConfig,
    Strength,
    choose_num_factors,
    dense_imputation,
    em,
    fit_block,
    make_rows,
    svd,
)
from prefjax.metrics import macro_auc, subspace_angles
from prefjax.types import Comparisons, GaussianPrior

U, R, J, PAIRS = 40, 12, 3, 16
CONFIG = EMConfig(num_factors=J, max_steps=40, tolerance=1e-6)
SIZES = {"num_users": U, "num_responses": R, "config": CONFIG}
fit_free = jax.jit(partial(fit_block, **SIZES))


def strength(penalty, temperature):
    return Strength(*(jnp.float32(x) for x in (penalty, penalty / 4, temperature)))


def draw(weight, features, utility, num_pairs, rng):
    """Pairs of distinct responses for every user, with labels from the model."""
    user = np.repeat(np.arange(len(weight)), num_pairs)
    first = rng.integers(0, len(features), len(user))
    second = (first + rng.integers(1, len(features), len(user))) % len(features)
    logit = np.sum(weight[user] * (features[first] - features[second]), axis=1)
    label = rng.random(len(user)) < expit(logit + utility[first] - utility[second])
    return Comparisons(
        user=user.astype(np.int32),
        first=first.astype(np.int32),
        second=second.astype(np.int32),
        label=label.astype(np.float32),
        sample_weight=np.ones(len(user), np.float32),
    )


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(U, J)), rng.normal(size=(R, J)), rng.normal(size=R)
    return draw(*parts, PAIRS, rng)


def lay(table, num_responses=R):
    return jax.tree.map(jnp.asarray, make_rows(table, num_responses))


def logits(fitted, table):
    """Logit of every row of the table under the users' posterior means."""
    gap = fitted.items.features[table.first] - fitted.items.features[table.second]
    offset = fitted.items.utility[table.first] - fitted.items.utility[table.second]
    return np.asarray(jnp.sum(fitted.weights[table.user] * gap, axis=1) + offset)


def test_the_objective_never_falls_and_map_ends_at_a_stationary_point(table):
    """Temperature 0, before centering, is the published objective: half ‖Λ‖², τ on φ and on t."""
    layout = lay(table)

    @jax.jit
    def path(given):
        state = svd.start(jax.random.key(0), layout, None, given, U, R, CONFIG)

        def advance(state, _):
            state = em.step(state, None, layout, R, given, CONFIG)
            return state, state.objective

        return jax.lax.scan(advance, state, None, length=300)

    for temperature in (1.0, 0.0):
        state, objective = path(strength(1.0, temperature))
        objective = np.asarray(objective, np.float64)
        assert objective[40] > objective[0] + 1
        assert np.all(np.diff(objective) > -1e-6 * np.abs(objective[:-1]))

    def loss(mean, head):
        gap = head[table.first] - head[table.second]
        logit = jnp.sum(mean[table.user] * gap[:, :J], axis=1) + gap[:, J]
        tau = em.penalties(strength(1.0, 0.0), J)
        penalty = jnp.sum(mean**2) + jnp.sum(tau[None] * head**2)
        return jnp.sum(jax.nn.softplus(logit) - table.label * logit) + penalty / 2

    value, gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(state.mean, state.head)
    assert max(float(jnp.abs(part).max()) for part in gradient) < 0.02
    assert float(state.objective) == pytest.approx(-float(value), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_masked_rows_are_deleted_rows_and_order_is_nothing(table, temperature):
    key, given = jax.random.key(0), strength(2.0, temperature)
    want = fit_free(key, lay(table), None, given)

    rng = np.random.default_rng(1)
    order = rng.permutation(U * PAIRS)
    shuffled = Comparisons(*(column[order] for column in table))
    got = fit_free(key, lay(shuffled), None, given)
    np.testing.assert_allclose(logits(got, table), logits(want, table), atol=2e-2)

    # Two more rows a user that weigh nothing, laid out in chunks of the same width.
    extra = draw(np.zeros((U, J)), np.zeros((R, J)), np.zeros(R), 2, rng)
    extra = extra._replace(label=extra.label * np.nan, sample_weight=0 * extra.sample_weight)
    masked = Comparisons(*(np.concatenate(pair) for pair in zip(table, extra, strict=True)))
    got = fit_free(key, lay(masked), None, given)
    np.testing.assert_allclose(logits(got, table), logits(want, table), atol=2e-2)
    assert float(got.objective) == pytest.approx(float(want.objective), rel=1e-4)


def test_indicators_as_embeddings_are_free_factors(table):
    scale = 1 - 1 / R  # mean squared norm of centred indicators
    free = fit_free(jax.random.key(0), lay(table), None, strength(2.0, 1.0))
    given = strength(2.0 / scale, 1.0)
    embedded = fit_free(jax.random.key(0), lay(table), jnp.eye(R), given)
    assert float(embedded.objective) == pytest.approx(float(free.objective), rel=1e-4)
    np.testing.assert_allclose(logits(embedded, table), logits(free, table), atol=2e-2)
    np.testing.assert_allclose(embedded.head[:, :J], embedded.items.features, atol=1e-5)


def test_no_answers_is_the_population_model_exactly(table):
    fitted = fit_free(jax.random.key(0), lay(table), None, strength(2.0, 1.0))
    np.testing.assert_array_equal(fitted.prior.mean, np.zeros(J))
    np.testing.assert_allclose(fitted.weights.mean(0), np.zeros(J), atol=1e-5)
    gap = fitted.items.features[:3]
    new = logistic.fit(gap, jnp.ones(3), jnp.zeros(3), prior=fitted.prior)
    np.testing.assert_array_equal(new.weights, np.zeros(J))


def test_users_without_rows_are_given_the_population_and_change_nothing(table):
    given, layout = strength(2.0, 1.0), lay(table)
    want = fit_free(jax.random.key(0), layout, None, given)
    more = partial(fit_block, num_users=U + 100, num_responses=R, config=CONFIG)
    got = jax.jit(more)(jax.random.key(0), layout, None, given)
    np.testing.assert_allclose(logits(got, table), logits(want, table), atol=1e-3)
    np.testing.assert_allclose(got.prior.precision, want.prior.precision, rtol=1e-2, atol=1e-2)
    np.testing.assert_array_equal(got.weights[U:], 0)
    covariance = np.linalg.inv(got.prior.precision)
    np.testing.assert_allclose(got.covariance[-1], covariance, rtol=1e-3, atol=1e-5)


def test_keys_side_by_side_equal_a_loop(table):
    layout, given = lay(table), strength(2.0, 1.0)
    keys = jax.random.split(jax.random.key(3), 2)
    together = jax.jit(
        jax.vmap(lambda key: fit_block(key, layout, None, given, **SIZES).objective)
    )(keys)
    alone = [float(fit_free(key, layout, None, given).objective) for key in keys]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_exact_expectations_reach_at_least_the_bound_of_jaakkola(table):
    """The exact objective is above its bound; the quadrature fit climbs from there."""
    given = strength(2.0, 1.0)
    bound = fit_free(jax.random.key(0), lay(table), None, given)
    sizes = SIZES | {"config": EMConfig(num_factors=J, bound="quadrature", max_steps=40)}
    exact = jax.jit(partial(fit_block, **sizes))(jax.random.key(0), lay(table), None, given)
    assert float(exact.objective) > float(bound.objective)


def test_singular_values_are_those_of_numpy(table):
    layout = lay(table)
    residual = layout.sample_weight * (layout.label - 0.5)
    run = jax.jit(partial(svd.singular_directions, num_factors=J, num_users=U, num_responses=R))
    directions, values = run(jax.random.key(0), layout, residual, None)
    dense = np.zeros((U, R))
    np.add.at(dense, (table.user, table.first), table.label - 0.5)
    np.add.at(dense, (table.user, table.second), 0.5 - table.label)
    _, want, right = np.linalg.svd(dense)
    np.testing.assert_allclose(values, want[:J], rtol=1e-4)
    assert subspace_angles(np.asarray(directions).T, right[:J]).max() < 1


def test_dense_imputation_recovers_what_is_missing_from_low_rank():
    rng = np.random.default_rng(0)
    full = 0.5 + 0.1 * rng.normal(size=(50, 2)) @ rng.normal(size=(2, 30))
    matrix = np.where(rng.random(full.shape) < 0.7, full, np.nan)
    missing = np.isnan(matrix)
    errors = []
    for repeats in (1, 10):
        weight, features = dense_imputation(matrix, 3, repeats)
        errors.append(np.abs(weight @ features.T - full)[missing].mean())
        np.testing.assert_allclose(weight.T @ weight, features.T @ features, atol=1e-8)
    assert errors[1] < 0.5 * errors[0]


def auc_of(features, utility, prior, answers, tests):
    """Macro AUC on ``tests`` of users adapted to ``answers``."""
    num_users = int(answers.user.max()) + 1

    def gap(table):
        shared = (utility[table.first] - utility[table.second]).reshape(num_users, -1)
        differences = features[table.first] - features[table.second]
        return differences.reshape(num_users, -1, features.shape[1]), shared

    (f, o), (g, s) = gap(answers), gap(tests)
    solve = jax.vmap(lambda f, o, y, w: logistic.fit(f, y, w, prior=prior, offset=o).weights)
    label, weight = (x.reshape(num_users, -1) for x in (answers.label, answers.sample_weight))
    new = solve(*(jnp.asarray(x, jnp.float32) for x in (f, o, label, weight)))
    score = np.einsum("upj,uj->up", g, new) + s
    return macro_auc(tests.user, score.ravel(), tests.label).value


@pytest.mark.slow
def test_planted_factors_are_found_and_too_many_do_no_harm():
    rng = np.random.default_rng(0)
    num_users, num_responses, num_inputs, num_factors = 200, 120, 12, 4
    embeddings = rng.normal(size=(num_responses, num_inputs)) / np.sqrt(num_inputs)
    head = rng.normal(size=(num_inputs, num_factors))
    features, utility = embeddings @ head, embeddings @ rng.normal(size=num_inputs)
    people = rng.normal(size=(num_users, num_factors))
    layout = lay(draw(people, features, utility, 60, rng), num_responses)
    people = rng.normal(size=(num_users, num_factors))
    answers, tests = (draw(people, features, utility, n, rng) for n in (20, 50))
    true_prior = GaussianPrior(jnp.zeros(num_factors), jnp.eye(num_factors))
    best = auc_of(features, utility, true_prior, answers, tests)

    for wanted in (num_factors, 12):
        learned = jax.jit(
            partial(
                basis.fit,
                num_users=num_users,
                num_responses=num_responses,
                config=EMConfig(num_factors=wanted),
            )
        )
        fitted, search = learned(jax.random.key(0), layout, jnp.asarray(embeddings, jnp.float32))
        assert float(search.nll.min()) < float(search.population_nll[search.chosen]) - 0.05
        items = np.asarray(fitted.items.features), np.asarray(fitted.items.utility)
        assert auc_of(*items, fitted.prior, answers, tests) > best - 0.01
        if wanted == num_factors:
            found = np.asarray(fitted.head[:, :num_factors])
            assert subspace_angles(found.T, head.T).max() < 10


@pytest.mark.slow
def test_as_many_factors_are_chosen_as_were_planted():
    rng = np.random.default_rng(0)
    features = 2 * rng.normal(size=(60, 3))
    rows = lay(draw(rng.normal(size=(150, 3)), features, np.zeros(60), 60, rng), 60)
    found = choose_num_factors(
        jax.random.key(0), rows, None, num_users=150, num_responses=60, candidates=(1, 3)
    )
    assert found.num_factors == (1, 3)
    assert found.chosen == 3
    assert found.nll[1] < found.nll[0] - 0.02


def rankings(noise, rng):
    """100 people of full-rank tastes on 10 items: 20 pairs to learn from, 25 to predict."""
    taste = rng.normal(size=(100, 10))
    pairs = np.stack(np.triu_indices(10, 1), axis=1)
    rows = np.stack([rng.permutation(pairs) for _ in range(100)])
    first, second = rows[..., 0], rows[..., 1]
    user = np.broadcast_to(np.arange(100)[:, None], first.shape)
    label = taste[user, first] > taste[user, second]
    label = np.where(rng.random(label.shape) < noise, rng.random(label.shape) < 0.5, label)

    def part(cut):
        columns = user[:, cut], first[:, cut], second[:, cut]
        given = label[:, cut].astype(np.float32).ravel()
        return Comparisons(*(x.ravel().astype(np.int32) for x in columns), given, 1 + 0 * given)

    return part(slice(20)), part(slice(20, None))


@pytest.mark.slow
def test_learns_to_trust_people_without_noise_and_to_doubt_the_others():
    """Without noise the default predicts as the best tuned joint MAP does."""
    sizes = {"num_users": 100, "num_responses": 10}
    config = EMConfig(num_factors=10)
    learned = jax.jit(partial(basis.fit, **sizes, config=config, learn_config=LearnConfig()))
    rng = np.random.default_rng(0)
    doubted, _ = rankings(0.8, rng)
    known, unseen = rankings(0.0, rng)
    _, search = learned(jax.random.key(0), lay(doubted, 10), None)
    assert search.strength.temperature[search.chosen] == 1
    fitted, search = learned(jax.random.key(0), lay(known, 10), None)
    assert search.strength.temperature[search.chosen] == 0

    def score(fitted):
        logit = logits(fitted, unseen)
        loss = np.logaddexp(0, logit) - unseen.label * logit
        return np.mean((logit > 0) == (unseen.label > 0.5)), loss.mean()

    tuned = jax.jit(partial(fit_block, **sizes, config=config))
    rivals = [
        score(tuned(jax.random.key(0), lay(known, 10), None, strength(penalty, 0.0)))
        for penalty in (0.5, 1.0, 2.0, 4.0)
    ]
    accuracy, loss = score(fitted)
    assert accuracy > max(a for a, _ in rivals) - 0.005
    assert loss < min(c for _, c in rivals) + 0.01


@pytest.mark.parametrize("name", ["num_factors", "max_steps", "user_steps", "solve_steps"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        EMConfig(**{name: 0})
