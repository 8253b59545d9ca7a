"""Acting on rewards: best-of-N for many people.

    python -m benchmarks.align [--small]

Best-of-N: 10,000 users × 100 prompts × 64 responses with J=8, the rules ``mean`` and ``pwin``. The
baseline ``numpy`` forms all rewards of a block of users by one matrix product in NumPy, which calls
the same kind of BLAS, and is checked to choose the same responses before it is timed.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import first_call, interleaved, report
from prefjax import runs
from prefjax.align.best_of_n import choose
from prefjax.elicit import ResponsePool

NUM_FACTORS = 8


def make_problem(num_users, num_prompts, num_responses):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(num_prompts, num_responses, NUM_FACTORS)).astype(np.float32)
    utility = rng.normal(size=(num_prompts, num_responses)).astype(np.float32)
    weight = rng.normal(size=(num_users, NUM_FACTORS)).astype(np.float32)
    root = rng.normal(size=(num_users, NUM_FACTORS, NUM_FACTORS)).astype(np.float32)
    covariance = root @ root.swapaxes(1, 2) / NUM_FACTORS
    pool = ResponsePool(features, utility, np.ones(utility.shape, bool))
    return jax.tree.map(jnp.asarray, (pool, weight, covariance))


def numpy_best(pool, weight, block_size=128):
    """Chosen responses by NumPy, in the same blocks."""
    features, utility = np.asarray(pool.features), np.asarray(pool.utility)
    num_prompts, num_responses, _ = features.shape
    flat, weight = features.reshape(-1, NUM_FACTORS), np.asarray(weight)
    chosen = []
    for start in range(0, len(weight), block_size):
        block = weight[start : start + block_size]
        score = (block @ flat.T).reshape(-1, num_prompts, num_responses) + utility[None]
        chosen.append(score.argmax(2))
    return np.concatenate(chosen)


def main():
    parser = argparse.ArgumentParser(description="Acting on rewards, timed.")
    parser.add_argument("--small", action="store_true", help="a size that takes seconds")
    size = (200, 10, 16) if parser.parse_args().small else (10_000, 100, 64)
    pool, weight, covariance = make_problem(*size)
    best = jax.jit(choose, static_argnames="rule")
    calls = {
        "best_of_n": lambda: best(pool, weight, covariance, rule="mean"),
        "best_of_n_pwin": lambda: best(pool, weight, covariance, rule="pwin"),
        "numpy": lambda: numpy_best(pool, weight),
    }
    for name in ("best_of_n", "best_of_n_pwin"):
        print(f"{name:16} first call {first_call(calls[name]):6.2f} s")
    agreement = np.mean(np.asarray(calls["best_of_n"]().index) == calls["numpy"]())
    # Sums in another order may turn a tie in the last bit.
    if agreement < 0.9999:
        raise AssertionError(f"NumPy chose otherwise in {1 - agreement:.1%} of the cases")
    seconds = interleaved(calls, 5)
    for name, value in seconds.items():
        print(f"{name:16} {value:8.3f} s")
    print(f"peak memory of the process {runs.peak_memory_mib():.0f} MiB")
    sizes = dict(zip(("users", "prompts", "responses"), size, strict=True))
    print(report("align", "best_of_n", sizes | {"factors": NUM_FACTORS}, seconds, True))


if __name__ == "__main__":
    main()
