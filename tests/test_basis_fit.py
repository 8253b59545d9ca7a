"""The marginal and the MAP fit: ascent, invariances, planted truth, learned penalties."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from prefjax import basis, logistic, variational
from prefjax.basis import (
    EMConfig,
    _fit,
    apply,
    choose_num_factors,
    dense_imputation,
    divisions,
    em,
    fit_block,
    make_problem,
    num_factors,
    paths,
    svd,
)
from prefjax.basis import rows as layout
from prefjax.metrics import macro_auc, subspace_angles
from prefjax.numerics import precision
from prefjax.types import Comparisons, Gaussian, Penalties

U, R, J, PAIRS = 40, 12, 3, 16
CONFIG = EMConfig(num_factors=J, max_steps=40, tolerance=1e-6)
KEY = jax.random.key(0)


def given(penalty, posterior_scale):
    return Penalties(*(np.float32(x) for x in (penalty, penalty / 4, posterior_scale)))


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


def free(table, num_users=U, num_responses=R):
    """Free factors of every response."""
    return make_problem(table, None, num_users=num_users, num_responses=num_responses)


def fit_free(table, penalties, config=CONFIG, key=KEY, **sizes):
    return fit_block(key, free(table, **sizes), penalties, config=config)


def last(info):
    """The objective before the last round."""
    return float(info.objective[info.num_steps - 1])


def logits(fitted, table, embeddings=None):
    """Logit of every row of the table under the users' posterior means."""
    items = apply(fitted[0].params, embeddings)
    gap = items.features[table.first] - items.features[table.second]
    offset = items.utility[table.first] - items.utility[table.second]
    return np.asarray(jnp.sum(fitted[1].mean[table.user] * gap, axis=1) + offset)


