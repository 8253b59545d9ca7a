"""Generation against stored continuations, a loop without a cache, and closed forms."""

import dataclasses

import jax
import jax.numpy as jnp
import lm_tiny
import numpy as np
import pytest
from lm_tiny import forward, generate

from prefjax import lm

NEW = 12


@pytest.fixture(scope="module", params=lm_tiny.NAMES)
def tiny(request):
    model, stored = lm_tiny.load(request.param)
    return model, stored["tokens"][lm_tiny.LEFT], stored["mask"][lm_tiny.LEFT], stored["greedy"]


@pytest.fixture(scope="module")
def qwen2():
    model, stored = lm_tiny.load("qwen2")
    return model, stored["tokens"][lm_tiny.LEFT], stored["mask"][lm_tiny.LEFT], stored["greedy"]


def test_greedy_tokens_are_those_of_transformers(tiny):
    model, tokens, mask, greedy = tiny
    forms = [model.params, lm.stack_layers(model.params)]
    for params in forms if model.config.architecture == "qwen3" else forms[:1]:
        drawn = generate(model._replace(params=params), tokens, mask, max_new_tokens=NEW)
        assert np.array_equal(drawn.tokens, greedy)
        assert np.asarray(drawn.mask).all()
        assert not np.asarray(drawn.ended).any()


def test_greedy_tokens_are_those_of_a_loop_without_a_cache(qwen2):
    model, tokens, mask, greedy = qwen2
    width = tokens.shape[1] + NEW
    for row in range(len(tokens)):
        text, real = np.zeros((1, width), np.int32), np.zeros((1, width), bool)
        length = mask[row].sum()
        text[0, :length] = tokens[row][mask[row]]
        for step in range(NEW):
            real[0, : length + step] = True
            hidden = forward(model.params, model.config, text, real)
            scores = lm.logits(model.params, model.config, lm.last_token(hidden, jnp.asarray(real)))
            token = int(jnp.argmax(scores))
            assert token == greedy[row, step]
            text[0, length + step] = token


def test_each_row_ends_by_itself(qwen2):
    model, tokens, mask, greedy = qwen2
    eos = (int(greedy[0, 2]), int(greedy[1, 5]))  # some row ends early, some later or never
    config = dataclasses.replace(model.config, eos_ids=eos)
    drawn = generate(model, tokens, mask, config=config, max_new_tokens=NEW)
    lengths = []
    for row, full in enumerate(greedy):
        ends = np.flatnonzero(np.isin(full, eos))
        length = ends[0] + 1 if ends.size else NEW
        expected = np.where(np.arange(NEW) < length, full, 0)
        assert np.array_equal(drawn.tokens[row], expected)
        assert np.asarray(drawn.mask)[row].sum() == length
        assert bool(drawn.ended[row]) == bool(ends.size)
        lengths.append(length)
    assert len(set(lengths)) > 1


def test_what_a_row_draws_does_not_depend_on_padding_or_other_rows(qwen2):
    model, tokens, mask, _ = qwen2
    settings = {"max_new_tokens": NEW, "sampling": lm.SamplingConfig(temperature=1.5, top_k=50)}
    drawn = generate(model, tokens, mask, key=3, **settings)
    again = generate(model, tokens, mask, key=3, **settings)
    assert np.array_equal(drawn.tokens, again.tokens)
    other = generate(model, tokens, mask, key=4, **settings)
    assert not np.array_equal(drawn.tokens, other.tokens)
    wide, wide_mask = lm.pad_left([tokens[row][mask[row]].tolist() for row in (0, 1)], 14)
    alone = generate(model, wide, wide_mask, key=3, **settings)
    assert np.array_equal(alone.tokens, drawn.tokens[:2])


def test_ids_that_the_tokenizer_lacks_are_never_drawn(qwen2):
    model, tokens, mask, greedy = qwen2
    num_ids = int(greedy.max())  # the largest token drawn is one that the tokenizer lacks
    drawn = generate(model, tokens, mask, max_new_tokens=NEW, num_ids=num_ids)
    first = np.argmax(greedy == num_ids, axis=1)
    for row, stop in enumerate(first):
        assert np.array_equal(drawn.tokens[row, :stop], greedy[row, :stop])
    assert int(drawn.tokens.max()) < num_ids


def test_a_hook_sees_the_state_and_the_best_tokens_and_changes_the_draw(qwen2):
    model, tokens, mask, greedy = qwen2

    def second_best(state, hidden, last, top_ids, logits):
        rows = jnp.arange(len(top_ids))
        again = lm.logits(model.params, model.config, hidden)
        state = {
            "calls": state["calls"] + 1,
            "gap": jnp.maximum(state["gap"], jnp.max(jnp.abs(again - logits))),
            "falling": state["falling"] & jnp.all(jnp.argsort(-logits, axis=1)[:, :3] == top_ids),
            "read": state["read"].at[:, state["calls"]].set(last),
        }
        return logits.at[rows, top_ids[:, 0]].set(-jnp.inf), state

    start = {"calls": jnp.int32(0), "gap": jnp.float32(0), "falling": jnp.array(True)}
    start["read"] = jnp.zeros((len(tokens), 4), jnp.int32)
    drawn = generate(
        model, tokens, mask, max_new_tokens=4, hook=second_best, hook_state=start, num_candidates=3
    )
    hidden = forward(model.params, model.config, tokens, mask)
    scores = lm.logits(model.params, model.config, hidden[:, -1])
    assert np.array_equal(drawn.tokens[:, 0], jax.lax.top_k(scores, 2)[1][:, 1])
    assert not np.array_equal(drawn.tokens[:, 0], greedy[:, 0])
    assert int(drawn.hook_state["calls"]) == 4
    read = np.concatenate([tokens[:, -1:], drawn.tokens[:, :3]], axis=1)
    assert np.array_equal(drawn.hook_state["read"], read)
    assert float(drawn.hook_state["gap"]) < lm_tiny.TOLERANCE
    assert bool(drawn.hook_state["falling"])


