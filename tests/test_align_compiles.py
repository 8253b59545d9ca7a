"""A second call with the same shapes compiles nothing, whatever is acted on and however."""

import jax
import numpy as np
import pytest
from align_tiny import CONFIG, make_model, make_prompts
from compilations import compilations

from prefjax import align
from prefjax.align import DecodeConfig
from prefjax.align.heads import Moments, init_advantage, init_value, project_tokens
from prefjax.person import ResponsePool
from prefjax.types import Gaussian

NUM_FACTORS, DECODING = 2, DecodeConfig(4, num_candidates=3)


@pytest.fixture(scope="module")
def actions():
    """Calls that differ in their values, by what is called; each takes a seed."""
    params, prompts = make_model(), align.Prompts(*(array[:2] for array in make_prompts()))
    inputs = Moments(np.zeros(3 * 32, np.float32), np.ones(3 * 32, np.float32))
    outputs = Moments(np.zeros(NUM_FACTORS, np.float32), np.ones(NUM_FACTORS, np.float32))
    value = init_value(jax.random.key(0), inputs, outputs, width=4)
    advantage = init_advantage(jax.random.key(1), 32, inputs, outputs.deviation, rank=3)
    rows = project_tokens(advantage, params["embedding"])

    def people(seed):
        rng = np.random.default_rng(seed)
        weights = rng.normal(size=(2, NUM_FACTORS)).astype(np.float32)
        return Gaussian(weights, np.stack([np.eye(NUM_FACTORS, dtype=np.float32)] * 2))

    def pool(seed):
        rng = np.random.default_rng(seed)
        features = rng.normal(size=(3, 4, NUM_FACTORS)).astype(np.float32)
        return ResponsePool(features, features[..., 0], np.ones((3, 4), bool))

    def start(seed):
        return jax.random.key(seed), params, CONFIG

    return {
        "best_of_n": lambda seed: align.best_of_n_checked(people(seed), pool(seed)),
        "over_optimization": lambda seed: align.over_optimization(
            pool(seed).utility, pool(seed).utility, (1, 2)
        ),
        "draw": lambda seed: align.draw(*start(seed), prompts, num_samples=2, decoding=DECODING),
        "decode_value": lambda seed: align.decode_value(
            *start(seed), value, prompts, people(seed).mean, 1.0 + seed, decoding=DECODING
        ),
        "decode_advantage": lambda seed: align.decode_advantage(
            *start(seed), advantage, rows, prompts, people(seed).mean, 1.0 + seed,
            decoding=DECODING,
        ),
        "decode_blockwise": lambda seed: align.decode_blockwise(
            *start(seed), value, prompts, people(seed).mean, block_length=2, num_continuations=2,
            decoding=DecodeConfig(4, num_candidates=3),
        ),
    }  # fmt: skip


NAMES = (
    "best_of_n", "over_optimization", "draw", "decode_value", "decode_advantage",
    "decode_blockwise",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_second_call_compiles_nothing(actions, name):
    with compilations() as first:
        jax.block_until_ready(actions[name](0))
    assert first
    with compilations() as second:
        jax.block_until_ready(actions[name](1))
    assert not second