def test_the_objective_never_falls_and_map_ends_at_a_stationary_point(table):
    """Scale 0, before centering, is the published objective: half ‖Λ‖², τ on φ and on t."""
    problem = free(table)

    @jax.jit
    def path(penalties):
        state = svd.start(KEY, problem, jnp.zeros(R), CONFIG)

        def repeat(state, _):
            before = state.num_steps
            state = em.step(state._replace(num_steps=before % 2), problem, penalties, CONFIG)
            return state, state.objective[before % 2]

        return jax.lax.scan(repeat, state, None, length=300)

    for scale in (1.0, 0.0):
        state, objective = path(given(1.0, scale))
        objective = np.asarray(objective, np.float64)
        assert objective[40] > objective[0] + 1
        assert np.all(np.diff(objective) > -1e-6 * np.abs(objective[:-1]))

    def loss(mean, head):
        gap = head[table.first] - head[table.second]
        logit = jnp.sum(mean[table.user] * gap[:, :J], axis=1) + gap[:, J]
        tau = em.column_penalties(given(1.0, 0.0), J)
        penalty = jnp.sum(mean**2) + jnp.sum(tau[None] * head**2)
        return jnp.sum(jax.nn.softplus(logit) - table.label * logit) + penalty / 2

    value, gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(state.mean, state.head)
    assert max(float(jnp.abs(part).max()) for part in gradient) < 0.02
    assert objective[-1] == pytest.approx(-float(value), rel=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_masked_rows_are_deleted_rows_and_order_is_nothing(table, scale):
    penalties = given(2.0, scale)
    want = fit_free(table, penalties)

    rng = np.random.default_rng(1)
    order = rng.permutation(U * PAIRS)
    swap = rng.random(U * PAIRS) < 0.5
    shuffled = Comparisons(*(column[order] for column in table))
    shuffled = shuffled._replace(
        first=np.where(swap, shuffled.second, shuffled.first),
        second=np.where(swap, shuffled.first, shuffled.second),
        label=np.where(swap, 1 - shuffled.label, shuffled.label),
    )
    got = fit_free(shuffled, penalties)
    np.testing.assert_array_equal(logits(got, table), logits(want, table))

    extra = draw(np.zeros((U, J)), np.zeros((R, J)), np.zeros(R), 2, rng)
    extra = extra._replace(label=extra.label * np.nan, sample_weight=0 * extra.sample_weight)
    masked = Comparisons(*(np.concatenate(pair) for pair in zip(table, extra, strict=True)))
    got = fit_free(masked, penalties)
    np.testing.assert_array_equal(logits(got, table), logits(want, table))


def test_a_row_twice_is_its_weight_doubled(table):
    twice = Comparisons(*(np.concatenate([column, column[:50]]) for column in table))
    weight = table.sample_weight + (np.arange(len(table.user)) < 50)
    doubled = table._replace(sample_weight=weight.astype(np.float32))
    got, want = (fit_free(rows, given(2.0, 1.0)) for rows in (twice, doubled))
    np.testing.assert_array_equal(logits(got, table), logits(want, table))


@pytest.fixture(scope="module")
def embedded(table):
    rng = np.random.default_rng(5)
    embeddings = rng.normal(size=(R, 6)).astype(np.float32)
    return embeddings, make_problem(table, embeddings, num_users=U)


@pytest.mark.parametrize("change", ["offset", "scale", "unused"])
def test_offset_unit_and_responses_that_no_row_shows_change_nothing(table, embedded, change):
    embeddings, problem = embedded
    config = replace(CONFIG, max_steps=300, tolerance=1e-7)  # the end, not the way there
    want = logits(basis.fit(KEY, problem, config=config), table, embeddings)
    if change == "offset":
        moved = embeddings + np.float32([10, -3, 0, 1, 100, 7])
    elif change == "scale":
        moved = embeddings * 1e18
    else:
        moved = np.concatenate([embeddings, 1e4 * np.ones((3, 6), np.float32)])
    again = make_problem(table, moved, num_users=U + (5 if change == "unused" else 0))
    got = logits(basis.fit(KEY, again, config=config), table, moved.astype(np.float32))
    # A unit that is no power of two rounds the inputs anew; an offset costs them digits.
    tolerance = {"offset": 1e-2, "scale": 2e-3, "unused": 1e-6}[change]
    np.testing.assert_allclose(got, want, atol=tolerance)


def test_indicators_as_embeddings_are_free_factors(table):
    scale = 1 - 1 / R  # mean squared norm of centered indicators
    *fitted, info = fit_free(table, given(2.0, 1.0))
    problem = make_problem(table, np.eye(R, dtype=np.float32), num_users=U)
    *embedded, other = fit_block(KEY, problem, given(2.0 / scale, 1.0), config=CONFIG)
    assert last(other) == pytest.approx(last(info), rel=1e-4)
    got = logits(embedded, table, jnp.eye(R))
    np.testing.assert_allclose(got, logits(fitted, table), atol=2e-2)


def test_no_answers_is_the_population_model_exactly(table):
    fitted, people, _ = fit_free(table, given(2.0, 1.0))
    np.testing.assert_array_equal(fitted.population.mean, np.zeros(J))
    np.testing.assert_allclose(people.mean.mean(0), np.zeros(J), atol=1e-5)
    gap = apply(fitted.params, None).features[:3]
    prior = {"mean": fitted.population.mean, "precision": precision(fitted.population)}
    new = logistic.fit(gap, jnp.ones(3), jnp.zeros(3), **prior)
    np.testing.assert_array_equal(new.weights, np.zeros(J))


def test_users_without_rows_are_given_the_population_and_change_nothing(table):
    want = fit_free(table, given(2.0, 1.0))
    got = fit_free(table, given(2.0, 1.0), num_users=U + 100)
    np.testing.assert_allclose(logits(got, table), logits(want, table), atol=1e-3)
    np.testing.assert_allclose(
        got[0].population.covariance, want[0].population.covariance, rtol=1e-2, atol=1e-3
    )
    np.testing.assert_array_equal(got[1].mean[U:], 0)
    np.testing.assert_allclose(
        got[1].covariance[-1], got[0].population.covariance, rtol=1e-3, atol=1e-5
    )


def test_keys_side_by_side_equal_a_loop(table):
    problem = free(table)
    keys = jax.random.split(jax.random.key(3), 2)
    together = jax.jit(
        jax.vmap(lambda key: fit_block(key, problem, given(2.0, 1.0), config=CONFIG)[2])
    )(keys)
    for place, key in enumerate(keys):
        alone = last(fit_free(table, given(2.0, 1.0), key=key)[2])
        one = jax.tree.map(lambda leaf, place=place: leaf[place], together)
        assert last(one) == pytest.approx(alone, rel=1e-4)


def test_the_traced_search_is_that_of_the_host(table):
    """One program or many: the same candidates are fitted, and the same one is taken."""
    problem, config = free(table), EMConfig(num_factors=2, max_steps=15)
    search = basis.SearchConfig(num_folds=2, num_divisions=2, path_steps=8)
    host = basis.fit(KEY, problem, config=config, search_config=search)
    inside = jax.jit(lambda problem: basis.fit(KEY, problem, config=config, search_config=search))(
        problem
    )
    for name in ("nll", "utility_nll", "population_nll"):
        got, want = (np.asarray(getattr(fit[2].search, name)) for fit in (inside, host))
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
        np.testing.assert_allclose(got, want, rtol=1e-3)
    assert int(inside[2].search.chosen) == int(host[2].search.chosen)
    np.testing.assert_allclose(logits(inside, table), logits(host, table), atol=2e-2)


def test_exact_expectations_reach_at_least_the_bound_of_jaakkola(table):
    """The exact objective is above its bound; the quadrature fit climbs from there."""
    closed = EMConfig(num_factors=J, max_steps=40, exact_steps=0)
    bound = fit_free(table, given(2.0, 1.0), config=closed)[2]
    config = EMConfig(num_factors=J, bound="quadrature", max_steps=40)
    exact = fit_free(table, given(2.0, 1.0), config=config)[2]
    assert last(exact) > last(bound)


def test_a_fit_ends_with_exact_expectations(table):
    """The default is where exact rounds lead, with a wider population than that of the bound."""
    closed = fit_free(table, given(2.0, 1.0), config=EMConfig(num_factors=J, exact_steps=0))
    basis, _, info = fit_free(table, given(2.0, 1.0))
    config = EMConfig(num_factors=J, bound="quadrature")
    assert last(info) > last(closed[2])
    assert last(info) == pytest.approx(
        last(fit_free(table, given(2.0, 1.0), config=config)[2]), rel=1e-3
    )
    spread = [
        np.trace(
            one.params["out"]["kernel"][:, :-1]
            @ one.population.covariance
            @ one.params["out"]["kernel"][:, :-1].T
        )
        for one in (basis, closed[0])
    ]
    assert spread[0] > spread[1]


def test_without_uncertainty_there_is_nothing_to_sharpen(table):
    ends = [
        fit_free(table, given(2.0, 0.0), config=EMConfig(num_factors=J, exact_steps=steps))
        for steps in (0, 60)
    ]
    chex.assert_trees_all_equal(*ends)


def test_singular_values_are_those_of_numpy(table):
    problem = free(table)
    residual = problem.rows.sample_weight * (problem.rows.label - 0.5)
    run = jax.jit(svd.singular_directions, static_argnames="num_factors")
    directions, values = run(KEY, problem, residual, num_factors=J)
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


def auc_of(features, utility, population, answers, tests):
    """Macro AUC on ``tests`` of users adapted to ``answers``."""
    num_users = int(answers.user.max()) + 1

    def gap(table):
        shared = (utility[table.first] - utility[table.second]).reshape(num_users, -1)
        differences = features[table.first] - features[table.second]
        return differences.reshape(num_users, -1, features.shape[1]), shared

    (f, o), (g, s) = gap(answers), gap(tests)
    prior = {"mean": population.mean, "precision": precision(population)}
    solve = jax.vmap(lambda f, o, y, w: logistic.fit(f, y, w, **prior, offset=o).weights)
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
    known = draw(people, features, utility, 60, rng)
    inputs = embeddings.astype(np.float32)
    problem = make_problem(known, inputs, num_users=num_users)
    people = rng.normal(size=(num_users, num_factors))
    answers, tests = (draw(people, features, utility, n, rng) for n in (20, 50))
    truth = Gaussian(jnp.zeros(num_factors), jnp.eye(num_factors))
    best = auc_of(features, utility, truth, answers, tests)

    for wanted in (num_factors, 12):
        fitted, _, info = basis.fit(KEY, problem, config=EMConfig(num_factors=wanted))
        search = info.search
        assert float(search.nll.min()) < float(search.population_nll[search.chosen]) - 0.05
        items = (np.asarray(part) for part in apply(fitted.params, inputs)[:2])
        assert auc_of(*items, fitted.population, answers, tests) > best - 0.01
        if wanted == num_factors:
            found = np.asarray(fitted.params["out"]["kernel"][:, :num_factors])
            assert subspace_angles(found.T, head.T).max() < 10


@pytest.mark.parametrize(("planted", "has_embeddings"), [(3, False), (7, True), (0, True)])
def test_as_many_factors_are_chosen_as_were_planted(planted, has_embeddings):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(120, planted))
    inputs = rng.normal(size=(60, 12)).astype(np.float32)
    head = np.linalg.qr(rng.normal(size=(12, 12)))[0][:, :planted]
    known = draw(weight, inputs @ head, inputs[:, 0], 80, rng)
    seen = inputs if has_embeddings else None
    problem = basis.make_problem(known, seen, num_users=120, num_responses=60)
    found = choose_num_factors(KEY, problem)
    assert found.chosen == max(planted, 1)
    passed = found.values > found.bar
    assert passed[:planted].all()
    assert not passed[planted]


