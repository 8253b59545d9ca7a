"""The minimax winner against games whose value is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from prefjax.align.minimax import crowd_preferences, minimax_winner
from prefjax.families import get_family, gpm, pool_preferences


def test_a_condorcet_winner_is_certain_though_the_mean_picks_another():
    """Three of five people like 0 best by a little, two like 1 by much."""
    rewards = np.array([[1.0, 0.0, -1.0]] * 3 + [[0.0, 9.0, -1.0]] * 2)
    sharp = crowd_preferences(10 * rewards)
    found = minimax_winner(sharp)
    assert rewards.mean(axis=0).argmax() == 1
    assert found.choice == 0
    np.testing.assert_allclose(found.probability, [1, 0, 0], atol=1e-8)
    assert found.exploitability < 1e-9


def test_a_cycle_of_unequal_beats_is_the_lottery_in_closed_form():
    """0 beats 1 by a, 1 beats 2 by b, 2 beats 0 by c: q ∝ (b, c, a)."""
    a, b, c = 0.3, 0.1, 0.2
    table = 0.5 + np.array([[0, a, -c], [-a, 0, b], [c, -b, 0]])
    found = minimax_winner(table)
    np.testing.assert_allclose(found.probability, np.array([b, c, a]) / (a + b + c), atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_no_response_beats_the_lottery_and_the_certificate_says_so(seed):
    skew = np.random.default_rng(seed).normal(size=(30, 30))
    table = 1 / (1 + np.exp(-(skew - skew.T)))
    found = minimax_winner(jnp.asarray(table, jnp.float32))
    assert (found.probability @ table).min() > 0.5 - 1e-5
    assert found.exploitability < 1e-5
    # A response by itself is beaten by another one.
    assert table.min(axis=1).max() < 0.5


def test_a_table_that_is_no_preference_is_refused():
    with pytest.raises(ValueError, match=r"P\[0, 1\] and P\[1, 0\] sum to 1.2"):
        minimax_winner(np.array([[0.5, 0.6], [0.6, 0.5]]))
    with pytest.raises(ValueError, match="square"):
        minimax_winner(np.ones((2, 3)) / 2)
    with pytest.raises(ValueError, match="probabilities"):
        minimax_winner(np.array([[0.5, 2.0], [-1.0, 0.5]]))


def test_a_cycle_of_gpm_is_a_lottery_and_its_plane_of_rewards_a_certain_winner():
    """One plane holds three responses at equal angles, which beat each other in a circle."""
    family, angle = get_family("gpm"), 2 * np.pi * np.arange(3) / 3
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    params = gpm.Params(jnp.eye(2), jnp.zeros(2), jnp.ones(1), jnp.ones((2, 1)))
    table = pool_preferences(family, params, params.gates, circle)
    np.testing.assert_array_equal(table + table.T, np.ones((3, 3)))
    sharp = 1 / (1 + np.exp(-np.sin(2 * np.pi / 3)))
    np.testing.assert_allclose([table[0, 1], table[1, 2], table[2, 0]], sharp, rtol=1e-6)
    found = minimax_winner(table)
    np.testing.assert_allclose(found.probability, np.full(3, 1 / 3), atol=1e-6)
    # With a constant second coordinate the plane is a reward, the first coordinate.
    rewards = np.array([0.3, 2.0, -1.0])
    line = gpm.Params(jnp.eye(1, 2), jnp.array([0.0, 1.0]), jnp.ones(1), jnp.ones((2, 1)))
    table = pool_preferences(family, line, line.gates, rewards[:, None])
    np.testing.assert_allclose(table, crowd_preferences(rewards[None]), atol=1e-6)
    assert minimax_winner(table).choice == 1
    # Opposite people cancel, and weights say who counts.
    both = jnp.array([[1.0], [-1.0]])
    np.testing.assert_allclose(pool_preferences(family, line, both, rewards[:, None]), 0.5)
    first = pool_preferences(
        family, line, both, rewards[:, None], sample_weight=np.array([1.0, 0.0])
    )
    np.testing.assert_array_equal(first, table)
    with pytest.raises(ValueError, match="2 people need as many weights"):
        pool_preferences(family, line, both, rewards[:, None], sample_weight=np.ones(3))
