"""Programs compiled for GPUs and TPUs that this machine lacks: the counting, and the guard."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.devices import SET_UP, TARGETS
from benchmarks.gpu_programs import STORED, growth, measure
from benchmarks.hlo import count
from benchmarks.hlo_text import in_memory, num_bytes
from benchmarks.program_list import programs
from prefjax import logistic
from prefjax.logistic import blocks, one_pass
from prefjax.parallel import platform, tracing_for

LAYERS = 2
KEYS = sorted(json.loads(STORED.read_text())) if STORED.exists() else []

HLO = """
HloModule jit_f

%fused_computation (param_0: f32[100,8], param_1: s32[]) -> f32[1,8] {
  %param_0 = f32[100,8]{1,0} parameter(0)
  %param_1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice.1 = f32[1,8]{1,0} dynamic-slice(%param_0, %param_1, %zero), dynamic_slice_sizes={1,8}
}

%fused_update (param_0.1: f32[100,8], param_1.1: f32[1,8], param_2: s32[]) -> f32[100,8] {
  %param_0.1 = f32[100,8]{1,0} parameter(0)
  %param_1.1 = f32[1,8]{1,0} parameter(1)
  %param_2 = s32[] parameter(2)
  %zero.1 = s32[] constant(0)
  ROOT %write = f32[100,8]{1,0} dynamic-update-slice(%param_0.1, %param_1.1, %param_2, %zero.1)
}