def test_noise_beside_a_direction_is_that_of_the_projected_matrix():
    rng = np.random.default_rng(0)
    matrix, axis = rng.normal(size=(9, 6)), np.linalg.qr(rng.normal(size=(6, 1)))[0][:, 0]
    projected = matrix - np.outer(matrix @ axis, axis)
    expected = np.linalg.svd(projected, compute_uv=False)[0]
    tall = num_factors._without(matrix.T @ matrix, axis, is_tall=True)
    wide = num_factors._without(matrix @ matrix.T, matrix @ axis, is_tall=False)
    for gram in (tall, wide):
        assert num_factors._largest(gram) == pytest.approx(expected)


def rankings(noise, rng, num_known=20, shared=0.0):
    """100 people of full-rank tastes on 10 items: some pairs to learn from, the rest to predict."""
    taste = rng.normal(size=(100, 10)) + shared * rng.normal(size=10)
    pairs = np.stack(np.triu_indices(10, 1), axis=1)
    rows = np.stack([rng.permutation(pairs) for _ in range(100)])
    first, second = rows[..., 0], rows[..., 1]
    user = np.broadcast_to(np.arange(100)[:, None], first.shape)
    label = taste[user, first] > taste[user, second]
    label = np.where(rng.random(label.shape) < noise, rng.random(label.shape) < 0.5, label)

    def part(cut):
        columns = user[:, cut], first[:, cut], second[:, cut]
        answers = label[:, cut].astype(np.float32).ravel()
        return Comparisons(*(x.ravel().astype(np.int32) for x in columns), answers, 1 + 0 * answers)

    return part(slice(num_known)), part(slice(num_known, None))


