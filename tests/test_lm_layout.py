"""Several devices compute what one does, and speak to each other only where they must."""

import math

import jax
import lm_tiny
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from lm_tiny import TOLERANCE, error, forward, generate

from prefjax import lm
from prefjax.lm.params import layer_shapes, outer_shapes

SUMS = "all-reduce("
OTHERS = ("all-gather(", "all-to-all(", "collective-permute(", "reduce-scatter(")


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))


@pytest.fixture(scope="module", params=lm_tiny.NAMES)
def tiny(request):
    model, stored = lm_tiny.load(request.param)
    return model, stored["tokens"], stored["mask"], stored["hidden"][-1]


def num_of(names, text):
    return sum(text.count(name) for name in names)


def test_tensor_parallel_is_one_device_with_two_sums_a_block(tiny, mesh):
    model, tokens, mask, expected = tiny
    stacked = model.config.architecture == "qwen3"
    params = lm.stack_layers(model.params) if stacked else model.params
    placed = lm.place(params, model.config, mesh, tensor_axis="model")
    tokens_, mask_ = lm.place_batch(tokens, mask, mesh, "data")
    program = forward.lower(placed, model.config, tokens_, mask_).compile()
    assert error(program(placed, tokens_, mask_), expected, mask) < TOLERANCE
    num_blocks = 1 if stacked else model.config.num_layers
    text = program.as_text()
    assert num_of([SUMS], text) == 2 * num_blocks + 1  # and one for the embedding
    assert num_of(OTHERS, text) == 0
    layers = placed["layers"] if stacked else placed["layers"][0]
    for name, axis in (("query", -2), ("down", -1)):
        whole, part = layers[name].shape, layers[name].addressable_shards[0].data.shape
        assert part[axis] * 2 == whole[axis]


def test_data_parallel_is_one_device_and_needs_no_messages(tiny, mesh):
    model, tokens, mask, expected = tiny
    placed = lm.place(model.params, model.config, mesh)
    tokens_, mask_ = lm.place_batch(tokens, mask, mesh, "data")
    program = forward.lower(placed, model.config, tokens_, mask_).compile()
    hidden = program(placed, tokens_, mask_)
    assert error(hidden, expected, mask) < TOLERANCE
    assert hidden.sharding.spec == PartitionSpec("data")
    assert num_of([SUMS, *OTHERS], program.as_text()) == 0


def test_generation_on_several_devices_draws_the_same(mesh):
    model, stored = lm_tiny.load("qwen3")
    tokens, mask = stored["tokens"][lm_tiny.LEFT], stored["mask"][lm_tiny.LEFT]
    placed = model._replace(params=lm.place(model.params, model.config, mesh, tensor_axis="model"))
    drawn = generate(placed, tokens, mask, max_new_tokens=12)
    assert np.array_equal(drawn.tokens, stored["greedy"])


def test_four_devices_hold_a_quarter_each_of_the_seven_billion():
    config = lm.QwenConfig(152064, 3584, 18944, 28, 28, 4, 128, tied=False)
    mesh = jax.make_mesh((4,), ("model",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    specs = lm.tensor_parallel(config, "model")

    def part(shape, spec):
        return NamedSharding(mesh, spec).shard_shape(shape)

    shapes = layer_shapes(config)
    layer = {name: part(shape, specs["layers"][0][name]) for name, shape in shapes.items()}
    assert layer["query"] == (7 * 128, 3584)
    assert layer["key_bias"] == (128,)
    assert layer["output"] == (3584, 896)
    assert layer["gate"] == (4736, 3584)
    assert layer["down"] == (3584, 4736)
    outer = {name: part(shape, specs[name]) for name, shape in outer_shapes(config).items()}
    assert outer["embedding"] == outer["head"] == (38016, 3584)
    held = 28 * sum(map(math.prod, layer.values())) + sum(map(math.prod, outer.values()))
    assert lm.num_params(config) == 7_615_616_512
    assert held < 1.0001 * lm.num_params(config) / 4


def test_a_layout_that_cannot_be_is_refused(mesh):
    model, stored = lm_tiny.load("qwen2")
    with pytest.raises(ValueError, match=r"the mesh has the axes \('data', 'model'\), not 'x'"):
        lm.place(model.params, model.config, mesh, tensor_axis="x")
    with pytest.raises(ValueError, match="4 devices do not divide num_kv_heads 2"):
        lm.place(model.params, model.config, mesh, tensor_axis="data")
    with pytest.raises(ValueError, match="4 devices do not divide a batch of 3"):
        lm.place_batch(stored["tokens"][:3], stored["mask"][:3], mesh, "data")
