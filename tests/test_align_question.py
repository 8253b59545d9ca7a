"""The question pair of section 4.2: exact over a pool, and never worse with generated responses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefjax.align import question_pair, steering_weights
from prefjax.person import RULES
from prefjax.types import Gaussian, Items

J, SIZE = 3, 8


def make_problem(seed):
    keys = jax.random.split(jax.random.key(seed), 5)
    root = jax.random.normal(keys[0], (J, J))
    belief = Gaussian(jax.random.normal(keys[1], (J,)), root @ root.T + 0.1 * jnp.eye(J))
    features = jax.random.normal(keys[2], (SIZE, J))
    return belief, features, jax.random.normal(keys[3], (SIZE,)), keys[4]


_pair = jax.jit(partial(question_pair, rule=RULES["eq8"]))


def test_generated_responses_are_accepted_only_above_the_best_pair_of_the_pool():
    accepted = []
    for seed in range(10):
        belief, features, utility, key = make_problem(seed)
        new = Items((0.3 + 0.7 * (seed % 2)) * jax.random.normal(key, (4, J)), jnp.zeros(4))
        got = _pair(key, belief, Items(features, utility), new)
        every = np.concatenate([features, new.features])

        def score(a, b, every=every, belief=belief):
            gap = every[a] - every[b]
            return gap @ np.asarray(belief.covariance) @ gap

        pairs = [(a, b) for a in range(len(every)) for b in range(a)]
        best = max(score(a, b) for a, b in pairs)
        own = max(score(a, b) for a, b in pairs if a < SIZE)
        assert float(got.score) == pytest.approx(best, rel=1e-4)
        assert float(got.pool_score) == pytest.approx(own, rel=1e-4)
        assert score(int(got.first), int(got.second)) == pytest.approx(best, rel=1e-4)
        assert bool(got.generated) == (best > own)
        accepted.append(bool(got.generated))
    assert 0 < sum(accepted) < 10


def test_responses_steered_both_ways_along_the_least_certain_direction():
    belief, *_ = make_problem(0)
    weight = steering_weights(belief.covariance, 2.0, 6)
    np.testing.assert_allclose(weight[:3], -weight[3:])
    np.testing.assert_allclose(np.linalg.norm(weight, axis=1), 2.0, rtol=1e-5)
    along = np.asarray(weight[0]) @ np.asarray(belief.covariance) @ np.asarray(weight[0]) / 4
    assert along == pytest.approx(np.linalg.eigvalsh(belief.covariance)[-1], rel=1e-4)
    with pytest.raises(ValueError, match="even"):
        steering_weights(belief.covariance, 1.0, 3)
