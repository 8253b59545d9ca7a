"""Choosing questions: exact pair search against brute force, and a whole study of interviews.

    python -m benchmarks.elicit [--small]

Search: the best of all pairs of 64 responses of each of 100 prompts (201,600 pairs, 403,200 when
both orders count) for 100 users at J=6. The baseline ``brute_force`` forms every pair in NumPy,
user by user, and is checked to agree before it is timed.

Study: 500 simulated users × 10 seeds × 20 questions from one pool of 1,000 pairs, by ``d_optimal``
with a refit after every answer, as one compiled program. Both take under two minutes in all.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from benchmarks import timing
from prefjax.person import (
    RULES,
    InterviewConfig,
    PairPool,
    ResponsePool,
    interview,
    make_simulated,
    select,
)
from prefjax.types import Gaussian

NUM_FACTORS = 6


def make_search(num_prompts, num_responses, num_users):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(num_prompts, num_responses, NUM_FACTORS)).astype(np.float32)
    utility = rng.normal(size=(num_prompts, num_responses)).astype(np.float32)
    root = rng.normal(size=(num_users, NUM_FACTORS, NUM_FACTORS))
    covariance = root @ root.swapaxes(1, 2) / NUM_FACTORS + 0.1 * np.eye(NUM_FACTORS)
    weight = rng.normal(size=(num_users, NUM_FACTORS)).astype(np.float32)
    pool = ResponsePool(features, utility, np.ones(utility.shape, bool))
    return jax.tree.map(jnp.asarray, (pool, Gaussian(weight, covariance.astype(np.float32))))


def brute_force(pool, belief):
    """Best pair and its ``d_optimal`` score of every user, all pairs formed in NumPy."""
    features, utility = np.asarray(pool.features), np.asarray(pool.utility)
    num_responses = features.shape[1]
    first, second = np.triu_indices(num_responses, k=1)
    gaps = (features[:, first] - features[:, second]).reshape(-1, NUM_FACTORS)
    offset = (utility[:, first] - utility[:, second]).reshape(-1)
    index, best = [], []
    for weight, covariance in zip(*(np.asarray(x) for x in belief), strict=True):
        p = expit(gaps @ weight + offset)
        score = np.log1p(p * (1 - p) * np.sum(gaps @ covariance * gaps, axis=1))
        winner = int(np.argmax(score))
        prompt, pair = divmod(winner, len(first))
        index.append((prompt * num_responses + first[pair]) * num_responses + second[pair])
        best.append(score[winner])
    return np.array(index), np.array(best)


def make_study(num_users, num_seeds, num_candidates, num_questions):
    key_weight, key_gap, key_run = jax.random.split(jax.random.key(0), 3)
    scale = 1.5 / (1 + jnp.arange(NUM_FACTORS))
    weight = jax.random.normal(key_weight, (num_users, NUM_FACTORS))
    gaps = jax.random.normal(key_gap, (num_candidates, NUM_FACTORS)) * scale[None, :]
    pool = PairPool(gaps, jnp.zeros(num_candidates), jnp.ones(num_candidates, bool))
    prior = Gaussian(jnp.zeros(NUM_FACTORS), jnp.eye(NUM_FACTORS))
    config = InterviewConfig(num_questions)

    def one(key, weight):
        return interview(key, pool, make_simulated(weight, pool), prior, config)

    keys = jax.random.split(key_run, num_seeds * num_users)
    lanes = jnp.tile(weight, (num_seeds, 1))
    return jax.jit(jax.vmap(one)), keys, lanes


def main():
    parser = argparse.ArgumentParser(description="Choosing questions, timed.")
    parser.add_argument("--small", action="store_true", help="a size that takes seconds")
    small = parser.parse_args().small

    search_size = (10, 16, 5) if small else (100, 64, 100)
    pool, belief = make_search(*search_size)
    keys = jax.random.split(jax.random.key(0), search_size[2])
    asked = jnp.full((search_size[2], 20), -1, jnp.int32)

    def search(rule):
        def one(key, pool, belief, asked):
            return select(key, pool, belief, asked, RULES[rule])

        compiled = jax.jit(jax.vmap(one, in_axes=(0, None, 0, 0)))
        return lambda: compiled(keys, pool, belief, asked)

    found, (index, score) = search("d_optimal")(), brute_force(pool, belief)
    np.testing.assert_allclose(found.score, score, rtol=1e-5)
    if not np.array_equal(found.index, index):
        raise AssertionError("exact search and brute force chose different pairs")
    searches = {"search" if r == "d_optimal" else f"search_{r}": search(r) for r in RULES}
    for name, call in searches.items():
        print(f"{name:22} first call {timing.first_call(call):6.2f} s")
    searches["brute_force"] = lambda: brute_force(pool, belief)
    seconds = timing.interleaved(searches, 3)

    study_size = (20, 2, 100, 5) if small else (500, 10, 1000, 20)
    run_study, keys_study, lanes = make_study(*study_size)
    whole = {"study": lambda: run_study(keys_study, lanes)}
    print(f"{'study':22} first call {timing.first_call(whole['study']):6.2f} s")
    seconds |= timing.interleaved(whole, 1 if not small else 3)
    for name, value in seconds.items():
        print(f"{name:22} {value:8.3f} s")
    converged = bool(run_study(keys_study, lanes).converged.all())

    prompts, responses, users = search_size
    study = dict(zip(("users", "seeds", "candidates", "questions"), study_size, strict=True))
    sizes = {
        "search": {"prompts": prompts, "responses": responses, "users": users},
        "study": study,
    }
    ratios = {"brute_force": seconds["brute_force"] / seconds["search"]}
    more = {"converged": converged, "environment": timing.environment()}
    print(timing.report("elicit", sizes, seconds, ratios, **more))


if __name__ == "__main__":
    main()
