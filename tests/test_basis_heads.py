"""The reward head against closed forms, a dense twin, scikit-learn and planted worlds."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from prefjax import basis, metrics
from prefjax.basis import make_problem
from prefjax.types import BASELINE, Comparisons, Penalties

USERS, RESPONSES, INPUTS, FACTORS, ANSWERS = 150, 200, 12, 2, 40
PENALTIES = Penalties(*(np.float32(value) for value in (4.0, 1.0, 1.0)))
KEY = jax.random.key(0)
LINEAR = basis.HeadConfig(num_factors=FACTORS)
MLP = basis.HeadConfig(num_factors=FACTORS, hidden=(16,), max_steps=40)


def make_world(nonlinear):
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(RESPONSES, INPUTS)).astype(np.float32)
    map_ = random.normal(size=(INPUTS, FACTORS)) / np.sqrt(INPUTS) * 1.5
    features = embeddings @ map_
    if nonlinear:
        features = np.stack(
            [2 * np.sin(2 * embeddings[:, 0]), 1.5 * embeddings[:, 1] * embeddings[:, 2]], axis=1
        )
    weight, utility = random.normal(size=(USERS, FACTORS)), 0.5 * embeddings[:, 3]
    user = np.repeat(np.arange(USERS), ANSWERS)
    first = random.integers(0, RESPONSES, len(user))
    second = (first + random.integers(1, RESPONSES, len(user))) % RESPONSES
    logit = np.sum(weight[user] * (features[first] - features[second]), axis=1)
    logit = logit + utility[first] - utility[second]
    label = (random.random(len(user)) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    table = Comparisons(user, first, second, label, np.ones(len(user), np.float32))
    held = np.tile(np.arange(ANSWERS) >= ANSWERS - 10, USERS)
    return jnp.asarray(embeddings), map_, table, held


def to_problem(table, embeddings, **extra):
    return make_problem(table, embeddings, num_users=USERS, **extra)


def take(table, index):
    return jax.tree.map(lambda column: column[index], table)


def logits(fitted, embeddings, table):
    basis_, people, _ = fitted
    features, utility = (np.asarray(x) for x in basis.apply(basis_.params, embeddings)[:2])
    weight = np.asarray(people.mean)[table.user]
    gap = features[table.first] - features[table.second]
    return np.sum(weight * gap, axis=1) + utility[table.first] - utility[table.second]


def trace(fitted):
    """The objective before each round and at the end."""
    objective = np.asarray(fitted[2].objective)
    return objective[np.isfinite(objective)]


def held_out_auc(fitted, embeddings, table, held):
    test = take(table, held)
    return metrics.macro_auc(test.user, logits(fitted, embeddings, test), test.label).value


@pytest.fixture(scope="module")
def world():
    embeddings, map_, table, held = make_world(nonlinear=False)
    return embeddings, map_, table, held, to_problem(take(table, ~held), embeddings)


def fit_linear(problem):
    return basis.fit_head(KEY, problem, PENALTIES, config=LINEAR)


def test_ridge_is_that_of_scikit_learn():
    random = np.random.default_rng(1)
    x, y = random.normal(size=(40, 7)), random.normal(size=(40, 3))
    weight = random.random(40)
    weight[:5] = 0
    expected = Ridge(alpha=0.7, fit_intercept=False).fit(x, y, weight).coef_.T
    y[:5] = np.nan
    ours = basis.ridge(jnp.asarray(x), jnp.asarray(y), 0.7, jnp.asarray(weight))
    np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_regression_on_factors_is_exact_for_a_linear_head_and_bends_for_an_mlp():
    random = np.random.default_rng(2)
    embeddings = jnp.asarray(random.normal(size=(200, 4)).astype(np.float32) / 2)
    linear = embeddings @ random.normal(size=(4, FACTORS + 1)).astype(np.float32)
    params = basis.init(jax.random.key(0), 4, LINEAR)
    exact = basis.regress(params, embeddings, linear, 1e-3, LINEAR)
    items = basis.apply(exact, embeddings)
    np.testing.assert_allclose(items.features, linear[:, :-1], atol=1e-3)
    np.testing.assert_allclose(items.utility, linear[:, -1], atol=1e-3)

    curved = jnp.square(linear)
    config = basis.HeadConfig(num_factors=FACTORS, hidden=(32,), trunk_penalty=1e-3)
    train = jnp.arange(200) < 150

    def miss(config):
        start = basis.init(jax.random.key(0), 4, config)
        params = basis.regress(start, embeddings, curved, 1e-2, config, train.astype(jnp.float32))
        items = basis.apply(params, embeddings)
        return np.mean(np.square(items.features - curved[:, :-1])[150:])

    assert miss(config) < 0.5 * miss(LINEAR)


def test_the_chosen_ridge_is_that_of_scikit_learn():
    random = np.random.default_rng(3)
    x = random.normal(size=(90, 5)).astype(np.float32)
    target = 3 + x @ random.normal(size=(5, FACTORS + 1)) + 6 * random.normal(size=(90, 3))
    known, fold = np.arange(90) < 60, random.integers(0, 3, 90)
    centered = target - target[known].mean(0)[None]
    search = GridSearchCV(
        Ridge(fit_intercept=False),
        {"alpha": [0.1, 30.0, 3000.0]},
        scoring=lambda model, x, y: -np.sum(np.square(model.predict(x) - y)),
        cv=PredefinedSplit(fold[known]),
    ).fit(x[known], centered[known])
    assert search.best_params_ == {"alpha": 30.0}
    want = search.predict(x) + target[known].mean(0)[None]
    target[~known] = np.nan
    chosen = jax.jit(basis.regress_chosen, static_argnames=("config", "num_folds"))(
        jax.random.key(0),
        x,
        target.astype(np.float32),
        known,
        fold,
        np.float32([0.1, 30.0, 3000.0]),
        config=LINEAR,
        num_folds=3,
    )
    np.testing.assert_allclose(chosen, want, atol=2e-5)


def dense_objective(params, users, embeddings, table, penalties, config):
    """The bound by plain gathers and the textbook network, for the table of comparisons."""
    layer = params["trunk"]["layer0"]
    hidden = jax.nn.gelu(embeddings @ layer["kernel"] + layer["bias"][None])
    inputs = jnp.concatenate([embeddings, hidden / jnp.sqrt(hidden.shape[1])], axis=1)
    both = inputs @ params["out"]["kernel"]
    second = jnp.where((table.second == BASELINE)[:, None], 0.0, both[jnp.maximum(table.second, 0)])
    gap = both[table.first] - second
    f, t = gap[:, :-1], gap[:, -1]
    mean, covariance = users.mean[table.user], users.covariance[table.user]
    location = jnp.sum(mean * f, axis=1) + t
    variance = penalties.posterior_scale * jnp.einsum("ri,rij,rj->r", f, covariance, f)
    xi = jnp.sqrt(location**2 + variance)
    value = jnp.logaddexp(0.0, xi) + (location - xi) / 2
    data = jnp.sum(table.sample_weight * (table.label * location - value))
    sign, logdet = jnp.linalg.slogdet(users.covariance)
    spread = jnp.trace(users.covariance, axis1=1, axis2=2) - f.shape[1] - sign * logdet
    divergence = 0.5 * jnp.sum(penalties.posterior_scale * spread + jnp.sum(users.mean**2, axis=1))
    kernel = params["out"]["kernel"]
    penalty = penalties.factor * jnp.sum(kernel[:, :-1] ** 2)
    penalty = penalty + penalties.utility * jnp.sum(kernel[:, -1] ** 2)
    penalty = penalty + config.trunk_penalty * jnp.sum(layer["kernel"] ** 2)
    return data - divergence - penalty / 2


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_bound_and_gradient_are_those_of_the_dense_twin(world, scale):
    embeddings, _, table, _, _ = world
    table = take(table, slice(0, 60))  # of the first two people
    table = table._replace(second=np.where(np.arange(60) < 9, BASELINE, table.second))
    random = np.random.default_rng(3)
    params = basis.init(jax.random.key(1), INPUTS, MLP)
    params = jax.tree.map(lambda x: x + 0.3 * random.normal(size=x.shape).astype("f4"), params)
    root = random.normal(size=(2, FACTORS, FACTORS)).astype(np.float32)
    users = basis.EMState(
        head=params["out"]["kernel"],
        mean=jnp.asarray(random.normal(size=(2, FACTORS)).astype(np.float32)),
        covariance=jnp.asarray(root @ root.transpose(0, 2, 1)) + jnp.eye(FACTORS)[None],
        objective=jnp.zeros(()),
        gain=jnp.zeros(()),
        num_steps=jnp.zeros((), jnp.int32),
    )
    penalties = PENALTIES._replace(posterior_scale=jnp.asarray(scale))
    params = {**params, "out": {**params["out"], "bias": 0 * params["out"]["bias"]}}
    problem = make_problem(table, embeddings, num_users=2)
    problem = problem._replace(embeddings=embeddings[problem.response_place >= 0])
    ours = jax.value_and_grad(basis.bound)(params, users, problem, penalties, MLP)
    twin = jax.value_and_grad(dense_objective)(params, users, embeddings, table, penalties, MLP)
    ours[1]["out"].pop("bias")
    twin[1]["out"].pop("bias")
    for mine, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(twin), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-3)


def test_linear_marginal_head_is_the_block_fit_and_recovers_the_planted_space(world):
    embeddings, map_, table, held, problem = world
    fitted = fit_linear(problem)
    twin = basis.fit_block(
        jax.random.key(1), problem, PENALTIES, config=basis.EMConfig(num_factors=FACTORS)
    )
    assert bool(fitted[2].converged)
    np.testing.assert_allclose(trace(fitted)[-1], trace(twin)[-1], rtol=1e-3)
    test = take(table, held)
    ours, theirs = (logits(fit, embeddings, test) for fit in (fitted, twin))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.999
    kernel = np.asarray(fitted[0].params["out"]["kernel"])
    assert metrics.subspace_angles(kernel[:, :-1].T, map_.T)[0] < 12
    assert np.min(np.diff(trace(fitted))) > -1e-2
    assert np.abs(np.mean(fitted[1].mean, axis=0)).max() < 1e-4


def test_rows_of_weight_zero_are_absent(world):
    embeddings, _, table, held, problem = world
    masked = table._replace(
        sample_weight=np.where(held, 0, table.sample_weight).astype(np.float32),
        label=np.where(held, np.nan, table.label).astype(np.float32),
    )
    fitted, again = fit_linear(problem), fit_linear(to_problem(masked, embeddings))
    np.testing.assert_allclose(trace(again)[-1], trace(fitted)[-1], rtol=1e-5)
    ours, theirs = (logits(fit, embeddings, table) for fit in (again, fitted))
    np.testing.assert_allclose(ours, theirs, atol=5e-3)


def test_mlp_beats_linear_on_nonlinear_rewards():
    embeddings, _, table, held = make_world(nonlinear=True)
    problem = to_problem(take(table, ~held), embeddings)
    mlp = basis.fit_head(KEY, problem, PENALTIES, config=MLP)
    linear = fit_linear(problem)
    auc = [held_out_auc(fit, embeddings, table, held) for fit in (mlp, linear)]
    assert auc[0] > auc[1] + 0.05
    assert trace(mlp)[-1] > trace(linear)[-1]


@pytest.mark.parametrize("config", [LINEAR, MLP])
def test_a_head_for_raw_embeddings_is_that_of_the_standardized_ones(world, config):
    embeddings, _, _, _, problem = world
    config = replace(config, max_steps=6)
    raw, _, _ = basis.fit_head(KEY, problem, PENALTIES, config=config)
    bare = problem._replace(standardizer=None)
    inner, _, _ = basis.fit_head(KEY, bare, PENALTIES, config=config)
    ours = basis.apply(raw.params, embeddings)
    theirs = basis.apply(inner.params, basis.standardize(problem.standardizer, embeddings))
    for mine, other in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)


def test_regression_and_refinement_vmap_over_seeds(world):
    embeddings, _, _, _, problem = world
    keys = jax.random.split(KEY, 3)
    # Few rounds: Adam amplifies the rounding in which batched and single programs differ.
    config = basis.HeadConfig(num_factors=FACTORS, hidden=(16,), max_steps=8, regression_steps=20)
    target = jnp.sin(2 * embeddings[:, :1] + jnp.arange(FACTORS + 1)[None])

    def run(key):
        return basis.fit_head(key, problem, PENALTIES, config=config, target=target)

    together = jax.jit(jax.vmap(run))(keys)
    for seed, key in enumerate(keys):
        alone, one = run(key), jax.tree.map(lambda x, seed=seed: x[seed], together)
        np.testing.assert_allclose(trace(one), trace(alone), rtol=1e-4)
        ours, theirs = (basis.apply(fit[0].params, embeddings) for fit in (one, alone))
        np.testing.assert_allclose(ours.features, theirs.features, atol=1e-4)
        np.testing.assert_allclose(one[1].mean, alone[1].mean, atol=1e-4)


def test_per_user_is_the_ridge_logistic_regression_of_scikit_learn(world):
    embeddings, _, table, _, problem = world
    fitted, people, info = basis.fit_per_user(problem, 4.0, num_components=INPUTS)
    assert bool(info.converged)
    reward = np.asarray(basis.apply(fitted.params, embeddings).features @ people.mean.T)
    centered = np.asarray(embeddings)
    centered = centered - centered.mean(axis=0)
    ridge = 4.0 * np.mean(np.sum(centered**2, axis=1))
    for user in (0, 7):
        mine = take(table, np.flatnonzero(table.user == user)[: ANSWERS - 10])
        gap = np.asarray(embeddings[mine.first] - embeddings[mine.second])
        theirs = LogisticRegression(C=1 / ridge, fit_intercept=False, tol=1e-8, max_iter=1000)
        coefficient = theirs.fit(gap, mine.label).coef_[0]
        theirs = np.asarray(embeddings) @ coefficient
        ours = reward[:, user] - reward[:, user].mean()
        np.testing.assert_allclose(ours, theirs - theirs.mean(), atol=1e-3)


def test_without_embeddings_there_is_no_head(world):
    table = world[2]
    problem = make_problem(table, None, num_users=USERS, num_responses=RESPONSES)
    with pytest.raises(ValueError, match="needs embeddings"):
        basis.fit_head(KEY, problem, PENALTIES)


def test_a_missing_embedding_is_named(world):
    with pytest.raises(ValueError, match=r"first must lie in \[0, 199\)"):
        to_problem(world[2], world[0][1:])