@pytest.mark.slow
def test_learns_to_trust_people_without_noise_and_to_doubt_the_others():
    """Without noise the default predicts as the best tuned joint MAP does."""
    config = EMConfig(num_factors=10)
    rng = np.random.default_rng(0)
    doubted, _ = rankings(0.8, rng)
    known, unseen = rankings(0.0, rng)
    info = basis.fit(KEY, free(doubted, 100, 10), config=config)[2]
    assert info.penalties.posterior_scale == 1
    *fitted, info = basis.fit(KEY, free(known, 100, 10), config=config)
    assert info.penalties.posterior_scale == 0

    def score(fitted):
        logit = logits(fitted, unseen)
        loss = np.logaddexp(0, logit) - unseen.label * logit
        return np.mean((logit > 0) == (unseen.label > 0.5)), loss.mean()

    rivals = [
        score(fit_free(known, given(penalty, 0.0), config, num_users=100, num_responses=10))
        for penalty in (0.5, 1.0, 2.0, 4.0)
    ]
    accuracy, loss = score(fitted)
    assert accuracy > max(a for a, _ in rivals) - 0.005
    assert loss < min(c for _, c in rivals) + 0.01


@pytest.mark.slow
def test_few_answers_of_few_people_are_neither_given_up_nor_read_into():
    """500 rows: half of the draws once fell back to the population, whatever could be had."""
    config, losses = EMConfig(num_factors=10), []
    for draw in range(5):
        rng = np.random.default_rng(draw)
        known, unseen = rankings(0.0, rng, num_known=5, shared=0.6)
        dealt = known._replace(user=rng.permutation(known.user))
        for rows in (known, dealt):
            *fitted, info = basis.fit(KEY, free(rows, 100, 10), config=config)
            logit = logits(fitted, unseen)
            losses.append(np.mean(np.logaddexp(0, logit) - unseen.label * logit))
            assert info.search.gain_error > 0
    personal, null = np.reshape(losses, (5, 2)).T
    assert np.mean(personal) < np.mean(null) - 0.03


