"""Simulated people served with given texts: the common part of the experiments on alignment."""

import dataclasses

import jax
import numpy as np
import pytest
from lm_tiny import FOLDER

from prefjax import lm
from prefjax.align.best_of_n import best_of_n
from prefjax.align.judges import Question, compare
from prefjax.align.simulation import Simulation, SimulationConfig, sample_texts
from prefjax.align.teach import centered, collect, encode_prompts, teach
from prefjax.align.temporal import TrainConfig
from prefjax.data.attributes import WorldConfig

CONFIG = SimulationConfig(
    world=WorldConfig(num_prompts=24, responses_per_prompt=12, pairs_per_user=120),
    num_inputs=32,
    num_own_inputs=16,
    num_questions=10,
)


def serve(sim, basis, weight, texts):
    """The best text of one pool for every person."""
    return np.asarray(best_of_n(sim.pool(basis, [texts]), weight).index)[:, 0]


@pytest.mark.slow
def test_ten_answers_choose_better_texts_than_the_population_does():
    sim = Simulation(CONFIG, seed=0)
    basis, dataset = sim.fit_pref(), sim.world.dataset
    known = sim.interview(basis)
    np.testing.assert_allclose(known.weights[:, 0] - basis.prior.mean[None], 0, atol=1e-6)
    spread = np.linalg.eigvalsh(known.covariance[:, [0, -1]]).sum(-1)
    assert (spread[:, 1] < spread[:, 0]).all()

    gains, wins = [], []
    for prompt in np.flatnonzero(sim.world.test_prompt):
        texts = [
            t for t, p in zip(dataset.responses, dataset.prompt_index, strict=True) if p == prompt
        ]
        truth = sim.true_reward(texts)
        people = np.arange(len(truth))
        mine = serve(sim, basis, known.weights[:, 10], texts)
        shared = serve(sim, basis, known.weights[:, 0], texts)
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
    assert own.head.shape == (16, 17)
    again = Simulation(CONFIG, seed=0)
    assert again.names == sim.names
    np.testing.assert_array_equal(again.interview(basis).weights, known.weights)


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
    told = sample_texts(
        jax.random.key(0), model, ["a b", "c"], 3, system=["be brief"] * 2, **arguments
    )
    assert told != texts
    with pytest.raises(ValueError, match="Prompt 1 has"):
        sample_texts(jax.random.key(0), model, ["a", "word " * 600], 1, max_new_tokens=4)


def test_samples_begin_with_the_last_token_of_their_prompt():
    model = lm.load(FOLDER / "qwen2")
    prompts = ["a b", "c"]
    data = collect(
        jax.random.key(0), model, prompts, lambda texts: np.ones((len(texts), 1)), num_samples=2,
        max_new_tokens=2,
    )  # fmt: skip
    assert data.tokens.shape == data.mask.shape == data.states.shape[:2] == (4, 3)
    last = encode_prompts(model, prompts, 2).tokens[:, -1]
    np.testing.assert_array_equal(data.tokens[:, 0], np.repeat(last, 2))
    assert data.mask[:, 0].all()


@pytest.mark.slow
def test_teaching_reads_what_was_drawn_and_explains_its_score():
    model = lm.load(FOLDER / "qwen2")
    seen = []

    def score(texts):
        seen.extend(texts)
        return np.array([[len(text), text.count("a")] for text in texts], np.float32)

    config = TrainConfig(num_steps=300, learning_rate=3e-3, width=32, rank=8)
    taught = teach(
        jax.random.key(0), model, ["a b", "c", "b"], score, num_samples=40, max_new_tokens=8,
        config=config,
    )  # fmt: skip
    assert len(seen) == len(taught.features) == 120
    np.testing.assert_array_equal(taught.features[:, 0], [len(text) for text in seen])
    assert taught.explained.shape == (5, 2)
    long = "word " * 600
    with pytest.raises(ValueError, match="Prompt 1 has"):
        teach(jax.random.key(0), model, ["a", long], score, num_samples=2, max_new_tokens=8)


def test_centered_features_are_above_those_of_the_other_responses_to_the_prompt():
    features = np.array([[1.0], [3.0], [8.0], [5.0], [5.0], [5.0]])
    np.testing.assert_allclose(centered(features, 3)[:, 0], [-4.5, -1.5, 6, 0, 0, 0])
    np.testing.assert_array_equal(centered(features, 1), features)
