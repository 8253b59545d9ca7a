"""The decoder against stored outputs of transformers; the usual mistakes would show."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import lm_tiny
import numpy as np
import pytest
from flax import nnx
from lm_tiny import TOLERANCE, error, forward, hidden_states

from prefjax import lm


@pytest.fixture(scope="module", params=lm_tiny.NAMES)
def tiny(request):
    return lm_tiny.load(request.param)


@pytest.fixture(scope="module")
def qwen2():
    return lm_tiny.load("qwen2")


@pytest.mark.parametrize("stacked", [False, True])
def test_all_states_and_logits_are_those_of_transformers(tiny, stacked):
    model, stored = tiny
    params = lm.stack_layers(model.params) if stacked else model.params
    states = hidden_states(params, model.config, stored["tokens"], stored["mask"])
    for ours, theirs in zip(states, stored["hidden"], strict=True):
        assert error(ours, theirs, stored["mask"]) < TOLERANCE
        assert np.isfinite(ours).all()
    at_three = lm.logits(params, model.config, states[-1][:, 3])
    assert error(at_three, stored["logits"], stored["mask"][:, 3]) < TOLERANCE


def wrong_theta(model, stored):
    return dataclasses.replace(model.config, rope_theta=1e4), model.params, stored["mask"]


def wrong_eps(model, stored):
    return dataclasses.replace(model.config, norm_eps=1e-5), model.params, stored["mask"]


def forgotten_mask(model, stored):
    return model.config, model.params, np.ones_like(stored["mask"])


def forgotten_bias(model, stored):
    layers = [
        {name: 0 * array if "bias" in name else array for name, array in layer.items()}
        for layer in model.params["layers"]
    ]
    return model.config, {**model.params, "layers": layers}, stored["mask"]


def pre_norm_state(model, stored):
    """With an idle layer more, the state of the last one that counts is one before any norm."""
    idle = jax.tree.map(jnp.zeros_like, model.params["layers"][0])
    config = dataclasses.replace(model.config, num_layers=model.config.num_layers + 1)
    return config, {**model.params, "layers": [*model.params["layers"], idle]}, stored["mask"]


@pytest.mark.parametrize(
    ("mutate", "row"),
    [
        (wrong_theta, 0),
        (wrong_eps, 0),
        (forgotten_mask, 1),
        (forgotten_bias, 0),
        (pre_norm_state, 0),
    ],
)
def test_a_mistake_is_far_from_the_stored_outputs(qwen2, mutate, row):
    model, stored = qwen2
    config, params, mask = mutate(model, stored)
    layer = model.config.num_layers if mutate is pre_norm_state else -1
    ours = forward(params, config, stored["tokens"], mask, layer=layer)
    assert error(ours[row], stored["hidden"][-1][row], stored["mask"][row]) > 100 * TOLERANCE


@pytest.mark.parametrize(
    "scaling", [None, lm.RopeScaling("linear", 4.0), lm.RopeScaling("llama3", 4.0, 1.0, 4.0, 64)]
)
def test_another_scaling_of_the_rope_is_far_from_the_stored_outputs(scaling):
    model, stored = lm_tiny.load("llama")
    assert model.config.rope_scaling == lm.RopeScaling("llama3", 4.0, 1.0, 4.0, 16)
    config = dataclasses.replace(model.config, rope_scaling=scaling)
    ours = forward(model.params, config, stored["tokens"], stored["mask"])
    assert error(ours[0], stored["hidden"][-1][0]) > 100 * TOLERANCE


def test_the_last_token_is_found_by_the_mask(tiny):
    model, stored = tiny
    mask = stored["mask"]
    hidden = forward(model.params, model.config, stored["tokens"], mask)
    ours = lm.last_token(hidden, mask)
    last = [np.flatnonzero(row)[-1] for row in mask]
    theirs = stored["hidden"][-1][np.arange(len(mask)), last]
    assert error(ours, theirs) < TOLERANCE
    right_padded = 2
    assert error(hidden[right_padded, -1], theirs[right_padded]) > 100 * TOLERANCE
    by_id = stored["tokens"] != model.config.eos_ids[0]  # padding is the token that ends a text
    assert by_id[0].sum() < mask[0].sum()


def test_padding_changes_nothing(qwen2):
    model, stored = qwen2
    tokens = stored["tokens"][:1]
    alone = forward(model.params, model.config, tokens, np.ones_like(tokens, bool))
    width = tokens.shape[1]
    rng = np.random.default_rng(0)
    rows, mask = rng.integers(0, 264, (3, width + 5)).astype(np.int32), np.zeros((3, width + 5))
    for row, start in enumerate((0, 5, 2)):
        rows[row, start : start + width] = tokens
        mask[row, start : start + width] = 1
    hidden = forward(model.params, model.config, rows, mask.astype(bool))
    for row, start in enumerate((0, 5, 2)):
        assert error(hidden[row, start : start + width], alone[0]) < TOLERANCE


def test_a_named_layer_is_that_state_and_no_other_is_taken(qwen2):
    model, stored = qwen2
    for layer in (0, 1):
        one = forward(model.params, model.config, stored["tokens"], stored["mask"], layer=layer)
        assert error(one, stored["hidden"][layer], stored["mask"]) < TOLERANCE
    with pytest.raises(ValueError, match="layer 3 does not exist: the states are 0 to 2"):
        lm.forward(model.params, model.config, stored["tokens"], stored["mask"], layer=3)


def test_bfloat16_keeps_norms_softmax_and_logits_in_float32(qwen2):
    model, stored = qwen2
    params = jax.tree.map(lambda array: array.astype(jnp.bfloat16), model.params)
    hidden = forward(params, model.config, stored["tokens"], stored["mask"])
    assert hidden.dtype == jnp.bfloat16
    assert lm.logits(params, model.config, hidden).dtype == jnp.float32
    ours = np.asarray(hidden, np.float32)[stored["mask"]]
    theirs = stored["hidden"][-1][stored["mask"]]
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() > 0.99
    wide = jnp.full(4096, 1.0, jnp.bfloat16)  # a sum in bfloat16 would stop at 256
    assert float(lm.layers.rms_norm(wide, wide, 1e-6)[0]) == 1.0


@pytest.mark.parametrize(
    ("platform", "dtype", "dim", "num_tokens", "num_slots", "implementation"),
    [
        ("cpu", jnp.bfloat16, 64, 32, 64, "xla"),
        ("cuda", jnp.bfloat16, 64, 32, 64, "cudnn"),
        ("cuda", jnp.float16, 128, 2, 64, "cudnn"),
        ("cuda", jnp.float32, 64, 32, 64, "xla"),
        ("cuda", jnp.bfloat16, 160, 32, 64, "xla"),
        ("cuda", jnp.bfloat16, 36, 32, 64, "xla"),
        ("cuda", jnp.bfloat16, 64, 1, 64, "xla"),
        ("cuda", jnp.bfloat16, 64, 32, 63, "xla"),
    ],
)
def test_attention_takes_the_fused_kernel_where_there_is_one(
    monkeypatch, platform, dtype, dim, num_tokens, num_slots, implementation
):
    asked = []

    def attention(query, key, value, *, mask, implementation):
        asked.append(implementation)
        return query

    monkeypatch.setattr(lm.layers, "platform", lambda: platform)
    monkeypatch.setattr(jax.nn, "dot_product_attention", attention)
    query = jnp.zeros((1, num_tokens, 2, dim), dtype)
    past = lm.layers.KeyValue(*[jnp.zeros((1, 2, num_slots, dim), dtype)] * 2)
    lm.layers.attend(query, past, jnp.ones((1, num_tokens, num_slots), bool))
    assert asked == [implementation]


def test_fused_attention_is_given_the_same_problem(monkeypatch):
    keys = jax.random.split(jax.random.key(0), 4)
    query = jax.random.normal(keys[0], (3, 6, 8, 16), jnp.bfloat16)
    past = lm.layers.KeyValue(
        *(jax.random.normal(key, (3, 2, 10, 16), jnp.bfloat16) for key in keys[1:3])
    )
    mask = jax.random.bernoulli(keys[3], 0.5, (3, 6, 10)).at[:, :, 0].set(True)
    here = lm.layers.attend(query, past, mask)
    ordinary = jax.nn.dot_product_attention

    def attention(query, key, value, *, mask, implementation):
        assert implementation == "cudnn"
        assert mask.shape == (3, 1, 6, 10)  # one mask for all heads
        return ordinary(query, key, value, mask=mask)

    monkeypatch.setattr(lm.layers, "platform", lambda: "cuda")
    monkeypatch.setattr(jax.nn, "dot_product_attention", attention)
    there = lm.layers.attend(query, past, mask)
    chex.assert_trees_all_close(here, there, rtol=2e-2, atol=2e-2)


def test_rows_are_read_some_at_a_time_on_a_gpu(monkeypatch, qwen2):
    model, stored = qwen2
    tokens, mask = (np.tile(stored[name], (2, 1)) for name in ("tokens", "mask"))
    layers = (0, 2, -1)
    whole = lm.forward_layers(model.params, model.config, tokens, mask, layers)
    monkeypatch.setattr(lm.model, "platform", lambda: "cuda")
    monkeypatch.setattr(lm.model, "_TOKENS_AT_ONCE", len(tokens) // 2 * tokens.shape[1])
    in_parts = lm.forward_layers(model.params, model.config, tokens, mask, layers)
    chex.assert_trees_all_close(whole, in_parts, rtol=1e-5, atol=1e-5)


def test_the_module_is_the_same_model(qwen2):
    model, stored = qwen2
    module = lm.Qwen(model.config, model.params)
    again = nnx.merge(*nnx.split(module))
    assert jax.tree.all(jax.tree.map(np.array_equal, again.params, model.params))
    hidden = jax.jit(lambda tokens, mask: again(tokens, mask))(stored["tokens"], stored["mask"])
    assert error(hidden, stored["hidden"][-1], stored["mask"]) < TOLERANCE
    drawn = lm.Qwen(model.config, rngs=nnx.Rngs(0)).params
    shapes = jax.tree.map(jnp.shape, drawn)
    assert shapes == jax.tree.map(jnp.shape, model.params)
    with pytest.raises(ValueError, match="needs params, or rngs"):
        lm.Qwen(model.config)


def test_random_parameters_have_the_scale_and_count_they_should(qwen2):
    model, _ = qwen2
    params = lm.init_params(jax.random.key(0), model.config, scale=0.5)
    sizes = [array.size for array in jax.tree.leaves(params)]
    assert sum(sizes) == lm.num_params(model.config)
    assert abs(float(jnp.std(params["embedding"])) - 0.5) < 0.05
    assert set(np.asarray(params["norm"])) == {1.0}
    inner = sum(sizes) - params["embedding"].size
    assert lm.num_params(model.config, vocabulary=False) == inner
    both = lm.unstack_layers(lm.stack_layers(params))
    assert jax.tree.all(jax.tree.map(np.array_equal, both, params))
