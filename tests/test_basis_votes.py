"""Votes on free factors: the zero baseline has a row of its own, and nobody sees it."""

import chex
import jax
import numpy as np
import pytest
from scipy.special import expit, logit

from prefjax import basis
from prefjax.basis import divisions
from prefjax.types import BASELINE, Comparisons, Penalties

PEOPLE, ITEMS, UNSEEN = 60, 50, 10
AGREE = 0.8
KEY = jax.random.key(0)


def vote(num_votes, rng, *, spread=0.5, differ=0.0):
    """Votes of people who agree with most items, some with more of them than others."""
    user = np.repeat(np.arange(PEOPLE), num_votes)
    item = rng.integers(ITEMS - UNSEEN, size=len(user))
    reward = logit(AGREE) + spread * rng.normal(size=ITEMS)
    label = rng.random(len(user)) < expit(reward[item] + differ * rng.normal(size=PEOPLE)[user])
    return Comparisons(
        user.astype(np.int32),
        item.astype(np.int32),
        np.full(len(user), BASELINE, np.int32),
        label.astype(np.float32),
        np.ones(len(user), np.float32),
    )


def penalties_of(factor, utility):
    return Penalties(*(np.asarray(value, np.float32) for value in (factor, utility, 1.0)))


def free(table):
    return basis.make_problem(table, None, num_users=PEOPLE, num_responses=ITEMS)


def test_the_baseline_is_one_more_response_inside_and_none_outside():
    problem = free(vote(5, np.random.default_rng(0)))
    assert problem.num_responses == ITEMS + 1
    assert len(problem.response_place) == ITEMS
    fitted, people, _ = basis.fit_block(KEY, problem, penalties_of(4.0, 4.0))
    items = basis.apply(fitted.params, None)
    chex.assert_shape(items.utility, (ITEMS,))
    assert items.spread is not None
    chex.assert_axis_dimension(items.spread, 0, ITEMS)
    chex.assert_axis_dimension(people.mean, 0, PEOPLE)
    chex.assert_tree_all_finite((items, people))


def test_pairs_alone_have_no_baseline():
    table = vote(5, np.random.default_rng(0))
    pairs = table._replace(second=((table.first + 1) % ITEMS).astype(np.int32))
    problem = free(pairs)
    assert problem.baseline is None
    assert problem.num_responses == ITEMS


def test_few_votes_are_not_pulled_to_one_half():
    """Three votes of each person: items without a vote have the reward of all others."""
    table = vote(3, np.random.default_rng(1), spread=0.0)
    fitted, *_ = basis.fit_block(KEY, free(table), penalties_of(1e6, 1.0))
    utility = np.asarray(basis.apply(fitted.params, None).utility)
    seen = expit(utility[np.unique(table.first)])
    assert expit(utility[-UNSEEN:]) == pytest.approx(table.label.mean(), abs=0.04)
    assert seen.mean() == pytest.approx(table.label.mean(), abs=0.04)


def test_free_factors_of_votes_are_a_head_on_one_hot_rows():
    table = vote(12, np.random.default_rng(2), differ=1.0)
    eye = np.eye(ITEMS, dtype=np.float32)
    one_hot = basis.make_problem(table, eye, num_users=PEOPLE)
    penalties = penalties_of(4.0, 4.0)
    config = basis.EMConfig(num_factors=2, tolerance=1e-6)
    reward = []
    for problem, inputs in ((free(table), None), (one_hot, eye)):
        fitted, people, _ = basis.fit_block(KEY, problem, penalties, config=config)
        items = basis.apply(fitted.params, inputs)
        told = np.asarray(items.features) @ np.asarray(people.mean).T
        reward.append((told + np.asarray(items.utility)[:, None])[: ITEMS - UNSEEN])
    difference = reward[0] - reward[1]
    assert np.sqrt(np.mean(difference**2)) < 0.1 * np.std(reward[1])


def test_the_baseline_is_in_no_group():
    table = vote(8, np.random.default_rng(3))
    group = np.arange(ITEMS) // 5
    problem = basis.make_problem(table, None, num_users=PEOPLE, num_responses=ITEMS, group=group)
    found = basis.search_penalties(KEY, problem, config=basis.EMConfig(num_factors=2))
    assert np.isfinite(found.nll[found.chosen])
    assert problem.group is not None
    assert int(problem.group[-1]) == -1


def test_who_has_many_rows_is_held_out_with_about_ten_answers():
    table = vote(80, np.random.default_rng(4))
    table = Comparisons(
        *(column[(table.user >= 20) | (np.arange(len(column)) % 16 == 0)] for column in table)
    )
    rows = free(table).rows
    division = divisions.divide(KEY, free(table), 0.4, 8, 10.0)
    counted = np.asarray(rows.sample_weight) > 0
    few = (np.asarray(rows.user) < 20)[:, None] & counted
    answered, predicted = (np.asarray(part) > 0 for part in division)
    # With five rows all that is not predicted is answered; with many, ten.
    assert np.array_equal(answered[:, few], ~predicted[:, few])
    assert answered[:, ~few].sum() / (8 * 40) == pytest.approx(10, abs=1)
