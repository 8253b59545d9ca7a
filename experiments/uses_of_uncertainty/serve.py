"""New people served by the posterior of their weights: its mean, its spread, or several draws."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax.align import robust
from prefjax.align.best_of_n import best_of_n
from prefjax.align.judges import Question, compare
from prefjax.align.simulation import Basis, Simulation
from prefjax.person import Belief, ResponsePool

WAYS = ("mean", "lcb", "pwin", "robust")


def choose_robustly(
    seed: int, pool: ResponsePool, belief: Belief, num_directions: int
) -> Int[np.ndarray, "user prompt"]:
    """The response that ŵ chooses among the best of every direction's own samples.

    Args:
        seed: Of the directions.
        pool: Samples; each direction owns an equal part of those to a prompt.
        belief: Of every user.
        num_directions: Directions, ŵ among them.
    """

    def one_prompt(features, utility, drawn, weight):
        own = features.reshape(num_directions, -1, features.shape[1])
        reward = jnp.einsum("kgj,kj->kg", own, drawn) + utility.reshape(num_directions, -1)
        named = jnp.arange(num_directions) * own.shape[1] + jnp.argmax(reward, axis=1)
        return named[robust.select(features[named], utility[named], weight)]

    def one_user(key, belief):
        drawn = robust.sample_directions(key, *belief, num=num_directions)
        every = jax.vmap(one_prompt, in_axes=(0, 0, None, None))
        return every(jnp.asarray(pool.features), jnp.asarray(pool.utility), drawn, belief.weights)

    keys = jax.random.split(jax.random.key(seed), len(belief.weights))
    return np.asarray(jax.jit(jax.vmap(one_user))(keys, belief))


def serve(
    sim: Simulation,
    basis: Basis,
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
        basis: Base rewards and prior.
        prompts: New prompts.
        samples: Of each prompt; the first is the default and cannot be chosen.
        num_answers: Answers from which a person is known.
        num_directions: Directions of ``robust``.
        seed: Of the directions.
    """
    default, texts = [row[0] for row in samples], [row[1:] for row in samples]
    pool, known = sim.pool(basis, texts), sim.interview(basis)
    truth = sim.true_reward([text for row in texts for text in row])
    truth = truth.reshape(len(truth), *pool.utility.shape)
    truth = (truth - truth.mean(2, keepdims=True)) / np.maximum(truth.std(2, keepdims=True), 1e-6)
    judge, found = sim.judge(), {}
    for number in num_answers:
        belief = Belief(known.weights[:, number], known.covariance[:, number])
        for way in WAYS:
            if way == "robust":
                index = choose_robustly(seed, pool, belief, num_directions)
            else:
                index = np.asarray(best_of_n(pool, *belief, rule=way).index)
            questions = [
                Question(sim.names[u], prompts[p], texts[p][index[u, p]], default[p])
                for u, p in np.ndindex(index.shape)
            ]
            taken = np.take_along_axis(truth, index[:, :, None], axis=2)[:, :, 0]
            found[way, number, "true_reward"] = taken
            found[way, number, "win_rate"] = compare(judge, questions).win.reshape(index.shape)
    return found
