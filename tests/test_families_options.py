"""Options of families: what each is identical to, and the world in which it must win."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from prefjax import metrics
from prefjax.basis import make_problem, standardize
from prefjax.families import (
    Answers,
    Family,
    gather,
    get_family,
    linear,
    mrm,
    no_answers,
    p_ttt,
    score,
)
from prefjax.families.flip_noise import noisy_logit
from prefjax.families.temperature import Params as Temperature
from prefjax.lab import check_family
from prefjax.numerics import softplus_loss
from prefjax.types import Comparisons, UserBatch

INPUTS, RESPONSES, OLD, NEW, ROWS, TESTS = 8, 400, 100, 60, 40, 60


def answers(seed, count=7):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, count, INPUTS))
    label = rng.integers(2, size=count).astype(float)
    return Answers(first, second, np.zeros((count, 0)), label, np.ones(count))


def test_one_step_is_the_step_of_the_logistic_loss_from_zero():
    some, step = answers(0), np.random.default_rng(1).normal(size=(3, INPUTS))
    params = p_ttt.Params(jnp.zeros(INPUTS), jnp.asarray(step))
    features = (some.first - some.second) @ step.T

    def loss(weights):
        return jnp.sum(softplus_loss(features @ weights, some.label))

    slope = jax.grad(loss)(jnp.zeros(3))
    state = p_ttt.adapt(params, some, p_ttt.Config())
    chex.assert_trees_all_close(state, -2 * slope, rtol=1e-5)


def test_a_temperature_that_does_not_differ_is_bradley_terry():
    family, some = get_family("temperature"), answers(2)
    weights = jnp.asarray(np.random.default_rng(3).normal(size=INPUTS))
    pooled = Temperature(weights, jnp.zeros(()), jnp.full((), 1e-6))
    state = family.adapt(pooled, some, family.config)
    chex.assert_trees_all_close(state, 1.0, atol=1e-3)
    shifted = Temperature(weights, jnp.log(jnp.asarray(2.0)), jnp.ones(()))
    nothing = family.adapt(shifted, no_answers(INPUTS), family.config)
    chex.assert_trees_all_close(nothing, 2.0, rtol=1e-5)


def test_without_flips_the_logit_is_the_score_and_with_them_it_is_bounded():
    score = jnp.linspace(-50.0, 50.0, 11)
    chex.assert_trees_all_close(noisy_logit(score, jnp.zeros(())), score, rtol=1e-5)
    flip = jnp.asarray(0.1)
    probability = 0.1 + 0.8 * jax.nn.sigmoid(score)
    exact = jnp.log(probability) - jnp.log1p(-probability)
    chex.assert_trees_all_close(noisy_logit(score, flip), exact, atol=1e-5)


def test_a_step_of_mrm_is_the_softmax_gradient_and_none_is_the_start():
    some, rng = answers(4), np.random.default_rng(5)
    params = mrm.Params(jnp.asarray(rng.normal(size=(INPUTS, 2))), jnp.asarray([0.4, -0.3]))
    config = mrm.Config(rate=7.0, prior=3.0)
    share = np.asarray(jax.nn.softmax(params.start))
    features = (some.first - some.second) @ np.asarray(params.basis)
    wrong = expit(features @ share) - some.label
    slope = (np.diag(share) - np.outer(share, share)) @ features.T @ wrong
    expected = params.start - 7.0 / (3.0 + len(wrong)) * slope
    chex.assert_trees_all_close(mrm.adapt(params, some, config), expected, rtol=1e-4)
    twice = mrm.adapt(params, some, replace(config, inner_steps=2))
    assert np.abs(twice - expected).max() > 1e-3
    for heard, rate in ((no_answers(INPUTS), 7.0), (some, 0.0)):
        state = mrm.adapt(params, heard, replace(config, rate=rate))
        np.testing.assert_array_equal(state, params.start)


@pytest.mark.slow
def test_pref_with_several_kinds_of_people_keeps_the_contract():
    assert check_family(get_family("prefjax.families.pref_mixture:PREF_MIXTURE")) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["p-ttt", "mrm"])
def test_the_last_setting_of_a_step_is_the_population(name):
    """So that held-out people can choose it where answers do not help."""
    family = get_family(name)
    config = family.config_grid(family.config)[-1]
    problem, asked, tests = make_world(0, different, one)
    params = jax.jit(family.fit)(jax.random.key(0), problem, config)
    nothing = asked._replace(sample_weight=jnp.zeros_like(asked.sample_weight))
    after, before = (
        score(family, params, jax.vmap(partial(family.adapt, params, config=config))(some), tests)
        for some in (asked, nothing)
    )
    np.testing.assert_allclose(after, before, atol=1e-5)


@pytest.mark.slow
def test_mrm_without_a_step_is_bradley_terry():
    problem, _, _ = make_world(0, different, one)
    config = mrm.Config(rate=0.0, robustness=0.0, penalty=20.0, num_steps=1500)
    found = jax.jit(mrm.fit)(jax.random.key(0), problem, config)
    shared = linear.population(problem, 20.0)
    chex.assert_trees_all_close(found.basis @ jax.nn.softmax(found.start), shared, atol=0.03)


def test_mrm_counts_the_worst_half_of_people_more():
    losses, count = jnp.asarray([1.0, 6.0, 2.0, 8.0]), jnp.asarray([2.0, 5.0, 2.0, 5.0])
    counted = mrm.emphasis(losses, count, 1.0)
    assert np.all(np.argsort(counted) == [0, 2, 1, 3])
    np.testing.assert_allclose(counted.sum(), 6.0, atol=0.05)  # half of them twice
    np.testing.assert_array_equal(mrm.emphasis(losses, count, 0.0), 1.0)


def make_world(seed, weights_of, sharpness_of, flip=0.0, old=OLD, rows=ROWS):
    """A problem of old people, and answers and tests of new ones."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(RESPONSES, INPUTS)).astype(np.float32)
    weights, sharp = weights_of(rng, old + NEW), sharpness_of(rng, old + NEW)

    def draw(people, count):
        user = np.repeat(people, count)
        first = rng.integers(RESPONSES, size=len(user))
        second = (first + rng.integers(1, RESPONSES, size=len(user))) % RESPONSES
        gap = embeddings[first] - embeddings[second]
        chance = expit(sharp[user] * np.einsum("rd,rd->r", gap, weights[user]))
        label = rng.random(len(user)) < flip + (1 - 2 * flip) * chance
        columns = (user, first, second, label.astype(np.float32), np.ones(len(user), np.float32))
        return Comparisons(*columns)

    def batch(count):
        said = draw(np.arange(old, old + NEW), count)
        columns = (column.reshape(NEW, count) for column in said[1:])
        return UserBatch(*columns, mask=np.ones((NEW, count), bool))

    problem = make_problem(draw(np.arange(old), rows), embeddings, num_users=old)
    inputs = standardize(problem.standardizer, embeddings)
    return problem, gather(inputs, batch(rows)), gather(inputs, batch(TESTS))


