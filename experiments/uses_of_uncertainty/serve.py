"""New people served by the posterior of their weights: its mean, its spread, or several draws."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax.align import BestOfNConfig, best_of_n_checked, robust
from prefjax.align.judges import Question, compare
from prefjax.lab.simulation import Simulation
from prefjax.person import ResponsePool
from prefjax.types import Array, Gaussian, PRNGKey, RewardBasis

WAYS = ("mean", "lcb", "pwin", "robust")


@partial(jax.jit, static_argnames="num_directions")
def _choose_robustly(
    keys: PRNGKey, people: Gaussian, pool: ResponsePool, *, num_directions: int
) -> Int[jax.Array, "user prompt"]:
    def one_prompt(weights, drawn, features, utility):
        own = features.reshape(num_directions, -1, features.shape[1])
        reward = jnp.einsum("kgj,kj->kg", own, drawn) + utility.reshape(num_directions, -1)
        named = jnp.arange(num_directions) * own.shape[1] + jnp.argmax(reward, axis=1)
        return named[robust.select(weights, features[named], utility[named])]

    def one_user(key: PRNGKey, belief: Gaussian):
        drawn = robust.sample_directions(key, belief, num=num_directions)
        every = jax.vmap(one_prompt, in_axes=(None, None, 0, 0))
        return every(belief.mean, drawn, pool.features, pool.utility)

    return jax.vmap(one_user)(keys, people)


def choose_robustly(
    key: PRNGKey, people: Gaussian, pool: ResponsePool, *, num_directions: int
) -> Int[Array, "user prompt"]:
    """The response that ŵ chooses among the best of every direction's own samples.

    Args:
        key: Random key of the directions.
        people: ŵ and C of every user.
        pool: Samples; each direction owns an equal part of those to a prompt.
        num_directions: Directions, ŵ among them.
    """
    keys = jax.random.split(key, len(people.mean))
    return _choose_robustly(keys, people, pool, num_directions=num_directions)


def serve(
    sim: Simulation,
    basis: RewardBasis,
    prompts: list[str],
    samples: list[list[str]],
    *,
    num_answers: tuple[int, ...],
    num_directions: int,
    seed: int,
) -> dict[tuple[str, int, str], Float[np.ndarray, "user prompt"]]:
    """True reward and win by way, number of answers and metric.

    Args:
        sim: People and judge.
        basis: Base rewards and the population of weights.
        prompts: New prompts.
        samples: Responses to each prompt; the first is the default and cannot be chosen.
        num_answers: Answers from which a person is known.
        num_directions: Directions of ``robust``.
        seed: Seed of the directions.
    """
    default, texts = [row[0] for row in samples], [row[1:] for row in samples]
    pool, known = sim.pool(basis, texts), sim.interview(basis)
    truth = sim.true_reward([text for row in texts for text in row])
    truth = truth.reshape(len(truth), *pool.utility.shape)
    truth = (truth - truth.mean(2, keepdims=True)) / np.maximum(truth.std(2, keepdims=True), 1e-6)
    judge, found = sim.judge(), {}
    for number in num_answers:
        people = Gaussian(known.mean[:, number], known.covariance[:, number])
        for way in WAYS:
            if way == "robust":
                index = choose_robustly(
                    jax.random.key(seed), people, pool, num_directions=num_directions
                )
            else:
                scale, config = basis.posterior_scale, BestOfNConfig(rule=way)
                found_best = best_of_n_checked(people, pool, posterior_scale=scale, config=config)
                index = found_best.index
            index = np.asarray(index)
            questions = [
                Question(sim.names[u], prompts[p], texts[p][index[u, p]], default[p])
                for u, p in np.ndindex(index.shape)
            ]
            taken = np.take_along_axis(truth, index[:, :, None], axis=2)[:, :, 0]
            found[way, number, "true_reward"] = taken
            found[way, number, "win_rate"] = compare(judge, questions).win.reshape(index.shape)
    return found
