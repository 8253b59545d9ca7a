"""What the posterior is used for: one direction is plain best-of-N, and no source asks for less."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.uses_of_uncertainty.ask import PairConfig, find_pair
from experiments.uses_of_uncertainty.serve import choose_robustly
from prefjax.align import best_of_n_checked
from prefjax.person import ResponsePool
from prefjax.types import Gaussian, Items

J, USERS, PROMPTS, SIZE = 3, 20, 5, 8
KEYS = jax.random.split(jax.random.key(0), 4)
POOL = ResponsePool(
    jax.random.normal(KEYS[0], (PROMPTS, SIZE, J)),
    jax.random.normal(KEYS[1], (PROMPTS, SIZE)),
    np.ones((PROMPTS, SIZE), bool),
)
WEIGHT = jax.random.normal(KEYS[2], (USERS, J))


def reward_of(index):
    """Reward by ŵ of the chosen response of every user and prompt."""
    every = jnp.einsum("pnj,uj->upn", POOL.features, WEIGHT) + POOL.utility[None]
    return jnp.take_along_axis(every, jnp.asarray(index)[:, :, None], axis=2)[:, :, 0]


def test_robust_choice_is_best_of_n_with_one_direction_and_never_below_its_own_part():
    covariance = jnp.broadcast_to(jnp.eye(J), (USERS, J, J))
    people = Gaussian(WEIGHT, covariance)
    best = best_of_n_checked(people, POOL).index
    key = jax.random.key(0)
    alone = choose_robustly(key, people, POOL, num_directions=1)
    np.testing.assert_array_equal(alone, best)
    # The first direction is ŵ, and it names the best of the first half.
    half_pool = POOL._replace(mask=POOL.mask & (np.arange(SIZE) < SIZE // 2)[None])
    half = best_of_n_checked(people, half_pool)
    several = reward_of(choose_robustly(key, people, POOL, num_directions=2))
    assert (several >= reward_of(half.index) - 1e-5).all()
    assert (several <= reward_of(best) + 1e-5).all()
    # Directions that are all ŵ name the best of every part, and so the best of all.
    same = choose_robustly(key, Gaussian(WEIGHT, 0 * covariance), POOL, num_directions=4)
    np.testing.assert_array_equal(same, best)


def test_steered_pairs_lie_between_the_pool_and_all_samples():
    covariance = jnp.diag(jnp.array([4.0, 1.0, 0.1]))

    @jax.jit
    @jax.vmap
    def every(weight, features, utility):
        def one(source):
            belief = Gaussian(weight, covariance)
            config = PairConfig(source, num_pool=2, num_steered=2, rule="eq8")
            first, second, steered = find_pair(
                KEYS[3], belief, Items(features, utility), config=config
            )
            gap = features[first] - features[second]
            return gap @ covariance @ gap, jnp.maximum(first, second), steered

        return [one(source) for source in ("pool", "steered", "all")]

    pool, steered, widest = map(np.asarray, every(WEIGHT[:PROMPTS], *POOL[:2]))
    assert (pool[0] <= steered[0]).all()
    assert (steered[0] <= widest[0] * (1 + 1e-5)).all()
    np.testing.assert_array_equal(steered[2], steered[1] >= 2)
    assert steered[2].any()
