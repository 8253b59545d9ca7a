"""Devices in a line, and how arrays lie on them.

A leaf of a tree is either

    "replicated"   the same on every device
    "sharded"      cut along its leading axis, whose length is a multiple of the number of devices

Meshes have Auto axes, since under Explicit ones a gather from a sharded table is an error. With
`prefjax.parallel.step`, this is the only file that names a device axis.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Spec = Literal["replicated", "sharded"]

AXIS = "data"


def make_mesh(num_devices: int | None = None, *, local: bool = False) -> Mesh:
    """Makes a line of devices; all of them by default.

    Args:
        num_devices: How many of the devices, in their order. In a run of several processes, all.
        local: Only the devices of this process, for work that it does by itself.

    Raises:
        ValueError: There are fewer devices.
    """
    devices = jax.local_devices() if local else jax.devices()
    count = len(devices) if num_devices is None else num_devices
    if not 1 <= count <= len(devices):
        raise ValueError(f"{count} devices were asked for, there are {len(devices)}.")
    return jax.make_mesh((count,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices[:count])


def sharding(mesh: Mesh, spec: Spec) -> NamedSharding:
    """Gives the placement of an array that a spec names."""
    return NamedSharding(mesh, partition(spec))


def all_sum(tree: Any, axis: str | None) -> Any:
    """Sum of every leaf over the devices; the leaves themselves where ``axis`` is None."""
    return tree if axis is None else jax.lax.psum(tree, axis)


def padded_size(size: int, mesh: Mesh) -> int:
    """Rounds a size up to a multiple of the number of devices."""
    return -(-size // mesh.size) * mesh.size


def partition(spec: Spec) -> PartitionSpec:
    """Gives the placement that a spec names, as ``shard_map`` takes it."""
    return PartitionSpec(AXIS) if spec == "sharded" else PartitionSpec()


def place(tree: Any, specs: Any, mesh: Mesh) -> Any:
    """Host arrays, the same on every process, as global arrays.

    Args:
        tree: Arrays; a sharded leaf's leading axis is a multiple of the number of devices.
        specs: Placement, a tree prefix of ``tree``.
        mesh: The devices.
    """

    def put(spec, value):
        value = np.asarray(value)
        return jax.make_array_from_callback(
            value.shape, sharding(mesh, spec), lambda index: value[index]
        )

    return jax.tree.map(put, jax.tree.broadcast(specs, tree), tree)


def place_rows(
    rows_of: Callable[[int, int], np.ndarray], shape: Sequence[int], mesh: Mesh
) -> jax.Array:
    """Makes a sharded array of which every process computes only the rows of its own devices.

    Args:
        rows_of: ``rows_of(start, stop)`` gives rows of the leading axis.
        shape: Shape of the whole array.
        mesh: The devices.
    """

    def part(index):
        start, stop, _ = index[0].indices(shape[0])
        return rows_of(start, stop)

    return jax.make_array_from_callback(tuple(shape), sharding(mesh, "sharded"), part)


def own_rows(size: int, mesh: Mesh) -> list[int]:
    """Rows of a sharded leading axis of length ``size`` that lie on this process's devices."""
    per_device = size // mesh.size
    return [
        place * per_device + row
        for place, device in enumerate(mesh.devices.flat)
        if device.process_index == jax.process_index()
        for row in range(per_device)
    ]


def fetch(tree: Any) -> Any:
    """Global arrays as NumPy arrays, whole on every process."""

    def get(x):
        if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
            x = multihost_utils.process_allgather(x, tiled=True)
        return np.asarray(x)

    return jax.tree.map(get, tree)
