"""Heads, training and steered decoding on a tiny language model with random weights.

Prompts are three times token 0 and one other, so that attention to token 0, which thins out as a
response grows, tells the model where it is.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lm_tiny import FAST

from prefjax import lm
from prefjax.align import temporal
from prefjax.align.blockwise import decode_blockwise
from prefjax.align.decode import decode_advantage, decode_value, gains, step_kl
from prefjax.align.heads import (
    Moments,
    add_state,
    advantage,
    init_advantage,
    project_tokens,
    steered_advantage,
    summarize,
    summary,
    value,
)
from prefjax.align.samples import draw, pad_prompts, states_after
from prefjax.align.strength import find_beta
from prefjax.align.teach import explained_by_position
from prefjax.align.temporal import TrainConfig, Trajectories, td_targets

CONFIG = lm.QwenConfig(
    vocab_size=16, hidden_size=32, intermediate_size=48, num_layers=1, num_heads=2,
    num_kv_heads=1, head_dim=16, max_length=64, eos_ids=(1,),
)  # fmt: skip
LENGTH, PROMPT, BATCH, CANDIDATES = 24, 4, 64, 15
TRAIN = TrainConfig(
    td=0.95, num_steps=1000, learning_rate=3e-3, weight_decay=10.0, width=64, rank=16
)


def make_model():
    """Random weights, biases and gains included."""
    params = lm.init_params(jax.random.key(30), CONFIG, scale=0.15)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(31), len(leaves))
    noise = [0.1 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, [a + b for a, b in zip(leaves, noise, strict=True)])


def make_prompts():
    """Prompts of different length, padded on the left."""
    tokens = np.zeros((BATCH, PROMPT), np.int32)
    tokens[:, -1] = np.random.default_rng(0).integers(2, 16, BATCH)
    mask = np.arange(PROMPT)[None] >= (np.arange(BATCH) % 8 == 0)[:, None]
    return tokens, mask


def measure(drawn):
    """φ = (−length, how often token 5)."""
    fives = jnp.sum((drawn.tokens == 5) & drawn.mask, axis=1)
    return jnp.stack([-drawn.mask.sum(1), fives], axis=1).astype(jnp.float32)


class Study:
    """A model, samples of it, and heads trained on them."""

    def __init__(self):
        self.params, self.prompts = make_model(), make_prompts()
        parts = []
        for seed in range(8):
            drawn = self.plain(seed)
            states = _states(self.params, CONFIG, *self.prompts, drawn.tokens, drawn.mask)
            part = Trajectories(
                states=states,
                tokens=jnp.pad(drawn.tokens, [(0, 0), (1, 0)]),
                mask=jnp.pad(drawn.mask, [(0, 0), (1, 0)], constant_values=True),
                ended=drawn.ended,
                features=measure(drawn),
            )
            parts.append(jax.tree.map(np.asarray, part))
        self.data = jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
        self.head, self.losses = temporal.fit_value(jax.random.key(3), self.data, TRAIN)
        self.advantage, _ = temporal.fit_advantage(
            jax.random.key(4), self.data, self.head, self.params["embedding"], TRAIN
        )
        self.rows = project_tokens(self.advantage, self.params["embedding"])
        self.short = np.array([1 / self.data.features[:, 0].std(), 0.0], np.float32)

    def plain(self, seed, num_samples=1):
        return _draw(
            jax.random.key(seed), self.params, CONFIG, *self.prompts, max_new_tokens=LENGTH,
            num_samples=num_samples,
        )  # fmt: skip

    def by_value(self, weight, beta, head=None, seed=99):
        return _by_value(
            jax.random.key(seed), self.params, CONFIG, self.head if head is None else head,
            *self.prompts, everyone(weight), jnp.float32(beta), max_new_tokens=LENGTH,
            num_candidates=CANDIDATES,
        )  # fmt: skip

    def by_advantage(self, weight, beta, seed=99):
        return _by_advantage(
            jax.random.key(seed), self.params, CONFIG, self.advantage, self.rows, *self.prompts,
            everyone(weight), jnp.float32(beta), max_new_tokens=LENGTH, num_candidates=CANDIDATES,
        )  # fmt: skip


def everyone(weight):
    return jnp.broadcast_to(jnp.asarray(weight, jnp.float32), (BATCH, 2))


def mean_length(steered):
    return float(steered.mask.sum(1).mean())


STATIC = ("config", "max_new_tokens", "num_candidates", "sampling", "num_ids")
_by_value = jax.jit(decode_value, static_argnames=STATIC, compiler_options=FAST)
_by_advantage = jax.jit(decode_advantage, static_argnames=STATIC, compiler_options=FAST)
_forward = jax.jit(lm.forward, static_argnames="config", compiler_options=FAST)
_states = jax.jit(states_after, static_argnames="config", compiler_options=FAST)
_draw = jax.jit(
    draw, static_argnames=("config", "max_new_tokens", "num_samples"), compiler_options=FAST
)


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


def test_the_convention_of_states_before_tokens_does_not_learn_to_stop(study):
    data = study.data
    exists = np.roll(data.mask, -1, axis=1)
    exists[:, -1] = False
    head, _ = temporal.fit_value(jax.random.key(3), data._replace(mask=exists), TRAIN)
    got = study.by_value(study.short, 2.0, head=head)
    assert mean_length(got) > 0.7 * mean_length(study.plain(99))


def test_one_batch_mixes_users(study):
    other = np.array([0.0, 3.0], np.float32)
    weight = np.where(np.arange(BATCH)[:, None] % 2, study.short[None], other[None])
    mixed = study.by_value(weight, 2.0)
    alone = study.by_value(study.short, 2.0), study.by_value(other, 2.0)
    for row in range(BATCH):
        np.testing.assert_array_equal(mixed.tokens[row], alone[1 - row % 2].tokens[row])
    # And a row that nobody steers among others that are: the model's own tokens.
    weight[::4] = 0
    untouched = study.by_value(weight, 2.0)
    np.testing.assert_array_equal(untouched.tokens[::4], study.plain(99).tokens[::4])
    np.testing.assert_array_equal(untouched.kl[::4], 0)


def test_value_explains_more_towards_the_end(study):
    ended = study.data.ended
    data = jax.tree.map(lambda array: array[ended], study.data)
    explained = explained_by_position(
        value(study.head, summarize(data.states)), data.mask, data.features, num_bins=4
    )
    assert explained[-1, 0] > 0.5
    assert explained[-1, 0] > explained[0, 0] + 0.2
    perfect = np.repeat(data.features[:, None], data.mask.shape[1], axis=1)
    np.testing.assert_allclose(explained_by_position(perfect, data.mask, data.features, 4), 1.0)


def test_a_wanted_kl_is_reached(study):
    found = find_beta(lambda beta: float(study.by_advantage(study.short, beta).kl.mean()), 0.5)
    assert found.reached
    assert found.kl == pytest.approx(0.5, rel=0.05)


def test_find_beta_without_a_model():
    assert find_beta(lambda beta: beta**2, 9.0, tolerance=1e-4).beta == pytest.approx(3, rel=1e-3)
    assert find_beta(lambda beta: 1 / 0, 0.0).beta == 0
    capped = find_beta(lambda beta: min(beta, 1.0), 2.0)
    assert not capped.reached
    assert capped.kl == 1.0
    with pytest.raises(ValueError, match="negative"):
        find_beta(lambda beta: beta, -1.0)


@pytest.mark.parametrize("td", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("ended", [True, False])
def test_td_targets_are_the_mixture_of_n_step_returns(td, ended):
    rng = np.random.default_rng(0)
    values, features = rng.normal(size=(6, 2)).astype(np.float32), np.array([3.0, -1.0], np.float32)
    mask = np.arange(6) < 4
    got = td_targets(np.where(mask[:, None], values, np.nan), mask, np.array(ended), features, td)
    final = features if ended else values[3]
    for t in range(4):
        # From state t the n-step return is V(s_{t+n}), or the final reward beyond the last state.
        returns = [values[t + n] if t + n <= 3 else final for n in range(1, 5 - t)]
        want = td ** len(returns[:-1]) * returns[-1]
        want = want + sum((1 - td) * td**n * r for n, r in enumerate(returns[:-1]))
        np.testing.assert_allclose(got[t], want, rtol=1e-5)


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


def test_mixed_advantage_is_the_weighted_sum_of_the_factors():
    inputs = Moments(jnp.full(64, 0.3), jnp.full(64, 2.0))
    head = init_advantage(jax.random.key(0), 32, inputs, jnp.array([1.0, 2.0, 0.5]), rank=4)
    state = jax.random.normal(jax.random.key(1), (3, 4, 64))
    head = head._replace(params={**head.params, "state": state})
    x = jax.random.normal(jax.random.key(2), (64,))
    tokens = project_tokens(head, jax.random.normal(jax.random.key(3), (6, 32)))
    weight = jnp.array([0.3, -1.0, 2.0])
    every = jax.vmap(lambda token: advantage(head, x, token))(tokens)
    np.testing.assert_allclose(
        steered_advantage(head, x, tokens, weight), every @ weight, rtol=1e-4, atol=1e-5
    )


def test_a_summary_step_by_step_is_that_of_the_whole_response():
    states = jax.random.normal(jax.random.key(0), (3, 5, 8)) + 1.0
    whole, total = summarize(states), jnp.zeros((3, 8))
    for t in range(5):
        total = add_state(total, states[:, t])
        np.testing.assert_allclose(summary(states[:, t], total), whole[:, t], rtol=1e-5, atol=1e-6)
    # It is the sum of what came before, not of what follows.
    cut = summarize(states.at[:, 3:].set(jnp.nan))
    np.testing.assert_array_equal(cut[:, :3], whole[:, :3])
    np.testing.assert_allclose(whole[..., :8].mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(100 * whole[:, 4, 8:], whole[..., :8].sum(1), atol=1e-5)


def test_prompts_that_do_not_fit_and_rewards_that_are_not_finite_are_named(study):
    with pytest.raises(ValueError, match=r"Prompt 1 has 50 tokens.*between 1 and 40"):
        pad_prompts([[1, 2], [3] * 50], CONFIG, LENGTH)
    with pytest.raises(ValueError, match="Prompt 0 has 0 tokens"):
        pad_prompts([[]], CONFIG, LENGTH)
    tokens, mask = pad_prompts([[1, 2], [3, 4, 5]], CONFIG, LENGTH)
    np.testing.assert_array_equal(tokens[mask], [1, 2, 3, 4, 5])

    with pytest.raises(ValueError, match="No prompts"):
        pad_prompts([], CONFIG, LENGTH)

    with pytest.raises(ValueError, match=r"512 responses were drawn.*got shape \(3, 2\)"):
        temporal.fit_value(jax.random.key(0), study.data._replace(features=np.ones((3, 2))), TRAIN)
    features = study.data.features.copy()
    features[7, 1] = np.nan
    with pytest.raises(ValueError, match="Response 7 has a reward that is not finite"):
        temporal.fit_value(jax.random.key(0), study.data._replace(features=features), TRAIN)


def naive_greedy(study, head, row, weight, beta, steps):
    """Most likely steered tokens by one whole forward pass for every candidate."""
    prompt, mask = (array[row] for array in study.prompts)
    sequence, kl = list(prompt[mask]), 0.0

    def summarized(tokens):
        padded = np.zeros((1, PROMPT + steps + 1), np.int32)
        padded[0, : len(tokens)] = tokens
        exists = np.arange(padded.shape[1])[None] < len(tokens)
        states = _forward(study.params, CONFIG, padded, exists)[0, : len(tokens)]
        return states[-1], summarize(states[mask.sum() - 1 :])[-1]

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
    got = _by_value(
        jax.random.key(0), study.params, CONFIG, study.head, *study.prompts, everyone(weight),
        jnp.float32(1.5), max_new_tokens=6, num_candidates=4,
        sampling=lm.SamplingConfig(temperature=0.0),
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
        fresh = states_after(params, CONFIG, tokens, mask, new, np.ones(new.shape, bool))
        return jnp.stack(kept, axis=1), fresh[:, 1:]

    kept, fresh = both(study.params)
    np.testing.assert_allclose(kept, fresh, atol=1e-5)


@pytest.mark.slow
def test_blockwise_is_the_model_itself_without_weights_and_better_with_them(study):
    decode = jax.jit(
        decode_blockwise,
        static_argnames=("config", "max_new_tokens", "block_length", "num_continuations"),
        compiler_options=FAST,
    )

    def run(weight, block_length):
        return decode(
            jax.random.key(99), study.params, CONFIG, study.head, *study.prompts,
            everyone(weight), max_new_tokens=LENGTH, block_length=block_length,
            num_continuations=4,
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
    prompt, prompt_mask = (np.repeat(array, 4, axis=0) for array in study.prompts)
    states = states_after(study.params, CONFIG, prompt, prompt_mask, base.tokens, base.mask)
    last = np.asarray(base.mask.sum(1))
    score = value(study.head, summarize(states)[np.arange(len(last)), last]) @ study.short
    best = np.arange(BATCH) * 4 + np.asarray(score).reshape(BATCH, 4).argmax(1)
    agree = (np.asarray(whole.tokens) == np.asarray(base.tokens)[best]).all(axis=1)
    assert agree.mean() > 0.95
    with pytest.raises(ValueError, match="no multiple"):
        decode_blockwise(
            jax.random.key(0), study.params, CONFIG, study.head, *study.prompts,
            everyone((0.0, 0.0)), max_new_tokens=10, block_length=4,
        )  # fmt: skip
