"""No prediction depends on unit, origin, order, repetition, or on people and responses unused."""

import warnings

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import prefjax
from prefjax.basis import SearchConfig
from prefjax.families import REGISTRY, get_family
from prefjax.lab.check_subject import (
    ALL_RESPONSES,
    ALL_USERS,
    NUM_ANSWERS,
    NUM_RESPONSES,
    NUM_USERS,
    Subject,
    make_world,
    renumber,
)
from prefjax.person import adapt
from prefjax.types import Comparisons, FeatureGap, Gaussian, UserBatch

HEAVY = {"pref", "pref-map", "clusters", "vpl", "p-rlhf", "pal-b", "p-ttt", "mrm"}
"""Families whose programs take long to compile."""
MOVED = 1e-3
"""How far Adam may carry the rounding of another unit in some hundred steps; exact fits 1e-5."""


def subsets(size, total):
    return st.permutations(range(total)).map(lambda ids: np.sort(ids[:size]))


seeds = st.integers(0, 2**32 - 1)
units = st.tuples(
    st.floats(-4, 4).map(lambda power: float(np.float32(10.0**power))),
    st.floats(-20, 20).map(lambda offset: float(np.float32(offset))),
)
fillers = st.sampled_from([0.0, 1e6, -3e30, np.inf, np.nan])


def mix(rows, seed):
    """The same rows in another order, some as two halves, some with their sides exchanged."""
    rng = np.random.default_rng(seed)
    halves = rng.random(len(rows.user)) < 0.5
    whole = rows._replace(
        sample_weight=np.where(halves, 0.5, 1).astype(np.float32) * rows.sample_weight
    )
    rows = Comparisons(*(np.concatenate([column, column[halves]]) for column in whole))
    order, swap = rng.permutation(len(rows.user)), rng.random(len(rows.user)) < 0.5
    rows = Comparisons(*(column[order] for column in rows))
    return rows._replace(
        first=np.where(swap, rows.second, rows.first),
        second=np.where(swap, rows.first, rows.second),
        label=np.where(swap, 1 - rows.label, rows.label).astype(np.float32),
    )


def rescale(world, unit):
    scale, offset = unit
    return world._replace(
        embeddings=scale * (world.embeddings + offset), context=scale * (world.context + offset)
    )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in REGISTRY
    ],
)
def subject(request):
    return Subject(get_family(request.param))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    users=subsets(NUM_USERS, ALL_USERS),
    responses=subsets(NUM_RESPONSES, ALL_RESPONSES),
    filler=fillers,
    unit=units,
    seed=seeds,
)
def test_the_form_of_the_data_changes_no_prediction_of_a_family(
    subject, users, responses, filler, unit, seed
):
    world = renumber(subject.world, users, responses, filler)
    world = rescale(world._replace(rows=mix(world.rows, seed)), unit)
    place = np.append(np.random.default_rng(seed).permutation(NUM_ANSWERS), NUM_ANSWERS)
    batch = UserBatch(*(column[:, place] for column in world.batch))
    found = subject.predict(world._replace(batch=batch))
    for name in ("population", "personal"):
        expected = subject.base[name][:, place]
        np.testing.assert_allclose(
            found[name][:, :-1], expected[:, :-1], atol=MOVED, rtol=MOVED, err_msg=name
        )


def predictions(world, responses):
    """Rewards of every training person, by the public fit, less those of the first response."""
    search = SearchConfig(factor_penalties=(1.5, 12.0, 100.0), utility_penalties=(0.3, 3.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = prefjax.fit(world.rows, world.embeddings, search_config=search)
    items = model.items(world.embeddings[responses])
    reward = np.asarray(model.people.mean) @ np.asarray(items.features).T + np.asarray(
        items.utility
    )
    return reward - reward[:, :1]


@pytest.fixture(scope="module")
def public():
    world = make_world()
    return world, predictions(world, np.arange(NUM_RESPONSES))


@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    users=subsets(NUM_USERS, ALL_USERS),
    responses=subsets(NUM_RESPONSES, ALL_RESPONSES),
    filler=st.sampled_from([0.0, 1e6]),
    unit=units,
    seed=seeds,
)
def test_the_form_of_the_data_changes_no_prediction_of_the_public_fit(
    public, users, responses, filler, unit, seed
):
    world = renumber(public[0], users, responses, filler)
    world = world._replace(rows=mix(world.rows, seed))
    found = predictions(rescale(world, unit), responses)
    np.testing.assert_allclose(found, public[1], atol=MOVED, rtol=MOVED)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=seeds, unit=units, filler=fillers)
def test_the_form_of_the_answers_changes_no_prediction_of_adapt(seed, unit, filler):
    """Nor does the gauge, for features in another unit under the prior that goes with it."""
    rng, scale = np.random.default_rng(seed), unit[0]
    features = rng.normal(size=(1, 6, 2))
    offset, label = rng.normal(size=(1, 6)), rng.random((1, 6))
    weight = rng.integers(1, 3, (1, 6)).astype(float)
    prior = Gaussian(jnp.asarray([0.3, -0.2]), jnp.asarray([[1.0, 0.3], [0.3, 2.0]]))

    def logits(columns, prior, scale):
        gap, constant, *said = (jnp.asarray(column, jnp.float32) for column in columns)
        fitted = jax.jit(adapt)(FeatureGap(gap, constant), *said, prior=prior)
        return np.asarray(fitted.weights) @ (scale * features[0].T)

    def pad(column, value):
        return np.concatenate([column, np.full((1, 4, *column.shape[2:]), value)], axis=1)

    columns = features, offset, label
    base = logits((*(pad(c, 0) for c in columns), pad(weight, 0)), prior, 1.0)
    order = rng.permutation(6)
    twice = (np.concatenate([c[:, order], c[:, :2]], axis=1) for c in columns)
    halved = np.where(np.arange(6) < 2, 0.5, 1) * weight
    halved = np.concatenate([halved[:, order], halved[:, :2]], axis=1)
    padded = [np.concatenate([c, np.full_like(c[:, :2], filler)], axis=1) for c in twice]
    padded.append(np.concatenate([halved, np.zeros((1, 2))], axis=1))
    np.testing.assert_allclose(logits(padded, prior, 1.0), base, atol=2e-4, rtol=2e-4)
    other = Gaussian(prior.mean / scale, prior.covariance / scale**2)
    padded[0] = padded[0] * scale
    if np.isfinite(other.covariance).all() and 1e-3 < scale < 1e3:
        np.testing.assert_allclose(logits(padded, other, scale), base, atol=2e-4, rtol=2e-4)