%body (state: (s32[], f32[100,8])) -> (s32[], f32[100,8]) {
  %state = (s32[], f32[100,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %table = f32[100,8]{1,0} get-tuple-element(%state), index=1
  %row = f32[1,8]{1,0} fusion(%table, %i), kind=kLoop, calls=%fused_computation
  %new = f32[100,8]{1,0} fusion(%table, %row, %i), kind=kLoop, calls=%fused_update
  ROOT %out = (s32[], f32[100,8]{1,0}) tuple(%i, %new)
}

%condition (state.1: (s32[], f32[100,8])) -> pred[] {
  %state.1 = (s32[], f32[100,8]{1,0}) parameter(0)
  ROOT %always = pred[] constant(true)
}

ENTRY %main (a: f32[4,16], b: f32[16,2], t: f32[100,8]) -> f32[4,2] {
  %a = f32[4,16]{1,0} parameter(0)
  %b = f32[16,2]{1,0} parameter(1)
  %t = f32[100,8]{1,0} parameter(2)
  %n = s32[] constant(0)
  %start = (s32[], f32[100,8]{1,0}) tuple(%n, %t)
  %loop = (s32[], f32[100,8]{1,0}) while(%start), condition=%condition, body=%body BACKEND
  %dot.1 = f32[4,2]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %sum = f32[4,2]{1,0} all-reduce(%dot.1), replica_groups={}, to_apply=%condition
}
"""
ROUND = (4 + 2 * 32) + (4 + 2 * 32)  # a row read and written, a row read and written in place


def test_bytes_of_shapes():
    assert num_bytes("(f32[2,3]{1,0}, bf16[4], s8[5], pred[], u64[1])") == 24 + 8 + 5 + 1 + 8


def test_arrays_that_a_tpu_keeps_on_the_chip_are_no_traffic():
    on_chip = "f32[8,128]{1,0:T(8,128)S(1)}"
    assert num_bytes(f"({on_chip}, f32[2]{{0:T(128)}})") == 4 * 8 * 128 + 8
    assert in_memory(f"({on_chip}, f32[2]{{0:T(128)}})") == 8
    whole, taken = "f32[64,128]{1,0:T(8,128)}", "f32[8,128]{1,0:T(8,128)S(1)}"
    product = "f32[8,16]{1,0:T(8,128)}"
    text = f"""
ENTRY %main (a: f32[64,128], b: f32[128,16]) -> f32[8,16] {{
  %a = {whole} parameter(0)
  %b = f32[128,16]{{1,0:T(8,128)}} parameter(1)
  %start = (({whole}), {taken}, s32[]{{:S(2)}}) slice-start(%a), slice={{[0:8], [0:128]}}
  %done = {taken} slice-done(%start)
  ROOT %dot = {product} convolution(%done, %b), dim_labels=bf_io->bf
}}
"""
    once, _ = count(text)
    assert once.kernels == 2
    assert once.bytes == 4 * 8 * 128 + 4 * 128 * 16 + 4 * 8 * 16
    assert once.flops == 2 * 8 * 16 * 128


def test_a_program_is_counted_by_hand():
    once, loop = count(HLO.replace("BACKEND", ""))
    products = 4 * (64 + 32 + 8)
    assert (once.kernels, once.bytes, once.flops) == (2, products + 2 * 32, 2 * 8 * 16)
    assert once.collectives == [("all-reduce", 32)]
    assert (loop.kernels, loop.bytes) == (2, ROUND)


def test_rounds_that_are_known_are_multiplied():
    trips = ', backend_config={"known_trip_count":{"n":"5"}}'
    once, loop = count(HLO.replace(" BACKEND", trips))
    assert loop is None
    assert once.kernels == 2 + 5 * 2
    assert once.bytes == 4 * (64 + 32 + 8) + 2 * 32 + 5 * ROUND


def test_the_count_is_that_of_a_program_compiled_here():
    x = jnp.ones((64, 32))
    compiled = jax.jit(lambda x: jnp.sin(x) @ x.T).lower(x).compile()
    once, loop = count(compiled.as_text())
    assert loop is None
    assert once.flops == 2 * 64 * 64 * 32
    assert once.bytes >= x.nbytes + 4 * 64 * 64


def test_growth_beyond_a_twentieth_is_named():
    stored = {"p": {"once": {"bytes": 100, "kernels": 1}, "temporary": 50}}
    within = {"p": {"once": {"bytes": 105, "kernels": 9}, "temporary": 52}}
    beyond = {"p": {"once": {"bytes": 106, "kernels": 1}, "temporary": 50}}
    assert growth(within, stored) == []
    assert growth(beyond, stored) == ["p once bytes: 106, stored 100"]


def test_every_program_is_stored_and_exists():
    names = {key.split(" | ")[0] for key in KEYS}
    assert names == set(programs(LAYERS))


@pytest.mark.parametrize("key", KEYS)
def test_devices_exchange_the_gradient_of_the_head_and_nothing_else(key):
    stored = json.loads(STORED.read_text())[key]
    num_devices = int(key.rpartition(":")[2])
    exchanged = {"all-reduce": 4 * (1024 * 17 + 17 + 3)}  # of kernel and bias, and three sums
    is_training = key.startswith("training step") and num_devices > 1
    assert stored["once"]["exchanged"] == (exchanged if is_training else {})
    assert "round" not in stored or not stored["round"]["exchanged"]
    one = json.loads(STORED.read_text()).get(key.replace(f":{num_devices}", ":1"))
    if one and num_devices > 1:
        for name in one.keys() & {"once", "round"}:
            share = (stored[name]["floor"] * num_devices - one[name]["floor"]) / (num_devices - 1)
            # What is whole on every device, such as the weights of a language model.
            allowed = share + (one[name]["bytes"] - share) / num_devices
            # Products of the candidates of few rows are formed in parts and then summed.
            slack = 1.15 if "value head" in key else 1.1
            assert stored[name]["bytes"] <= slack * allowed


def test_a_program_may_be_traced_for_another_platform():
    assert platform() == "cpu"
    with tracing_for("cuda"):
        assert platform() == "cuda"
    assert platform() == "cpu"


def test_without_the_compilers_it_says_how_to_get_them():
    text = SET_UP.format(jax=jax.__version__)
    assert "jax-cuda13-plugin" in text
    assert "libtpu" in text


@pytest.mark.parametrize("scale", [0.0, 0.02, 30.0])
def test_the_solve_for_accelerators_is_the_solve(monkeypatch, scale):
    """The same optimum, curvature and status; separable, masked and absent answers included."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 6, 2)).astype(np.float32)
    label = rng.random((60, 6)).astype(np.float32)
    label[:20] = features[:20, :, 0] > 0
    weight = rng.integers(0, 3, (60, 6)).astype(np.float32)
    weight[5] = 0
    features[weight == 0] = label[weight == 0] = np.nan
    offset = rng.normal(size=(60, 6)).astype(np.float32)
    prior = {"mean": jnp.ones(2), "precision": scale * jnp.eye(2)}

    def solve(f, y, w, o):
        return logistic.fit(f, y, w, offset=o, **prior)

    here = jax.vmap(solve)(features, label, weight, offset)
    monkeypatch.setattr(blocks, "platform", lambda: "cuda")
    assert one_pass.fits(6, 2)
    there = jax.vmap(solve)(features, label, weight, offset)
    np.testing.assert_array_equal(here.status, there.status)
    ended = np.asarray(here.converged)
    chex.assert_trees_all_close(
        *(jax.tree.map(lambda x: x[ended], fit[:2]) for fit in (here, there)), rtol=1e-3, atol=1e-3
    )


@pytest.mark.gpu_compile
@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_no_program_moves_more_than_is_stored(key):
    name, layers, target = key.split(" | ")
    target, num_devices = target.split(":")
    if not TARGETS[target].is_installed:
        pytest.skip(
            f"no compiler for {target}: python -m benchmarks.gpu_programs says how to get it"
        )
    if int(layers.split()[0]) > LAYERS:
        pytest.skip("at full depth it compiles for minutes")
    stored = json.loads(STORED.read_text())[key]
    now = measure(programs(LAYERS)[name](), target, int(num_devices))
    assert growth(now, stored) == []
