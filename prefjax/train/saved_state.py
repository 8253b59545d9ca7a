"""Training state between the devices and the disk: one layout for any number of devices.

On the devices the user table has a multiple of the number of devices as partitions; on disk it has
the P partitions of its layout. What is saved is a copy, because the next step writes into the
memory of the state. The programs are compiled once for a size and a mesh.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from prefjax.parallel import padded_size, place, sharding
from prefjax.train.layout import UserLayout
from prefjax.train.state import STATE_SPECS, TrainState


def _shardings(num_partitions: int, mesh: Mesh) -> TrainState:
    """Placement of a state with P partitions: cut if the devices divide them, else whole."""
    whole = num_partitions % mesh.size == 0
    return jax.tree.map(lambda spec: sharding(mesh, spec if whole else "replicated"), STATE_SPECS)


@lru_cache(maxsize=8)
def _resize(num_partitions: int, more_rows: int, mesh: Mesh) -> Callable[[TrainState], TrainState]:
    """A program that copies a state with so many partitions, cut or filled, and more rows."""

    def resize(x: jax.Array) -> jax.Array:
        x = x[:num_partitions]
        more = [(0, num_partitions - x.shape[0]), (0, more_rows), *[(0, 0)] * (x.ndim - 2)]
        return jnp.copy(jnp.pad(x, more))

    def run(state: TrainState) -> TrainState:
        copied = jax.tree.map(jnp.copy, state)
        return copied._replace(users=jax.tree.map(resize, state.users))

    return jax.jit(run, out_shardings=_shardings(num_partitions, mesh))


def to_disk(state: TrainState, num_partitions: int, mesh: Mesh) -> TrainState:
    """Copies a state, with the P partitions of its layout and no others."""
    return _resize(num_partitions, 0, mesh)(state)


def from_disk(state: TrainState, mesh: Mesh) -> TrainState:
    """Places what `to_disk` gave under any mesh on the devices of another."""
    return _resize(padded_size(state.users.mass.shape[0], mesh), 0, mesh)(state)


def template(state: TrainState, num_partitions: int, num_rows: int, mesh: Mesh) -> TrainState:
    """Describes what `to_disk` gives for a table of this size: shapes, types and placement."""

    def shape(spec: str, where: Any, leaf: Any) -> jax.ShapeDtypeStruct:
        size = leaf.shape if spec == "replicated" else (num_partitions, num_rows, *leaf.shape[2:])
        return jax.ShapeDtypeStruct(size, leaf.dtype, sharding=where)

    specs = jax.tree.broadcast(STATE_SPECS, state)
    shardings = jax.tree.broadcast(_shardings(num_partitions, mesh), state)
    return jax.tree.map(shape, specs, shardings, state)


def grow_users(
    state: TrainState, layout: UserLayout, mass: Float[np.ndarray, "partition row"], mesh: Mesh
) -> TrainState:
    """Adds users to a state: they start at the prior, and nobody else changes.

    The data has changed, so the position moves to the start of the next epoch.

    Args:
        state: A state of the smaller layout, from `from_disk`.
        layout: The larger one, ``old_layout.grow(num_users)``.
        mass: Sum of the sample weights of every user's comparisons in the new data.
        mesh: The devices.

    Raises:
        ValueError: The layout has fewer rows than the state.
    """
    num_partitions, num_rows = state.users.mass.shape[:2]
    if layout.num_rows < num_rows:
        raise ValueError(
            f"The table has {num_rows} rows a partition, the layout {layout.num_rows}."
        )
    grown = _resize(num_partitions, layout.num_rows - num_rows, mesh)(state)
    padded = np.pad(mass, ((0, num_partitions - len(mass)), (0, 0))).astype(np.float32)
    position = np.asarray(int(state.epoch) + 1, np.int32), np.asarray(0, np.int32)
    epoch, t = place(position, "replicated", mesh)
    users = grown.users._replace(mass=place(padded, "sharded", mesh))
    return grown._replace(users=users, epoch=epoch, t=t)
