"""The front door against the kernels behind it."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest

import prefjax
from prefjax import logistic
from prefjax.basis import EMConfig
from prefjax.types import Comparisons

NUM_USERS, NUM_RESPONSES, NUM_INPUTS = 60, 80, 12


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(NUM_RESPONSES, NUM_INPUTS)).astype(np.float32)
    head = rng.normal(size=(NUM_INPUTS, 2))
    weight = rng.normal(size=(NUM_USERS, 2)) * 1.5
    user = np.repeat(np.arange(NUM_USERS), 40)
    first, second = rng.integers(NUM_RESPONSES, size=(2, user.size))
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
    user = model.new_user()
    for _ in range(10):
        question = user.ask(embeddings[:40])
        user.tell(float(truth[question.first] > truth[question.second]))
    reward = user.rank(embeddings[40:]).reward
    assert np.corrcoef(reward, truth[40:])[0, 1] > 0.9
    assert len({(a[0].tobytes(), a[1]) for a in user.answers}) == 10


def test_without_answers_a_user_is_the_population(world, model):
    embeddings = world[0]
    ranking = model.new_user().rank(embeddings)
    chex.assert_trees_all_equal(ranking.reward, model.items(embeddings).utility)
    assert ranking.order[0] == ranking.reference
    assert ranking.win_probability[ranking.reference] == pytest.approx(0.5)
    assert np.all(ranking.low <= ranking.win_probability + 1e-6)
    assert np.all(ranking.win_probability <= ranking.high + 1e-6)


def test_belief_is_the_logistic_fit_of_the_answers(world, model):
    user = model.new_user(rule="random", seed=3)
    for label in (1.0, 0.0, 0.5):
        user.ask(world[0][:20])
        user.tell(label)
    gap, offset, label = (np.array(part, np.float32) for part in zip(*user.answers, strict=True))
    direct = logistic.fit(gap, label, np.ones(3, np.float32), prior=model.prior, offset=offset)
    chex.assert_trees_all_close(user.belief.mean, direct.weights, atol=1e-5)
    chex.assert_trees_all_close(user.belief.covariance @ direct.hessian, jnp.eye(3), atol=1e-3)


def test_saved_and_loaded_bit_for_bit(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = prefjax.load(tmp_path / "model")
    chex.assert_trees_all_equal(loaded.head, model.head)
    chex.assert_trees_all_equal(loaded.prior, model.prior)
    chex.assert_trees_all_equal(loaded.covariance, model.covariance)
    (tmp_path / "model" / "model.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="format 99"):
        prefjax.load(tmp_path / "model")
    with pytest.raises(FileNotFoundError):
        prefjax.load(tmp_path / "nowhere")


def test_training_users_keep_their_weights(model):
    chex.assert_trees_all_close(model.user(7).belief.mean, model.weights[7], atol=1e-5)
    with pytest.raises(KeyError, match="no user 60"):
        model.user(60)


def test_bad_input_is_named(world, model):
    embeddings, _, comparisons = world
    user = model.new_user()
    with pytest.raises(ValueError, match="without a question"):
        user.tell(1.0)
    user.ask(embeddings[:3])
    with pytest.raises(ValueError, match="outside"):
        user.tell(-1.0)
    with pytest.raises(ValueError, match="12 numbers"):
        user.rank(embeddings[:, :5])
    for _ in range(2):
        user.ask(embeddings[:3])
    with pytest.raises(ValueError, match="every pair"):
        user.ask(embeddings[:3])
    spoiled = embeddings.copy()
    spoiled[4, 2] = np.nan
    with pytest.raises(ValueError, match="4"):
        prefjax.fit(comparisons, spoiled)
    with pytest.raises(ValueError, match="first"):
        prefjax.fit(comparisons._replace(first=comparisons.first + 1), embeddings)
