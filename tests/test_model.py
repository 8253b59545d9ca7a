"""The public object against the kernels behind it."""

import json
import re
import warnings
from dataclasses import replace

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import prefjax
from prefjax import logistic, metrics
from prefjax.basis import EMConfig
from prefjax.model import files
from prefjax.types import Comparisons

NUM_USERS, NUM_RESPONSES, NUM_INPUTS = 60, 80, 12


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(NUM_RESPONSES, NUM_INPUTS)).astype(np.float32)
    head = rng.normal(size=(NUM_INPUTS, 2))
    weight = rng.normal(size=(NUM_USERS, 2)) * 1.5
    user = np.repeat(np.arange(NUM_USERS), 40)
    first = rng.integers(NUM_RESPONSES, size=user.size)
    second = (first + rng.integers(1, NUM_RESPONSES, size=user.size)) % NUM_RESPONSES
    gap = (embeddings[first] - embeddings[second]) @ head
    logit = np.sum(gap * weight[user], axis=1)
    label = (rng.random(user.size) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    comparisons = Comparisons(user, first, second, label, np.ones_like(label))
    return embeddings, head, comparisons


@pytest.fixture(scope="module")
def model(world):
    embeddings, _, comparisons = world
    return prefjax.fit(comparisons, embeddings, config=EMConfig(num_factors=3))


def test_ten_questions_find_what_a_new_person_likes(world, model):
    embeddings, head, _ = world
    truth = embeddings @ head @ np.array([2.0, -1.5])
    user = model.new_person()
    for _ in range(10):
        question = user.ask(embeddings[:40])
        user.tell(float(truth[question.first] > truth[question.second]))
    reward = user.rank(embeddings[40:]).reward
    assert np.corrcoef(reward, truth[40:])[0, 1] > 0.9
    assert len({(tuple(a.features), a.offset) for a in user.log}) == 10


def test_without_answers_a_user_is_the_population(world, model):
    embeddings = world[0]
    ranking = model.new_person().rank(embeddings)
    chex.assert_trees_all_close(ranking.reward, model.items(embeddings).utility, atol=1e-6)
    assert ranking.order[0] == ranking.reference
    assert ranking.win_probability[ranking.reference] == pytest.approx(0.5)
    assert np.all(ranking.low <= ranking.win_probability + 1e-6)
    assert np.all(ranking.win_probability <= ranking.high + 1e-6)


def test_belief_is_the_logistic_fit_of_the_answers(world, model):
    user = model.new_person(rule="random", seed=3)
    for label in (1.0, 0.0, 0.5):
        user.ask(world[0][:20])
        user.tell(label)
    gap, offset, label, *_ = zip(*user.log, strict=True)
    gap, offset, label = (np.array(part, np.float32) for part in (gap, offset, label))
    population = model.basis.population
    prior = {"mean": population.mean, "precision": np.linalg.inv(population.covariance)}
    variance = np.array([answer.variance for answer in user.log], np.float32)
    assert variance.min() > 0
    unsure = {"variance": variance, "posterior_scale": model.basis.posterior_scale}
    direct = logistic.fit_gaussian(
        gap, label, np.ones(3, np.float32), **prior, **unsure, offset=offset
    )
    chex.assert_trees_all_close(user.belief.mean, direct.weights, atol=1e-5)
    chex.assert_trees_all_close(user.belief.covariance @ direct.hessian, jnp.eye(3), atol=1e-3)


def test_it_prints_in_one_line(model):
    assert repr(model).startswith("PreferenceModel(3 factors, ")
    assert (
        f"{len(model.users)} people, reads embeddings, gain {model.report['gain']:.3f} ["
        in repr(model)
    )
    assert "gain" not in repr(replace(model, report={}))


def test_saved_and_loaded_bit_for_bit(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = prefjax.load(tmp_path / "model")
    chex.assert_trees_all_equal(loaded.basis, model.basis)
    chex.assert_trees_all_equal(loaded.people, model.people)
    assert loaded.users == model.users
    assert loaded.report == model.report
    with pytest.raises(FileNotFoundError, match="holds no model"):
        prefjax.load(tmp_path / "nowhere")


def test_training_users_keep_their_weights_and_their_names(world, model):
    chex.assert_trees_all_close(model.person(7).belief.mean, model.people.mean[7], atol=1e-5)
    with pytest.raises(KeyError, match="no user 60"):
        model.person(60)
    embeddings, _, comparisons = world
    names = np.array([f"w{10**9 + 7 * user}" for user in comparisons.user])
    named = prefjax.fit(
        comparisons._replace(user=names), embeddings, config=EMConfig(num_factors=3)
    )
    assert len(named.users) == NUM_USERS
    chex.assert_trees_all_close(
        named.person("w1000000049").weights, model.person(7).weights, atol=1e-5
    )


def test_a_model_of_the_first_format_is_read(model, tmp_path):
    population = np.asarray(model.basis.population.covariance)
    arrays = {
        "head": model.basis.params["out"]["kernel"],
        "prior_mean": model.basis.population.mean,
        "prior_precision": np.linalg.inv(population).astype(np.float32),
        "weight": model.people.mean,
        "covariance": model.people.covariance,
    }
    save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, tmp_path / files.FILE)
    loaded = prefjax.load(tmp_path)
    assert loaded.users == tuple(range(NUM_USERS))
    chex.assert_trees_all_close(loaded.basis.population, model.basis.population, atol=1e-5)
    chex.assert_trees_all_equal(loaded.people, model.people)


def spoiled_arrays():
    def change(name, value):
        def spoil(arrays):
            arrays[name] = value(arrays[name].copy())
            return arrays

        return spoil

    def at(index, number):
        def put(array):
            array[index] = number
            return array

        return put

    yield "not finite", change("params/out/kernel", at((0, 0), np.nan))
    yield "not positive definite", change("population.covariance", lambda a: -a)
    yield "not positive definite", change("population.covariance", lambda a: 0 * a)
    yield "not positive definite", change("people.covariance", lambda a: 0 * a)
    yield "not symmetric", change("population.covariance", at((0, 1), 0.5))
    yield "dtype int8", change("params/out/kernel", lambda a: a.astype(np.int8))
    yield "shape", change("params/out/bias", lambda a: a[:-1])
    yield "missing", lambda arrays: {n: a for n, a in arrays.items() if n != "people.mean"}


@pytest.mark.parametrize(("message", "spoil"), list(spoiled_arrays()))
def test_a_model_that_was_tampered_with_is_refused_by_name(model, tmp_path, message, spoil):
    model.save(tmp_path)
    path = tmp_path / files.FILE
    with safe_open(path, "numpy") as file:
        header = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    arrays = spoil(arrays)
    about = json.loads(header["prefjax"])
    about["digest"] = files._digest(arrays, about)
    save_file(arrays, path, metadata={"prefjax": json.dumps(about)})
    with pytest.raises(ValueError, match=rf"{files.FILE}.*{message}"):
        prefjax.load(tmp_path)


def test_no_damage_to_a_model_goes_unnoticed(model, tmp_path):
    """Every one of 400 flipped bits, cuts and foreign files is a ValueError that names the file."""
    model.save(tmp_path)
    path = tmp_path / files.FILE
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for trial in range(400):
        if trial % 4 == 3:
            damaged = whole[: rng.integers(len(whole))]
        elif trial % 40 == 0:
            damaged = rng.bytes(200)
        else:
            damaged = bytearray(whole)
            damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=files.FILE):
            prefjax.load(tmp_path)


