"""What users call twice compiles once: the second call at the same shapes builds no program."""

import contextlib

import jax
import numpy as np
import pytest

import prefjax
from prefjax import logistic, person
from prefjax.basis import EMConfig, SearchConfig, fit_block, make_problem
from prefjax.person import ridge_prior
from prefjax.types import Comparisons, FeatureGap, Gaussian, Penalties

USERS, RESPONSES, INPUTS = 12, 24, 5
CONFIG = EMConfig(num_factors=2, max_steps=5)
SEARCH = SearchConfig(factor_penalties=(1.0, 30.0), utility_penalties=(1.0, 10.0), path_steps=3)
NAMES: list[str] = []


def listen(event, duration, **about):
    if event.endswith("backend_compile_duration"):
        NAMES.append(str(about.get("fun_name")))


jax.monitoring.register_event_duration_secs_listener(listen)


@contextlib.contextmanager
def no_compilation():
    NAMES.clear()
    yield
    assert not NAMES


def world(seed):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(RESPONSES, INPUTS)).astype(np.float32)
    user = np.repeat(np.arange(USERS), 30)
    prompt = rng.integers(RESPONSES // 4, size=len(user))
    first, gap = rng.integers(4, size=len(user)), rng.integers(1, 4, size=len(user))
    rows = Comparisons(
        user,
        4 * prompt + first,
        4 * prompt + (first + gap) % 4,
        rng.integers(0, 2, len(user)).astype(np.float32),
        np.ones(len(user), np.float32),
    )
    return rows, embeddings


@pytest.mark.filterwarnings("ignore:nothing personal", "ignore:the fit still gained")
def test_fit_and_everything_a_person_is_asked():
    rows, embeddings = world(0)
    pools = embeddings.reshape(-1, 4, INPUTS)

    def serve(seed):
        model = prefjax.fit(rows, embeddings, seed=seed, config=CONFIG, search_config=SEARCH)
        new = model.new_person(seed=seed)
        for label in (1.0, 0.0, 0.5):
            new.ask(pools)
            new.tell(label)
        new.observe(embeddings[0], embeddings[1], 1.0)
        new.rank(embeddings[:8])
        new.reward(embeddings[:8])
        model.person(3).rank(embeddings[:7])

    serve(0)
    with no_compilation():
        serve(1)


def test_fits_at_given_penalties_and_of_new_people():
    rows, embeddings = world(0)
    problem = make_problem(rows, embeddings, num_users=USERS)
    features = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    flat = np.zeros((3, 4), np.float32)

    def run(seed):
        penalties = Penalties(1.0 + seed, 2.0, 1.0)
        fit_block(jax.random.key(seed), problem, penalties, config=CONFIG)
        gap = FeatureGap(features, flat)
        person.adapt_checked(gap, flat + seed, flat + 1, prior=ridge_prior(2, 1.0))

    run(0)
    with no_compilation():
        run(1)


def test_one_person_from_the_host():
    """Every public solve and every question of one person, by hand."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(5, 2)).astype(np.float32)
    prior = Gaussian(np.zeros(2, np.float32), np.eye(2, dtype=np.float32))
    ones = np.ones(5, np.float32)

    def run(seed):
        rows = features + np.float32(seed), ones, ones
        known = {"mean": prior.mean, "precision": prior.covariance}
        logistic.fit(*rows, **known)
        logistic.fit_gaussian(*rows, **known, offset=ones, variance=ones)
        logistic.solve(*rows, **known)
        logistic.solve(*rows, **known, config=logistic.DEFAULT)

    run(0)
    with no_compilation():
        run(1)
