"""Acting on rewards: best-of-N for many people, and steered decoding beside plain decoding.

    python -m benchmarks.align [--small]

Best-of-N: 10,000 users × 100 prompts × 64 responses with J=8, the rules ``mean`` and ``pwin``. The
baseline ``numpy`` forms all rewards of a block of users by one matrix product in NumPy, which calls
the same kind of BLAS, and is checked to choose the same responses before it is timed.

Decoding: 64 tokens for 8 prompts by a language model of the size of the one that comes with the
package (random weights, nothing ends a row): plain, with an advantage head (k = 20) and with a
value head (k = 10). With a strength too small to matter both must draw the plain tokens.
"""

import argparse
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import first_call, interleaved
from prefjax import lm
from prefjax.align import (
    BestOfNConfig,
    DecodeConfig,
    Prompts,
    best_of_n,
    decode_advantage,
    decode_value,
    project_tokens,
)
from prefjax.align.heads import Moments, init_advantage, init_value
from prefjax.lab import runs
from prefjax.person import ResponsePool
from prefjax.types import Gaussian

NUM_FACTORS = 8


def make_problem(num_users, num_prompts, num_responses):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(num_prompts, num_responses, NUM_FACTORS)).astype(np.float32)
    utility = rng.normal(size=(num_prompts, num_responses)).astype(np.float32)
    weight = rng.normal(size=(num_users, NUM_FACTORS)).astype(np.float32)
    root = rng.normal(size=(num_users, NUM_FACTORS, NUM_FACTORS)).astype(np.float32)
    covariance = root @ root.swapaxes(1, 2) / NUM_FACTORS
    pool = ResponsePool(features, utility, np.ones(utility.shape, bool))
    return jax.tree.map(jnp.asarray, (Gaussian(weight, covariance), pool))


def numpy_best(people, pool, block_size=128):
    """Chosen responses by NumPy, in the same blocks."""
    features, utility = np.asarray(pool.features), np.asarray(pool.utility)
    num_prompts, num_responses, _ = features.shape
    flat, weight = features.reshape(-1, NUM_FACTORS), np.asarray(people.mean)
    chosen = []
    for start in range(0, len(weight), block_size):
        block = weight[start : start + block_size]
        score = (block @ flat.T).reshape(-1, num_prompts, num_responses) + utility[None]
        chosen.append(score.argmax(2))
    return np.concatenate(chosen)


SHAPE = lm.QwenConfig(
    vocab_size=4096, hidden_size=256, intermediate_size=704, num_layers=4, num_heads=4,
    num_kv_heads=2, head_dim=64,
)  # fmt: skip


def make_decoders(batch, num_tokens):
    """Plain and steered decoding as functions of the strength."""
    keys = jax.random.split(jax.random.key(0), 6)
    params = lm.init_params(keys[0], SHAPE)
    deviation = jnp.ones(NUM_FACTORS)
    inputs = Moments(jnp.zeros(3 * SHAPE.hidden_size), jnp.ones(3 * SHAPE.hidden_size))
    head = init_value(keys[1], inputs, Moments(jnp.zeros(NUM_FACTORS), deviation))
    out = {**head.params["out"], "kernel": 0.1 * jax.random.normal(keys[2], (512, NUM_FACTORS))}
    head = head._replace(params={**head.params, "out": out})
    advantage = init_advantage(keys[3], SHAPE.hidden_size, inputs, deviation)
    state = 0.01 * jax.random.normal(keys[4], advantage.params["state"].shape)
    advantage = advantage._replace(params={**advantage.params, "state": state})
    rows = project_tokens(advantage, params["embedding"])
    tokens = jax.random.randint(keys[5], (batch, 32), 0, SHAPE.vocab_size)
    prompts, weights = Prompts(tokens, jnp.ones(tokens.shape, bool)), jnp.ones((batch, NUM_FACTORS))
    plain = jax.jit(lm.generate, static_argnames=("config", "max_new_tokens"))
    start = jax.random.key(1), params, SHAPE
    few, many = (DecodeConfig(num_tokens, num_candidates=k) for k in (10, 20))
    return {
        "plain": lambda _: plain(*start, *prompts, max_new_tokens=num_tokens).tokens,
        "advantage_head": lambda beta: (
            decode_advantage(*start, advantage, rows, prompts, weights, beta, decoding=many).tokens
        ),
        "value_head": lambda beta: (
            decode_value(*start, head, prompts, weights, beta, decoding=few).tokens
        ),
    }


def time_decoding(batch, num_tokens):
    """Median seconds of every decoder."""
    decoders = make_decoders(batch, num_tokens)
    plain = np.asarray(decoders["plain"](0.0))
    for name in ("advantage_head", "value_head"):
        same = np.mean((np.asarray(decoders[name](1e-12)) == plain).all(axis=1))
        # A row in which two tokens tie to the last bit may go another way.
        if same < 0.8:
            raise AssertionError(f"{name} draws other tokens than the model in {1 - same:.0%}")
    calls = {name: partial(decode, 1.0) for name, decode in decoders.items()}
    return interleaved(calls, 7)


def main():
    parser = argparse.ArgumentParser(description="Acting on rewards, timed.")
    parser.add_argument("--small", action="store_true", help="a size that takes seconds")
    small = parser.parse_args().small
    size = (200, 10, 16) if small else (10_000, 100, 64)
    problem = make_problem(*size)
    best = jax.jit(best_of_n, static_argnames="config")
    calls = {
        "best_of_n": lambda: best(*problem),
        "best_of_n_pwin": lambda: best(*problem, config=BestOfNConfig("pwin")),
        "numpy": lambda: numpy_best(*problem),
    }
    for name in ("best_of_n", "best_of_n_pwin"):
        print(f"{name:16} first call {first_call(calls[name]):6.2f} s")
    agreement = np.mean(np.asarray(calls["best_of_n"]().index) == calls["numpy"]())
    # Sums in another order may turn a tie in the last bit.
    if agreement < 0.9999:
        raise AssertionError(f"NumPy chose otherwise in {1 - agreement:.1%} of the cases")
    seconds = interleaved(calls, 5)
    decoding_size = (2, 8) if small else (8, 64)
    decoding = time_decoding(*decoding_size)
    for name, value in (seconds | decoding).items():
        print(f"{name:16} {value:8.3f} s")
    print(f"peak memory of the process {runs.peak_memory_mib():.0f} MiB")
    result = {
        "benchmark": "align",
        "device": jax.devices()[0].device_kind,
        "sizes": {
            "best_of_n": dict(zip(("users", "prompts", "responses"), size, strict=True)),
            "decoding": dict(zip(("batch", "tokens"), decoding_size, strict=True)),
        },
        "seconds": seconds | decoding,
        "ratios": {
            "numpy": seconds["numpy"] / seconds["best_of_n"],
            "advantage_head_over_plain": decoding["advantage_head"] / decoding["plain"],
            "value_head_over_plain": decoding["value_head"] / decoding["plain"],
        },
        "agrees": True,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
