"""What heads read, how they are trained, and what they refuse."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from align_tiny import CONFIG, LENGTH, TRAIN, Study, mean_length

from prefjax.align import temporal
from prefjax.align.heads import (
    Moments,
    advantage,
    increment,
    init_advantage,
    project_tokens,
    steered_advantage,
    summarize,
    summary,
    value,
)
from prefjax.align.samples import pad_prompts
from prefjax.align.temporal import summaries, td_targets
from prefjax.align.training import explained_by_position


@pytest.fixture(scope="module")
def study():
    return Study()


def test_the_convention_of_states_before_tokens_does_not_learn_to_stop(study):
    data = study.data
    exists = np.roll(data.mask, -1, axis=1)
    exists[:, -1] = False
    head, _ = temporal.fit_value(
        jax.random.key(3), data._replace(mask=exists), study.params["embedding"], TRAIN
    )
    got = study.by_value(study.short, 2.0, head=head)
    assert mean_length(got) > 0.7 * mean_length(study.plain(99))


def test_value_explains_more_towards_the_end(study):
    ended = study.data.ended
    data = jax.tree.map(lambda array: array[ended], study.data)
    explained = explained_by_position(
        value(study.head, summaries(data, study.params["embedding"])),
        data.mask,
        data.features,
        num_bins=4,
    )
    assert explained[-1, 0] > 0.5
    assert explained[-1, 0] > explained[0, 0] + 0.2
    perfect = np.repeat(data.features[:, None], data.mask.shape[1], axis=1)
    np.testing.assert_allclose(explained_by_position(perfect, data.mask, data.features, 4), 1.0)


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


def test_a_cut_response_teaches_its_score_unless_decoding_goes_on(study):
    cut = study.data._replace(ended=np.zeros_like(study.data.ended))
    short = replace(TRAIN, num_steps=200)
    start = jax.random.key(3), cut, study.params["embedding"]
    head, _ = temporal.fit_value(*start, short)
    whole, _ = temporal.fit_value(
        start[0], study.data._replace(ended=np.ones_like(cut.ended)), start[2], short
    )
    np.testing.assert_array_equal(head.params["skip"], whole.params["skip"])
    open_end, _ = temporal.fit_value(*start, replace(short, score_cut=False))
    x = summaries(cut, start[2])
    spread = [float(value(each, x)[:, :, 0].std()) for each in (head, open_end)]
    assert spread[1] < 0.1 * spread[0]  # without a single score there is nothing to learn


def test_mixed_advantage_is_the_weighted_sum_of_the_factors():
    inputs = Moments(jnp.full(96, 0.3), jnp.full(96, 2.0))
    head = init_advantage(jax.random.key(0), 32, inputs, jnp.array([1.0, 2.0, 0.5]), rank=4)
    state = jax.random.normal(jax.random.key(1), (3, 4, 96))
    constant = jax.random.normal(jax.random.key(4), (3, 4))
    head = head._replace(params={**head.params, "state": state, "constant": constant})
    x = jax.random.normal(jax.random.key(2), (96,))
    tokens = project_tokens(head, jax.random.normal(jax.random.key(3), (6, 32)))
    weight = jnp.array([0.3, -1.0, 2.0])
    every = jax.vmap(lambda token: advantage(head, x, token))(tokens)
    np.testing.assert_allclose(
        steered_advantage(head, x, tokens, weight), every @ weight, rtol=1e-4, atol=1e-5
    )


def test_a_summary_step_by_step_is_that_of_the_whole_response():
    states, embedded = jax.random.normal(jax.random.key(0), (2, 3, 5, 8)) + 1.0
    whole, total = summarize(states, embedded), jnp.zeros((3, 16))
    for t in range(5):
        total = total + increment(states[:, t], embedded[:, t])
        np.testing.assert_allclose(summary(states[:, t], total), whole[:, t], rtol=1e-5, atol=1e-6)
    # It is the sum of what came before, not of what follows.
    cut = summarize(states.at[:, 3:].set(jnp.nan), embedded.at[:, 3:].set(jnp.nan))
    np.testing.assert_array_equal(cut[:, :3], whole[:, :3])
    np.testing.assert_allclose(whole[..., :8].mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(100 * whole[:, 4, 8:16], whole[..., :8].sum(1), atol=1e-5)
    turned = summarize(embedded, states)
    np.testing.assert_allclose(whole[..., 16:], turned[..., 8:16], atol=1e-6)


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
        temporal.fit_value(
            jax.random.key(0),
            study.data._replace(features=np.ones((3, 2))),
            study.params["embedding"],
            TRAIN,
        )
    features = study.data.features.copy()
    features[7, 1] = np.nan
    with pytest.raises(ValueError, match="Response 7 has a reward that is not finite"):
        temporal.fit_value(
            jax.random.key(0),
            study.data._replace(features=features),
            study.params["embedding"],
            TRAIN,
        )
