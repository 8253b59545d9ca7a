"""Every backend and every number of devices gives the numbers of one device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from train_world import CONFIG, NUM_PARTITIONS, make_world, run, users_of_partition

from prefjax.parallel import (
    Specs,
    all_sum,
    data_parallel,
    fetch,
    make_mesh,
    own_rows,
    padded_size,
    place,
    place_rows,
)

NUM_STEPS = 50
COUNTS = {
    # As many comparisons in every partition; the last batch of an epoch is full.
    "even": [64] * NUM_PARTITIONS,
    # A partition without any, one with a single one, a last batch with gaps.
    "uneven": [64, 37, 0, 1, 50, 61, 12, 63],
}
FAST = {
    ("pmap", "sgd", 8, "uneven"),
    ("shard_map", "sgd", 2, "uneven"),
    ("jit", "sgd", 2, "uneven"),
}
MATRIX = [
    pytest.param(*case, marks=[] if case in FAST else [pytest.mark.slow])
    for case in [
        (backend, optimizer, num_devices, shape)
        for backend in ("pmap", "shard_map", "jit")
        for optimizer in ("sgd", "adam")
        for num_devices in (1, 2, 8)
        for shape in ("even", "uneven")
    ]
    + [("pmap", "sgd", 3, "uneven"), ("shard_map", "adam", 5, "even")]
]
REFERENCE = {}


def table_of(state):
    """What was learned, without the partitions that only fill the devices."""
    users = jax.tree.map(lambda x: np.asarray(x)[:NUM_PARTITIONS], state.users)
    return jax.tree.leaves((jax.tree.map(np.asarray, state.params), users))


@pytest.mark.parametrize(("backend", "optimizer", "num_devices", "shape"), MATRIX)
def test_the_trajectory_is_that_of_one_device(backend, optimizer, num_devices, shape):
    data = make_world(users=users_of_partition(COUNTS[shape]))
    if (optimizer, shape) not in REFERENCE:
        state, metrics = run(*data, num_steps=NUM_STEPS, optimizer=optimizer)
        REFERENCE[optimizer, shape] = table_of(state), metrics.loss
    expected, losses = REFERENCE[optimizer, shape]
    state, metrics = run(
        *data,
        num_steps=NUM_STEPS,
        optimizer=optimizer,
        backend=backend,
        num_devices=num_devices,
    )
    assert int(state.num_steps) >= NUM_STEPS
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(metrics.loss, losses, atol=1e-6)
    for ours, one in zip(table_of(state), expected, strict=True):
        np.testing.assert_allclose(ours, one, atol=1e-6, rtol=1e-6)


def gradient_step(weight, rows, axis):
    """Mean gradient of a replicated weight over sharded rows with NaN-free padding."""

    def loss(weight):
        present = rows[:, 1] > 0
        value = jnp.where(present, rows[:, 0], 0) * weight
        return jnp.sum(jnp.where(present, rows[:, 1], 0) * value)

    total, count = all_sum((jax.grad(loss)(weight), jnp.sum(rows[:, 1])), axis)
    return total / count, rows * 2


@pytest.mark.parametrize("backend", ["pmap", "shard_map", "jit"])
@pytest.mark.parametrize("num_devices", [1, 4])
def test_a_replicated_gradient_is_counted_once(backend, num_devices):
    rows = np.zeros((8, 2), np.float32)
    rows[:3] = [[1, 1], [2, 1], [6, 2]]
    rows[3:, 0] = np.nan
    mesh = make_mesh(num_devices)
    specs = Specs(inputs=("replicated", "sharded"), outputs=("replicated", "sharded"))
    call = data_parallel(gradient_step, specs, backend=backend, mesh=mesh)
    given = place((np.float32(1), rows), specs.inputs, mesh)
    gradient, doubled = fetch(call(*given))
    assert gradient == pytest.approx((1 + 2 + 2 * 6) / 4)
    np.testing.assert_array_equal(doubled, rows * 2)


def test_padding_and_placement():
    mesh = make_mesh(3)
    assert [padded_size(n, mesh) for n in (1, 3, 4)] == [3, 3, 6]
    assert own_rows(6, mesh) == list(range(6))
    table = np.arange(12.0, dtype=np.float32).reshape(6, 2)
    placed = place_rows(lambda start, stop: table[start:stop], table.shape, mesh)
    assert len(placed.sharding.device_set) == 3
    np.testing.assert_array_equal(fetch(placed), table)


def test_what_cannot_be_run_is_refused():
    specs = Specs(inputs=("sharded",), outputs="sharded")
    with pytest.raises(ValueError, match="9 devices were asked for, there are 8"):
        make_mesh(9)
    with pytest.raises(ValueError, match="one device, the mesh has 2"):
        data_parallel(lambda x, axis: x, specs, backend="single", mesh=make_mesh(2))
    assert CONFIG.num_slots(8) == 16
    with pytest.raises(ValueError, match="no multiple"):
        CONFIG.num_slots(7)
