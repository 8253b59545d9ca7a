"""Simulated people served with given texts: the common part of the experiments on alignment."""

import dataclasses

import jax
import numpy as np
import pytest
from lm_tiny import FOLDER

from prefjax import lm
from prefjax.align import best_of_n_checked
from prefjax.align.judges import Question, compare
from prefjax.data.attributes import WorldConfig
from prefjax.lab.simulation import Simulation, SimulationConfig, sample_texts
from prefjax.types import Gaussian

CONFIG = SimulationConfig(
    world=WorldConfig(num_prompts=24, responses_per_prompt=12, pairs_per_user=120),
    num_inputs=32,
    num_own_inputs=16,
    num_questions=10,
)


def serve(sim, basis, known, num_answers, texts):
    """The best text of one pool for every person."""
    people = Gaussian(*(array[:, num_answers] for array in known))
    return np.asarray(best_of_n_checked(people, sim.pool(basis, [texts])).index)[:, 0]


@pytest.mark.slow
def test_ten_answers_choose_better_texts_than_the_population_does():
    sim = Simulation(CONFIG, seed=0)
    basis, dataset = sim.fit_pref(), sim.world.dataset
    known = sim.interview(basis)
    population = np.asarray(basis.population.mean)
    np.testing.assert_allclose(known.mean[:, 0] - population[None], 0, atol=1e-6)
    spread = np.linalg.eigvalsh(known.covariance[:, [0, -1]]).sum(-1)
    assert (spread[:, 1] < spread[:, 0]).all()

    gains, wins = [], []
    for prompt in np.flatnonzero(sim.world.test_prompt):
        texts = [
            t for t, p in zip(dataset.responses, dataset.prompt_index, strict=True) if p == prompt
        ]
        truth = sim.true_reward(texts)
        people = np.arange(len(truth))
        mine = serve(sim, basis, known, 10, texts)
        shared = serve(sim, basis, known, 0, texts)
        gains.append(truth[people, mine] - truth[people, shared])
        questions = [
            Question(name, "", texts[a], texts[b])
            for name, a, b in zip(sim.names, mine, shared, strict=True)
        ]
        wins.append(compare(sim.judge(), questions).win)
    gains = np.mean(gains, axis=0)
    assert gains.mean() > 3 * gains.std() / np.sqrt(len(gains))
    assert np.mean(wins) > 0.55

    own = sim.fit_own()
    assert own.params["out"]["kernel"].shape == (32, 17)
    assert not np.asarray(own.params["out"]["kernel"])[16:].any()
    again = Simulation(CONFIG, seed=0)
    assert again.names == sim.names
    np.testing.assert_array_equal(again.interview(basis).mean, known.mean)


@pytest.mark.slow
def test_samples_come_by_prompt_and_fill_the_last_batch():
    model = lm.load(FOLDER / "qwen2")
    # Its tokens are characters, and a system turn has many.
    model = model._replace(config=dataclasses.replace(model.config, max_length=128))
    arguments = {"max_new_tokens": 4, "batch_size": 4}
    texts = sample_texts(jax.random.key(0), model, ["a b", "c"], 3, **arguments)
    assert [len(row) for row in texts] == [3, 3]
    again = sample_texts(jax.random.key(0), model, ["a b", "c"], 3, **arguments)
    assert texts == again
    instructed = sample_texts(
        jax.random.key(0), model, ["a b", "c"], 3, system=["be brief"] * 2, **arguments
    )
    assert instructed != texts
    with pytest.raises(ValueError, match="Prompt 1 has"):
        sample_texts(jax.random.key(0), model, ["a", "word " * 600], 1, max_new_tokens=4)