def test_a_writer_that_dies_leaves_the_old_model(model, tmp_path, monkeypatch):
    model.save(tmp_path)

    def die(arrays, path, metadata):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "save_file", die)
    with pytest.raises(KeyboardInterrupt):
        model.save(tmp_path)
    chex.assert_trees_all_equal(prefjax.load(tmp_path).basis, model.basis)
    assert [path.name for path in tmp_path.iterdir()] == [files.FILE]


def test_a_model_that_is_not_finite_is_not_saved(model, tmp_path):
    spoiled = replace(model, people=model.people._replace(mean=model.people.mean * np.nan))
    with pytest.raises(ValueError, match=r"not saved: people.mean"):
        spoiled.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_bad_input_is_named(world, model):
    embeddings, _, comparisons = world
    user = model.new_person()
    with pytest.raises(ValueError, match="without a question"):
        user.tell(1.0)
    user.ask(embeddings[:3])
    with pytest.raises(ValueError, match="outside"):
        user.tell(-1.0)
    with pytest.raises(ValueError, match="12 numbers"):
        user.rank(embeddings[:, :5])
    for _ in range(3):
        user.ask(embeddings[:3])
        user.tell(1.0)
    with pytest.raises(ValueError, match="no question left"):
        user.ask(embeddings[:3])
    spoiled = embeddings.copy()
    spoiled[4, 2] = np.nan
    with pytest.raises(ValueError, match="4"):
        prefjax.fit(comparisons, spoiled)
    with pytest.raises(ValueError, match="first"):
        prefjax.fit(comparisons._replace(first=comparisons.first + 1), embeddings)