def test_folds_and_divisions_are_spent_where_rows_are_few():
    search = basis.SearchConfig()
    assert search.effort(500) == (4, 8)
    assert search.effort(10_000) == (2, 2)
    assert search.effort(100_000) == (1, 1)
    assert basis.SearchConfig(num_folds=3, num_divisions=1).effort(500) == (3, 1)


@pytest.mark.parametrize("name", ["num_factors", "max_steps", "user_steps", "solve_steps"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        EMConfig(**{name: 0})


def test_the_search_infers_held_out_people_as_new_people_are_served(table):
    problem, penalties = free(table), jax.tree.map(jnp.asarray, given(2.0, 1.0))
    held_out = jnp.arange(U) < 10
    division = divisions.divide(KEY, problem, 0.4, 1, 10.0)
    train = divisions.without_users(problem, held_out)
    state = _fit.start_program(
        KEY, train, _fit.fit_utility(train, penalties.utility, CONFIG), CONFIG
    )
    state = _fit.run(state, train, penalties, CONFIG)
    path = paths.init_path(state, len(basis.penalties.extended((1.0,))))
    path = paths.score(path, problem, division, held_out, penalties, CONFIG, is_only_fold=True)
    rows = problem.rows
    head, population, _ = _fit.population(state, train)  # as served
    features, offset = em.split(layout.feature_gap(head, rows))
    answered, predicted = division.answered[0], division.predicted[0]
    for user in range(10):
        own = (np.asarray(rows.user)[:, None] == user) & (np.asarray(rows.sample_weight) > 0)
        gap, shift, label = (np.asarray(x)[own] for x in (features, offset, rows.label))
        belief = logistic.solve_under(
            gap,
            label,
            np.asarray(answered)[own],
            prior=population,
            offset=shift,
            config=logistic.GAUSSIAN,
        )
        variance = np.einsum("ri,ij,rj->r", gap, np.linalg.inv(belief.hessian), gap)
        said = variational.quadrature(gap @ belief.weights + shift, variance).slope
        loss = -label * np.log(said) - (1 - label) * np.log1p(-said)
        expected = np.sum(np.asarray(predicted)[own] * loss)
        assert float(path.personal[paths.NUM_EXTRA, user]) == pytest.approx(expected, rel=2e-3)
