"""The cache: reading in parts, shared prompts and candidates equal reading the whole."""

import jax
import lm_tiny
import numpy as np
import pytest
from lm_tiny import FAST, TOLERANCE, error, extend, forward, prefill

from prefjax import lm

try_candidates = jax.jit(lm.try_candidates, static_argnums=1, compiler_options=FAST)
keep = jax.jit(lm.keep, static_argnums=1, compiler_options=FAST)
SLOTS = 20
MORE = np.array([[4, 8, 15, 16], [23, 42, 0, 0], [7, 7, 7, 7], [9, 0, 0, 0]], np.int32)
MORE_MASK = np.arange(4)[None] < np.array([4, 2, 4, 1])[:, None]
EVERY = np.ones((4, 1), bool)


@pytest.fixture(scope="module", params=["qwen2", "qwen3 stacked"])
def tiny(request):
    """A model, and prompts that were read: without padding, padded left, right, left."""
    name, *stacked = request.param.split()
    model, stored = lm_tiny.load(name)
    params = lm.stack_layers(model.params) if stacked else model.params
    tokens, mask = stored["tokens"], stored["mask"]
    hidden, cache = prefill(params, model.config, tokens, mask, SLOTS)
    assert error(hidden, stored["hidden"][-1], mask) < TOLERANCE
    return params, model.config, cache, tokens, mask


@pytest.mark.parametrize("of", [[0, 1, 2, 3], [1, 2, 1, 1]])
def test_reading_in_parts_is_reading_at_once_and_prompts_may_be_shared(tiny, of):
    params, config, cache, tokens, mask = tiny
    rows = lm.take_rows(cache, np.array(of))
    hidden, after = extend(params, config, rows, MORE, MORE_MASK)
    whole = np.concatenate([tokens[of], MORE], axis=1)
    whole_mask = np.concatenate([mask[of], MORE_MASK], axis=1)
    expected = forward(params, config, whole, whole_mask)
    assert error(hidden, expected[:, tokens.shape[1] :], MORE_MASK) < TOLERANCE
    assert after.num_tokens.tolist() == whole_mask.sum(1).tolist()
    assert int(after.used) == whole.shape[1]
    last = np.asarray(lm.last_token(hidden, MORE_MASK))
    assert error(last, lm.last_token(expected, whole_mask)) < TOLERANCE


def test_a_candidate_is_read_as_if_it_were_alone_and_kept(tiny):
    params, config, cache, *_ = tiny
    candidates = np.array([[11, 7, 30], [2, 2, 5], [90, 11, 8], [1, 2, 3]], np.int32)
    choice, going = np.array([2, 0, 1, 2]), np.array([True, True, True, False])
    states, tried = try_candidates(params, config, cache, candidates, going)
    for index in range(3):
        one = candidates[:, index : index + 1]
        alone, _ = extend(params, config, cache, one, going[:, None])
        assert error(states[:3, index], alone[:3, 0]) < TOLERANCE
    kept = keep(tried, 3, choice)
    chosen = np.take_along_axis(candidates, choice[:, None], axis=1)
    _, alone = extend(params, config, cache, chosen, going[:, None])
    for ours, theirs in zip(kept[1:], alone[1:], strict=True):
        assert np.array_equal(ours, theirs)
    after, _ = extend(params, config, kept, MORE, MORE_MASK)
    expected, _ = extend(params, config, alone, MORE, MORE_MASK)
    assert error(after, expected, MORE_MASK) < TOLERANCE
    forgotten = tried._replace(used=kept.used, num_tokens=kept.num_tokens)
    mistaken, _ = extend(params, config, forgotten, MORE, MORE_MASK)
    assert error(mistaken[:3], expected[:3]) > 100 * TOLERANCE


def test_a_tree_of_tokens_is_each_of_its_branches(tiny):
    params, config, cache, _, mask = tiny
    tree = np.tile(np.array([[10, 20, 30]], np.int32), (4, 1))  # 10, then 20 or 30
    among = np.tile(np.array([[[1, 0, 0], [1, 1, 0], [1, 0, 1]]], bool), (4, 1, 1))
    depth = np.array([[0, 1, 1]], np.int32)
    positions = mask.sum(1, dtype=np.int32)[:, None] + depth
    real = np.ones_like(tree, bool)
    states, _ = extend(params, config, cache, tree, real, positions=positions, among=among)
    root, after = extend(params, config, cache, tree[:, :1], EVERY)
    assert error(states[:, :1], root) < TOLERANCE
    for leaf in (1, 2):
        expected, _ = extend(params, config, after, tree[:, leaf : leaf + 1], EVERY)
        assert error(states[:, leaf : leaf + 1], expected) < TOLERANCE


def test_a_donated_cache_is_updated_in_place():
    model, stored = lm_tiny.load("qwen2")
    step = jax.jit(lm.extend, static_argnums=1, donate_argnums=2, compiler_options=FAST)
    _, cache = prefill(model.params, model.config, stored["tokens"], stored["mask"], SLOTS)
    places = {layer.key.unsafe_buffer_pointer() for layer in cache.layers}
    _, after = step(model.params, model.config, cache, MORE[:, :1], EVERY)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(cache.layers))
    assert {layer.key.unsafe_buffer_pointer() for layer in after.layers} == places


def test_too_few_slots_are_refused(tiny):
    params, config, _, tokens, mask = tiny
    with pytest.raises(ValueError, match="num_slots 8 is less than the 9 tokens"):
        lm.prefill(params, config, tokens, mask, 8)
