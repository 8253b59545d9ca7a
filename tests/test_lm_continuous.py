"""Many samples of many prompts: those of plain generation, whatever the batch; no row waits."""

import dataclasses

import jax
import lm_tiny
import numpy as np
import pytest

from prefjax import lm

NEW = 12


@pytest.fixture(scope="module")
def tiny():
    model, stored = lm_tiny.load("qwen2")
    tokens, mask = stored["tokens"][lm_tiny.LEFT], stored["mask"][lm_tiny.LEFT]
    prompts = [row[real].tolist() for row, real in zip(tokens, mask, strict=True)]
    return model, [*prompts, prompts[0][:1]], stored["greedy"]


def draw(model, prompts, num, *, config=None, key=0, **settings):
    settings = {"max_new_tokens": NEW, "batch_size": 3, "num_steps": 5, "prompts_at_once": 2,
                "sampling": lm.SamplingConfig(temperature=1.5)} | settings  # fmt: skip
    config = config or model.config
    return lm.draw_samples(jax.random.key(key), model.params, config, prompts, num, **settings)


def test_greedy_samples_are_those_of_plain_generation(tiny):
    model, prompts, greedy = tiny
    eos = (int(greedy[0, 2]), int(greedy[1, 5]))
    config = dataclasses.replace(model.config, eos_ids=eos)
    drawn = draw(model, prompts, 2, config=config, sampling=lm_tiny.GREEDY)
    for row, full in enumerate(greedy):
        ends = np.flatnonzero(np.isin(full, eos))
        length = ends[0] + 1 if ends.size else NEW
        for one in drawn.samples[row]:
            np.testing.assert_array_equal(one.tokens, full[:length])
            assert one.ended == bool(ends.size)
    assert drawn.num_tokens == sum(len(one.tokens) for some in drawn.samples for one in some)
    assert drawn.tokens_per_second > 0


def test_a_sample_depends_on_its_prompt_and_number_only(tiny):
    model, prompts, _ = tiny
    config = dataclasses.replace(model.config, eos_ids=tuple(range(0, 264, 12)))  # ends often
    drawn = draw(model, prompts, 5, config=config)
    lengths = {len(one.tokens) for some in drawn.samples for one in some}
    assert len(lengths) > 4
    other = draw(model, prompts[:2], 3, config=config, batch_size=7, num_steps=2, prompts_at_once=8)
    for ours, theirs in zip(other.samples, drawn.samples, strict=False):
        for one, same in zip(ours, theirs, strict=False):
            np.testing.assert_array_equal(one.tokens, same.tokens)
            assert one.ended == same.ended
            np.testing.assert_allclose(one.log_prob, same.log_prob, rtol=1e-4)
    assert len({one.tokens.tobytes() for one in drawn.samples[0]}) > 1
    again = draw(model, prompts[:1], 2, config=config, key=1)
    assert again.samples[0][0].tokens.tobytes() != drawn.samples[0][0].tokens.tobytes()


def test_log_probabilities_are_those_of_the_model(tiny):
    model, prompts, _ = tiny
    (one,) = draw(model, prompts[:1], 1, num_ids=258).samples[0]
    row = np.array([[*prompts[0], *one.tokens]], np.int32)
    hidden = lm_tiny.forward(model.params, model.config, row, np.ones_like(row, bool))
    scores = np.asarray(lm.logits(model.params, model.config, hidden))[0, :, :258]
    log_prob = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    start = len(prompts[0]) - 1
    expected = sum(log_prob[start + i, token] for i, token in enumerate(one.tokens))
    assert one.log_prob == pytest.approx(expected, rel=1e-4)


def test_what_cannot_be_drawn_is_refused(tiny):
    model, prompts, _ = tiny
    for wrong, sentence in (
        ([[1] * 60], "prompt 0 has 60 tokens; it must have between 1 and 52"),
        ([prompts[0], []], "prompt 1 has 0 tokens"),
    ):
        with pytest.raises(ValueError, match=sentence):
            draw(model, wrong, 1)
    with pytest.raises(ValueError, match="every number must be at least 1"):
        draw(model, prompts, 0)
    assert draw(model, [], 2).samples == []
