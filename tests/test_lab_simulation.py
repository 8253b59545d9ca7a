"""Simulated people served with given texts: the common part of the experiments on alignment."""

import dataclasses

import numpy as np
import pytest
from lm_tiny import FOLDER

from prefjax import lm
from prefjax.align import best_of_n_checked
from prefjax.align.judges import Question, compare
from prefjax.data.attributes import WorldConfig, make_world
from prefjax.lab.simulation import Simulation, SimulationConfig, sample_texts, simulate_own
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


def test_people_may_compare_a_models_own_responses():
    written = make_world(CONFIG.world, 0)
    prompts, data = written.dataset.prompts[:8], written.dataset
    texts = [
        [t for t, p in zip(data.responses, data.prompt_index, strict=True) if p == k][:6]
        for k in range(8)
    ]
    config = dataclasses.replace(CONFIG, world=dataclasses.replace(CONFIG.world, pairs_per_user=40))
    seen = prompts[:6], texts[:6]
    with pytest.raises(ValueError, match="Prompt 7 has 5 responses, the first has 6"):
        simulate_own(config, 0, seen, (prompts[6:], [texts[6], texts[7][1:]]))
    sim = simulate_own(config, 0, seen, (prompts[6:], texts[6:]))
    assert sim.seen_prompts == list(prompts[:6])
    assert sim.prompts == list(prompts[6:])
    assert sim.world.seen.shape == (6, 6)
    shown = np.unique([sim.split.train.first, sim.split.train.second])
    assert shown.max() < 36
    # Standardized by the responses to the seen prompts: the mean of each attribute is near 0.
    attributes = sim.world.attributes[:36]
    assert np.abs(attributes.mean(0)).max() < 0.3
    truth = sim.weights @ attributes.T
    shown = [text for own in texts[:6] for text in own]
    np.testing.assert_allclose(sim.true_reward(shown), truth, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_samples_come_by_prompt_and_fill_the_last_batch(tmp_path):
    model = lm.load(FOLDER / "qwen2")
    # Its tokens are characters, and a system turn has many.
    model = model._replace(config=dataclasses.replace(model.config, max_length=128))
    arguments = {"seed": 0, "max_new_tokens": 4, "batch_size": 4}
    texts = sample_texts(model, ["a b", "c"], 3, **arguments)
    assert [len(row) for row in texts] == [3, 3]
    again = sample_texts(model, ["a b", "c"], 3, **arguments)
    assert texts == again
    for _ in range(2):
        assert sample_texts(model, ["a b", "c"], 3, kept=tmp_path, **arguments) == texts
    assert len(list(tmp_path.iterdir())) == 1
    instructed = sample_texts(model, ["a b", "c"], 3, system=["be brief"] * 2, **arguments)
    assert instructed != texts
    with pytest.raises(ValueError, match="Prompt 1: the prompt has"):
        sample_texts(model, ["a", "word " * 600], 1, seed=0, max_new_tokens=4)
