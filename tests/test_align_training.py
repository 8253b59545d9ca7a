"""From a language model and a score of texts to trained heads."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from lm_tiny import FOLDER

from prefjax import lm
from prefjax.align import (
    DecodeConfig,
    TrainConfig,
    collect_trajectories,
    draw_responses,
    encode_prompts,
    fit_heads,
    read_trajectories,
    states_after,
)
from prefjax.align.training import centered


def test_samples_begin_with_the_last_token_of_their_prompt():
    model = lm.load(FOLDER / "qwen2")
    prompts = ["a b", "c"]
    data = collect_trajectories(
        jax.random.key(0), model, prompts, lambda texts: np.ones((len(texts), 1)), num_samples=2,
        decoding=DecodeConfig(2),
    )  # fmt: skip
    assert data.tokens.shape == data.mask.shape == data.states.shape[:2] == (4, 3)
    last = encode_prompts(model, prompts, 2).tokens[:, -1]
    np.testing.assert_array_equal(data.tokens[:, 0], np.repeat(last, 2))
    assert data.mask[:, 0].all()


def test_responses_are_those_of_the_sampler_and_their_states_those_of_one_reading():
    model = lm.load(FOLDER / "qwen2")
    # Its tokens are characters, and a system turn has many.
    model = model._replace(config=replace(model.config, max_length=128))
    asked = encode_prompts(model, ["a b", "c"], 3, "brief")
    assert asked.mask.sum() > encode_prompts(model, ["a b", "c"], 3).mask.sum()
    decoding, key = DecodeConfig(3), jax.random.key(1)
    drawn = draw_responses(key, model, asked, num_samples=3, decoding=decoding)
    assert drawn.tokens.shape == (6, 3)
    assert drawn.mask[:, 0].all()
    assert (drawn.ended | drawn.mask.all(1)).all()
    data = read_trajectories(model, asked, drawn, np.zeros((6, 1)))
    whole = states_after(
        model.params, model.config, asked.repeated(3), drawn.tokens, drawn.mask
    )  # fmt: skip
    np.testing.assert_allclose(data.states[data.mask], np.asarray(whole)[data.mask], atol=1e-5)


@pytest.mark.slow
def test_training_reads_what_was_drawn_and_explains_its_score():
    model = lm.load(FOLDER / "qwen2")
    seen = []

    def score(texts):
        seen.extend(texts)
        return np.array([[len(text), text.count("a")] for text in texts], np.float32)

    config = TrainConfig(num_steps=300, learning_rate=3e-3, width=32, rank=8)
    heads = fit_heads(
        jax.random.key(0), model, ["a b", "c", "b"], score, num_samples=40,
        decoding=DecodeConfig(8), config=config,
    )  # fmt: skip
    assert len(seen) == len(heads.features) == 120
    np.testing.assert_array_equal(heads.features[:, 0], [len(text) for text in seen])
    assert heads.explained.shape == (5, 2)
    long = "word " * 600
    with pytest.raises(ValueError, match="Prompt 1 has"):
        fit_heads(
            jax.random.key(0), model, ["a", long], score, num_samples=2, decoding=DecodeConfig(8)
        )


def test_centered_features_are_above_those_of_the_other_responses_to_the_prompt():
    features = np.array([[1.0], [3.0], [8.0], [5.0], [5.0], [5.0]])
    np.testing.assert_allclose(centered(features, 3)[:, 0], [-4.5, -1.5, 6, 0, 0, 0])
    np.testing.assert_array_equal(centered(features, 1), features)