def personal_auc(comparisons, table, seed=1, **settings):
    """AUC of fresh answers of the training people, by a model of ``table``."""
    model = prefjax.fit(comparisons, table, config=EMConfig(num_factors=3), **settings)
    items = model.items(table)
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(NUM_USERS), 40)
    first = rng.integers(NUM_RESPONSES, size=user.size)
    second = (first + rng.integers(1, NUM_RESPONSES, size=user.size)) % NUM_RESPONSES
    gap = items.features[first] - items.features[second]
    logit = (gap * model.people.mean[user]).sum(1) + items.utility[first] - items.utility[second]
    return user, first, second, logit


def truth_auc(world, answered):
    user, first, second, logit = answered
    embeddings, head, _ = world
    rng = np.random.default_rng(0)
    rng.normal(size=(NUM_RESPONSES, NUM_INPUTS))
    rng.normal(size=(NUM_INPUTS, 2))
    weights = rng.normal(size=(NUM_USERS, 2)) * 1.5
    true = ((embeddings[first] - embeddings[second]) @ head * weights[user]).sum(1)
    return metrics.macro_auc(user, logit, (true > 0).astype(np.float32)).value


def test_a_column_in_another_unit_is_named_and_its_remedy_works(world):
    embeddings, _, comparisons = world
    characters = np.random.default_rng(0).integers(200, 2500, (NUM_RESPONSES, 1))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    both = np.concatenate([unit, characters], axis=1).astype(np.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prefjax.fit(comparisons, both, config=EMConfig(num_factors=3))
    said = "\n".join(str(warning.message) for warning in caught)
    assert re.search(r"column 12 .* variance.*standardize=True", said)
    assert "nothing personal could be told" in said
    remedied = truth_auc(world, personal_auc(comparisons, both, standardize=True))
    assert remedied > truth_auc(world, personal_auc(comparisons, unit)) - 0.02


def test_a_row_that_nobody_compared_changes_nothing(world):
    embeddings, _, comparisons = world
    long = 1e4 * np.random.default_rng(0).normal(size=(1, NUM_INPUTS))
    more = np.concatenate([embeddings, long]).astype(np.float32)
    ours = personal_auc(comparisons, more)[-1]
    np.testing.assert_array_equal(ours, personal_auc(comparisons, embeddings)[-1])


def test_what_cannot_be_fitted_is_refused_by_name(world):
    embeddings, _, comparisons = world
    nothing = comparisons._replace(sample_weight=0 * comparisons.sample_weight)
    with pytest.raises(ValueError, match="sample_weight 0"):
        prefjax.fit(nothing, embeddings)
    one = Comparisons(*(column[:1] for column in comparisons))
    with pytest.raises(ValueError, match=r"1 users have comparisons.*at least 4"):
        prefjax.fit(one, embeddings)
    heavy = comparisons._replace(sample_weight=1e30 * comparisons.sample_weight)
    with pytest.raises(ValueError, match=r"divide comparisons\.sample_weight"):
        prefjax.fit(heavy, embeddings)
    with pytest.raises(ValueError, match="against itself"):
        prefjax.fit(comparisons._replace(second=comparisons.first), embeddings)
    with pytest.raises(ValueError, match="group must be one whole number"):
        prefjax.fit(comparisons, embeddings, group=np.zeros(3, int))


def test_the_report_and_the_warning_say_that_nothing_was_found(world, model):
    embeddings, _, comparisons = world
    assert model.report["gain_low"] > 0.02
    assert model.report["held_out_nll"] < model.report["population_nll"]
    rng = np.random.default_rng(0)
    noise = comparisons._replace(label=rng.integers(0, 2, len(comparisons.label)).astype(float))
    with pytest.warns(UserWarning, match="nothing personal could be told"):
        empty = prefjax.fit(noise, embeddings, config=EMConfig(num_factors=3))
    assert empty.report["gain_low"] <= 0


def test_a_person_who_answers_once_teaches_nothing_personal(world):
    """Nothing is left to test it on, and the fit says so."""
    embeddings, _, comparisons = world
    once = np.unique(comparisons.user, return_index=True)[1]
    single = comparisons._replace(**{k: v[once] for k, v in comparisons._asdict().items()})
    with pytest.warns(UserWarning, match=r"held-out users answer 0\.\d\d questions on average"):
        model = prefjax.fit(single, embeddings, config=EMConfig(num_factors=2))
    assert model.report["gain"] == pytest.approx(0, abs=1e-3)