def measured(family, world):
    """AUC and mean loss of every new person after their answers."""
    problem, asked, tests = world
    params = jax.jit(family.fit)(jax.random.key(0), problem, family.config)
    adapt = jax.jit(jax.vmap(partial(family.adapt, config=family.config), in_axes=(None, 0)))
    logit = score(family, params, adapt(params, asked), tests)
    auc = jax.vmap(metrics.auc)(logit, tests.label, tests.sample_weight > 0)
    return np.asarray(auc), np.asarray(metrics.nll(logit, tests.label).mean(axis=1))


def alike(rng, count):
    weight = rng.normal(size=INPUTS)
    return np.tile(weight / np.linalg.norm(weight), (count, 1))


def different(rng, count):
    return rng.normal(size=(count, 2)) @ rng.normal(size=(2, INPUTS)) / 2


def axis(rng, count):
    """Everybody likes one thing and people differ a little in another."""
    shared, apart = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, INPUTS)))
    return 0.7 * shared + 0.5 * rng.normal(size=(count, 1)) * apart


def one(rng, count):
    return np.full(count, 1.5)


def many(rng, count):
    return np.exp(rng.normal(size=count))


def strong(rng, count):
    return np.full(count, 4.0)


class World(NamedTuple):
    """What is planted for an option, and what it must beat there by which score."""

    parent: Family
    weights: Callable
    sharpness: Callable
    flip: float = 0.0
    old: int = OLD
    rows: int = ROWS
    score: str = "auc"
    seeds: int = 2


BRADLEY_TERRY = get_family("bradley-terry")
LORE = get_family("lore")
TWO_REWARDS = LORE._replace(config=replace(LORE.config, num_basis=2))
WORLDS = {
    "p-ttt": World(BRADLEY_TERRY, different, one),
    "temperature": World(BRADLEY_TERRY, alike, many, score="nll"),
    "flip-noise": World(BRADLEY_TERRY, alike, strong, flip=0.2, score="nll"),
    "mrm": World(TWO_REWARDS, axis, one, old=400, rows=6, seeds=4),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_an_option_wins_in_the_world_that_is_planted_from_it(name):
    plan = WORLDS[name]
    gains = []
    for seed in range(plan.seeds):
        world = make_world(seed, plan.weights, plan.sharpness, plan.flip, plan.old, plan.rows)
        own, parent = (measured(family, world) for family in (get_family(name), plan.parent))
        gains.append(own[0] - parent[0] if plan.score == "auc" else parent[1] - own[1])
    found = metrics.mean_interval(np.concatenate(gains))
    assert found.low > 0
