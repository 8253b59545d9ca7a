"""Which candidate a search takes from the losses of held-out users."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefjax import basis
from prefjax.basis import SearchConfig, divisions, penalties
from prefjax.types import Comparisons

NUM_USERS = 40
CONFIG = SearchConfig(factor_penalties=(1.0, 10.0, 100.0))
GRID = penalties.candidates(CONFIG, np.ones((), np.float32))
NUM_FACTORS = len(GRID.factor) // 2


def choose(loss, *, without=None, num_answers=8.0, config=CONFIG, noise=0.0):
    """From the mean loss at (posterior scale, penalty); candidates that are not named are unfitted.

    ``without`` is the loss before the first answer, as large for all by default.
    """
    rng = np.random.default_rng(0)
    shape = 1, 2, NUM_FACTORS, NUM_USERS
    personal, population = np.full(shape, np.inf), np.full(shape, np.inf)
    scales = GRID.posterior_scale.reshape(2, -1), GRID.factor.reshape(2, -1)
    for (scale, factor), value in loss.items():
        place = np.nonzero((scales[0] == scale) & (scales[1] == factor))
        personal[0, place[0], place[1]] = value + noise * rng.normal(size=NUM_USERS)
        population[0, place[0], place[1]] = 0.7 if without is None else without[scale, factor]
    count = jnp.ones(NUM_USERS)
    nothing = jnp.zeros(1)
    found = penalties.choose(
        personal, population, count, jnp.float32(num_answers), nothing, GRID, config
    )
    chosen = int(found.chosen)
    return (float(GRID.posterior_scale[chosen]), float(GRID.factor[chosen])), found


def test_joint_map_has_to_beat_the_marginal_fit_by_a_standard_error():
    loss = {(1, 1): 0.60, (1, 10): 0.59, (1, 100): 0.65, (0, 1): 0.58, (0, 10): 0.57}
    assert choose(loss)[0] == (0, 10)
    assert choose(loss, noise=0.3)[0][0] == 1


def test_of_either_fit_the_strongest_penalty_that_cannot_be_told_is_taken():
    joint = {(1, 1): 0.70, (0, 1): 0.500, (0, 10): 0.501, (0, 100): 0.60}
    assert choose(joint)[0] == (0, 1)
    assert choose(joint, noise=0.05)[0] == (0, 10)
    marginal = {(1 - scale, factor): value for (scale, factor), value in joint.items()}
    assert choose(marginal, noise=0.05)[0] == (1, 10)


def test_the_loss_before_the_first_answer_counts():
    """Joint MAP that is right after ten answers and far too sure before the first."""
    loss = {(1, 1): 0.60, (0, 1): 0.58}
    without = {(1, 1): 0.65, (0, 1): 0.75}
    assert choose(loss, without=without)[0] == (1, 1)
    assert choose(loss, without=without, config=replace(CONFIG, without_answers=0.0))[0] == (0, 1)


def test_few_answers_choose_no_joint_map_and_less_than_one_nothing_personal():
    loss = {(1, 1): 0.60, (1, 10): 0.61, (1, 100): 0.62, (0, 1): 0.50}
    assert choose(loss)[0] == (0, 1)
    assert choose(loss, num_answers=2.0)[0] == (1, 1)
    assert choose(loss, num_answers=0.9)[0] == (1, 100)


def test_what_is_served_is_a_mean_of_the_losses_and_the_gain_is_personal():
    _, found = choose({(1, 1): 0.60, (0, 1): 0.65})
    chex.assert_equal_shape((found.nll, found.served_nll, found.population_nll, found.error))
    chosen = int(found.chosen)
    assert float(found.nll[chosen]) == pytest.approx(0.60)
    assert float(found.served_nll[chosen]) == pytest.approx(0.75 * 0.60 + 0.25 * 0.70)
    assert float(found.gain) == pytest.approx(0.10)


def test_without_a_marginal_candidate_the_best_is_taken():
    config = replace(CONFIG, posterior_scales=(0.0,))
    grid = penalties.candidates(config, np.ones((), np.float32))
    personal = np.broadcast_to(np.linspace(1.0, 0.5, len(grid.factor))[:, None], (1, 1, 11, 5))
    found = penalties.choose(
        personal, personal, jnp.ones(5), jnp.float32(0.5), jnp.zeros(1), grid, config
    )
    assert int(found.chosen) == len(grid.factor) - 1


def test_people_with_one_answer_each_leave_the_population():
    """Nothing that is personal can be tested on them, and chance must not decide."""
    rng = np.random.default_rng(0)
    user = np.arange(300, dtype=np.int32)
    first = rng.integers(30, size=300).astype(np.int32)
    second = ((first + 1 + rng.integers(29, size=300)) % 30).astype(np.int32)
    label = (rng.random(300) < 0.5).astype(np.float32)
    table = Comparisons(user, first, second, label, np.ones(300, np.float32))
    problem = basis.make_problem(table, None, num_users=300, num_responses=30)
    found = basis.search_penalties(jax.random.key(0), problem)
    assert float(found.num_answers) < 1
    chosen = int(found.chosen)
    assert float(found.penalties.posterior_scale[chosen]) == 1
    assert float(found.penalties.factor[chosen]) == 1000
    assert float(found.gain) == pytest.approx(0, abs=1e-4)


def test_the_number_of_answers_is_that_of_users_who_are_scored():
    """Three rows each, of which one is predicted and one of the others is left out."""
    table = Comparisons(
        np.repeat(np.arange(4, dtype=np.int32), 3),
        np.tile(np.arange(3, dtype=np.int32), 4),
        np.tile(np.arange(1, 4, dtype=np.int32), 4),
        np.ones(12, np.float32),
        np.ones(12, np.float32),
    )
    problem = basis.make_problem(table, None, num_users=4, num_responses=4)
    shown = np.asarray(problem.rows.sample_weight) > 0
    first = np.asarray(problem.rows.first)
    predicted = np.where(shown & (first == first[shown].min()), 1.0, 0.0)[None]
    answered = np.where(shown & (first == first[shown].max()), 1.0, 0.0)[None]
    division = divisions.Division(answered, predicted)
    held_out = np.array([[True, True, False, False]])
    count, number = divisions.weights(division, problem, held_out)
    chex.assert_trees_all_close(count, jnp.array([1.0, 1.0, 0.0, 0.0]))
    assert float(number) == pytest.approx(1.0)