def test_a_hook_may_see_the_state_of_another_layer(qwen2):
    model, tokens, mask, greedy = qwen2

    def keep(state, hidden, last, top_ids, logits):
        step, seen = state
        return logits, (step + 1, seen.at[:, step].set(hidden))

    start = jnp.int32(0), jnp.zeros((len(tokens), 3, model.config.hidden_size))
    drawn = generate(model, tokens, mask, max_new_tokens=3, hook=keep, hook_state=start,
                     num_candidates=1, hook_layer=1)  # fmt: skip
    np.testing.assert_array_equal(drawn.tokens, greedy[:, :3])
    whole = np.concatenate([tokens, greedy[:, :2]], axis=1)
    real = np.pad(mask, [(0, 0), (0, 2)], constant_values=True)
    states = forward(model.params, model.config, whole, real, layer=1)
    gap = lm_tiny.error(drawn.hook_state[1], states[:, tokens.shape[1] - 1 :])
    assert gap < lm_tiny.TOLERANCE


def test_settings_that_cannot_be_are_refused(qwen2):
    model, tokens, mask, _ = qwen2
    for settings, sentence in (
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"max_new_tokens": 1, "num_ids": 300}, r"num_ids must lie in \[1, 264\], got 300"),
        ({"max_new_tokens": 1, "hook": print}, "a hook needs num_candidates"),
    ):
        with pytest.raises(ValueError, match=sentence):
            generate(model, tokens, mask, **settings)
    for settings in ({"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            lm.SamplingConfig(**settings)


SHARE = np.array([0.05, 0.4, 0.1, 0.3, 0.15], np.float32)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, SHARE),
        ({"temperature": 0.5}, SHARE**2 / (SHARE**2).sum()),
        ({"top_k": 2}, np.where(SHARE >= 0.3, SHARE, 0) / 0.7),
        ({"top_p": 0.6}, np.where(SHARE >= 0.3, SHARE, 0) / 0.7),
        ({"top_p": 0.72}, np.where(SHARE >= 0.15, SHARE, 0) / 0.85),
        ({"top_k": 3, "top_p": 0.9}, np.where(SHARE >= 0.15, SHARE, 0) / 0.85),
        ({"top_k": 3, "top_p": 0.8}, np.where(SHARE >= 0.3, SHARE, 0) / 0.7),
        ({"top_p": 1e-6}, np.where(SHARE >= 0.4, 1.0, 0.0)),
        ({"temperature": 0.0}, np.where(SHARE >= 0.4, 1.0, 0.0)),
    ],
)
def test_draws_follow_the_shares_that_are_left(settings, expected):
    config = lm.SamplingConfig(**settings)
    keys = jax.random.split(jax.random.key(0), 20000)
    draw = jax.jit(jax.vmap(lambda key: lm.sample(key, jnp.log(SHARE), config)))
    counts = np.bincount(np.asarray(draw(keys)), minlength=5) / 20000
    assert (counts[expected == 0] == 0).all()
    assert np.abs(counts - expected).max() < 0.015


def test_texts_are_continued_and_decoded(qwen2):
    model, *_ = qwen2
    key = jax.random.key(0)
    prompts = ["Which one?", "Häuser"]
    greedy = lm_tiny.GREEDY
    done = lm.complete(key, model, prompts, max_new_tokens=5, sampling=greedy)
    assert done.num_cut == 0
    rows, real = lm.pad_left([model.tokenizer.encode(prompt) for prompt in prompts], 12)
    drawn = generate(model, rows, real, max_new_tokens=5, num_ids=258)
    for row, tokens in enumerate(np.asarray(drawn.tokens)):
        assert done.texts[row] == model.tokenizer.decode(tokens, skip_special_tokens=True)
        assert done.num_tokens[row] == np.asarray(drawn.mask)[row].sum()
        assert done.ended[row] == bool(drawn.ended[row])
    long = lm.complete(key, model, ["x" * 100 + prompts[0]], max_new_tokens=54, sampling=greedy)
    short = lm.complete(key, model, prompts[:1], max_new_tokens=54, sampling=greedy)
    assert (long.num_cut, long.texts) == (1, short.texts)


def test_prompts_that_cannot_be_continued_are_refused(qwen2):
    model, *_ = qwen2
    key = jax.random.key(0)
    small = model._replace(config=dataclasses.replace(model.config, vocab_size=50))
    for wrong, prompts, new, sentence in (
        (model, [], 1, "No prompts"),
        (model, ["a", ""], 1, "Prompt 1 has no tokens"),
        (model, ["a", "b\udce4"], 1, "Prompt 1 has a lone surrogate"),
        (model, ["a"], 64, "leaves no room for a prompt in the window of 64 tokens"),
        (model._replace(tokenizer=None), ["a"], 1, "has no tokenizer"),
        (small, ["a"], 1, "they do not belong together"),
    ):
        with pytest.raises(ValueError, match=sentence):
            lm.complete(key, wrong, prompts, max_new_tokens=new)
    with pytest.raises(TypeError, match="not one string"):
        lm.complete(key, model, "ab", max_new_tokens=1)
    with pytest.raises(ValueError, match="row 0 has 3 tokens, more than 2"):
        lm.pad_left([[1, 2, 3]], 2)
