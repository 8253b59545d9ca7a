"""Steered decoding by either head, and by blocks, on a tiny language model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from align_tiny import (
    BATCH,
    CONFIG,
    DECODING,
    LENGTH,
    PROMPT,
    Study,
    by_value_program,
    everyone,
    mean_length,
)
from lm_tiny import FAST

from prefjax import lm
from prefjax.align import DecodeConfig, decode_blockwise, find_beta, states_after
from prefjax.align.decode import gains, step_kl
from prefjax.align.heads import summarize, value

forward = jax.jit(lm.forward, static_argnames="config", compiler_options=FAST)


@pytest.fixture(scope="module")
def study():
    return Study()


@pytest.mark.parametrize("kind", ["by_value", "by_advantage"])
@pytest.mark.parametrize(("weight", "beta"), [((1.0, 1.0), 0.0), ((0.0, 0.0), 2.0)])
def test_no_steering_is_the_model_itself_bit_for_bit(study, kind, weight, beta):
    base, got = study.plain(99), getattr(study, kind)(weight, beta)
    for name in ("tokens", "mask", "ended"):
        np.testing.assert_array_equal(getattr(got, name), getattr(base, name))
    np.testing.assert_array_equal(got.kl, 0.0)


@pytest.mark.parametrize("kind", ["by_value", "by_advantage"])
def test_steering_to_short_responses_shortens_them(study, kind):
    base, short = study.plain(99), getattr(study, kind)(study.short, 2.0)
    assert mean_length(short) < 0.7 * mean_length(base)
    assert (short.kl > 0).all()
    long = getattr(study, kind)(-study.short, 2.0)
    assert mean_length(long) > 1.1 * mean_length(base)


def test_one_batch_mixes_users(study):
    other = np.array([0.0, 3.0], np.float32)
    weight = np.where(np.arange(BATCH)[:, None] % 2, study.short[None], other[None])
    mixed = study.by_value(weight, 2.0)
    alone = study.by_value(study.short, 2.0), study.by_value(other, 2.0)
    for row in range(BATCH):
        np.testing.assert_array_equal(mixed.tokens[row], alone[1 - row % 2].tokens[row])
    # And a row without steering among others with it: the model's own tokens.
    weight[::4] = 0
    untouched = study.by_value(weight, 2.0)
    np.testing.assert_array_equal(untouched.tokens[::4], study.plain(99).tokens[::4])
    np.testing.assert_array_equal(untouched.kl[::4], 0)


@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, 1])
def test_heads_read_the_layer_that_is_named(study, layer):
    """Layer 1 is the last of this model; layer 0 is another state, in training as in decoding."""
    decoding = dataclasses.replace(DECODING, layer=layer)
    last = dataclasses.replace(decoding, layer=None)
    weights = everyone(study.short)
    arguments = jax.random.key(5), study.params, CONFIG, study.head, study.prompts, weights
    for steer in (
        lambda how: by_value_program(*arguments, jnp.float32(1.0), decoding=how),
        lambda how: decode_blockwise(*arguments, block_length=8, decoding=how),
    ):
        named, other = steer(decoding), steer(last)
        is_same = np.array_equal(named.tokens, other.tokens)
        assert is_same == (layer == 1)
    if layer == 0:
        states = states_after(
            study.params, CONFIG, study.prompts, named.tokens, named.mask, layer=layer
        )
        embedded = np.asarray(study.params["embedding"][named.tokens])
        real = np.asarray(named.mask)
        np.testing.assert_allclose(np.asarray(states)[:, 1:][real], embedded[real], atol=1e-6)


def test_a_wanted_kl_is_reached(study):
    result = find_beta(lambda beta: float(study.by_advantage(study.short, beta).kl.mean()), 0.5)
    assert result.converged
    assert result.kl == pytest.approx(0.5, rel=0.05)


def test_find_beta_without_a_model():
    assert find_beta(lambda beta: beta**2, 9.0, tolerance=1e-4).beta == pytest.approx(3, rel=1e-3)
    assert find_beta(lambda beta: 1 / 0, 0.0).beta == 0
    capped = find_beta(lambda beta: min(beta, 1.0), 2.0)
    assert not capped.converged
    assert capped.kl == 1.0
    with pytest.raises(ValueError, match="negative"):
        find_beta(lambda beta: beta, -1.0)


def test_step_kl_is_the_divergence_of_the_two_distributions():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=12)
    gain = np.where(np.arange(12) < 5, rng.normal(size=12), 0.0)
    p, q = (np.exp(x) / np.exp(x).sum() for x in (logits, logits + gain))
    got = step_kl(np.log(p[:5]).astype(np.float32), gain[:5].astype(np.float32))
    assert float(got) == pytest.approx(np.sum(q * np.log(q / p)), rel=1e-4)
    assert float(step_kl(np.log(p[:5]).astype(np.float32), np.zeros(5, np.float32))) == 0.0


def test_gains_are_centered_over_what_may_be_drawn():
    scores = jnp.array([1.0, 3.0, jnp.nan])
    got = gains(scores, jnp.array([True, True, False]), jnp.float32(2.0))
    np.testing.assert_allclose(got, [-2.0, 2.0, 0.0])


def naive_greedy(study, head, row, weight, beta, steps):
    """Most likely steered tokens by one whole forward pass for every candidate."""
    prompt, mask = (array[row] for array in study.prompts)
    sequence, kl = list(prompt[mask]), 0.0

    def summarized(tokens):
        padded = np.zeros((1, PROMPT + steps + 1), np.int32)
        padded[0, : len(tokens)] = tokens
        exists = np.arange(padded.shape[1])[None] < len(tokens)
        states = forward(study.params, CONFIG, padded, exists)[0, : len(tokens)]
        start = mask.sum() - 1
        embedded = study.params["embedding"][jnp.asarray(tokens[start:])]
        return states[-1], summarize(states[start:], embedded)[-1]

    for _ in range(steps):
        scores = np.asarray(lm.logits(study.params, CONFIG, summarized(sequence)[0]), np.float64)
        top = np.argsort(-scores)[:4]
        q = np.array([value(head, summarized([*sequence, int(a)])[1]) @ weight for a in top])
        gain = np.zeros(16)
        gain[top] = beta * (q - q.mean())
        p, tilted = (np.exp(x) / np.exp(x).sum() for x in (scores, scores + gain))
        kl += np.sum(tilted * np.log(tilted / p))
        sequence.append(int(np.argmax(scores + gain)))
        if sequence[-1] == 1:
            break
    return sequence[mask.sum() :], kl


@pytest.mark.slow
def test_cached_decoding_is_the_naive_loop(study):
    weight = np.array([0.2, 1.0], np.float32)
    got = by_value_program(
        jax.random.key(0), study.params, CONFIG, study.head, study.prompts, everyone(weight),
        jnp.float32(1.5),
        decoding=DecodeConfig(6, lm.SamplingConfig(temperature=0.0), num_candidates=4),
    )  # fmt: skip
    for row in (0, 1, 5):
        tokens, kl = naive_greedy(study, study.head, row, weight, 1.5, 6)
        assert np.asarray(got.tokens[row])[np.asarray(got.mask[row])].tolist() == tokens
        assert float(got.kl[row]) == pytest.approx(kl, rel=1e-3, abs=1e-5)


def test_the_kept_state_is_that_of_a_fresh_forward_pass(study):
    tokens, mask = study.prompts
    chosen = np.random.default_rng(2).integers(0, 5, (3, BATCH))
    candidates = np.random.default_rng(3).integers(2, 16, (3, BATCH, 5)).astype(np.int32)

    @jax.jit
    def both(params):
        _, cache = lm.prefill(params, CONFIG, tokens, mask, PROMPT + 8)
        kept = []
        for tried, choice in zip(candidates, chosen, strict=True):
            states, cache = lm.try_candidates(params, CONFIG, cache, tried, np.ones(BATCH, bool))
            cache = lm.keep(cache, 5, choice)
            kept.append(states[np.arange(BATCH), choice])
        new = np.take_along_axis(candidates, chosen[:, :, None], axis=2)[:, :, 0].T
        fresh = states_after(params, CONFIG, study.prompts, new, np.ones(new.shape, bool))
        return jnp.stack(kept, axis=1), fresh[:, 1:]

    kept, fresh = both(study.params)
    np.testing.assert_allclose(kept, fresh, atol=1e-5)


@pytest.mark.slow
def test_blockwise_is_the_model_itself_without_weights_and_better_with_them(study):
    decode = jax.jit(
        decode_blockwise,
        static_argnames=("config", "block_length", "num_continuations", "decoding"),
        compiler_options=FAST,
    )

    def run(weight, block_length):
        return decode(
            jax.random.key(99), study.params, CONFIG, study.head, study.prompts,
            everyone(weight), block_length=block_length, num_continuations=4, decoding=DECODING,
        )  # fmt: skip

    base = study.plain(99, num_samples=4)
    first = run((0.0, 0.0), 8)
    np.testing.assert_array_equal(first.tokens, base.tokens[::4])
    np.testing.assert_array_equal(first.mask, base.mask[::4])
    steered = run(study.short, 8)
    assert mean_length(steered) < 0.8 * mean_length(first)
    assert (steered.kl > 0).all()

    # One block as long as the response is best-of-4 by the value head.
    whole = run(study.short, LENGTH)
    prompts = study.prompts.repeated(4)
    states = states_after(study.params, CONFIG, prompts, base.tokens, base.mask)
    last = np.asarray(base.mask.sum(1))
    read = np.concatenate([prompts.tokens[:, -1:], base.tokens], axis=1)
    x = summarize(states, study.params["embedding"][read])
    score = value(study.head, x[np.arange(len(last)), last]) @ study.short
    best = np.arange(BATCH) * 4 + np.asarray(score).reshape(BATCH, 4).argmax(1)
    agree = (np.asarray(whole.tokens) == np.asarray(base.tokens)[best]).all(axis=1)
    assert agree.mean() > 0.95
    with pytest.raises(ValueError, match="no multiple"):
        decode_blockwise(
            jax.random.key(0), study.params, CONFIG, study.head, study.prompts,
            everyone((0.0, 0.0)), block_length=4, decoding=DecodeConfig(10),
        )  # fmt: skip
