"""Training state between the devices and the disk: one form for any number of devices.

On the devices the user table has a multiple of the number of devices as partitions; on disk it has
the P partitions of its layout. What is saved is a copy, because the next step writes into the
memory of the state.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from prefjax.parallel import padded_size, place, sharding
from prefjax.train.layout import UserLayout
from prefjax.train.state import STATE_SPECS, TrainState


def _shardings(state: TrainState, num_partitions: int, mesh: Mesh) -> TrainState:
    whole = num_partitions % mesh.size == 0
    specs = jax.tree.broadcast(STATE_SPECS, state)
    return jax.tree.map(lambda spec: sharding(mesh, spec if whole else "replicated"), specs)


def to_disk(state: TrainState, num_partitions: int, mesh: Mesh) -> TrainState:
    """A copy of the state with the P partitions of the layout."""

    def cut(state: TrainState) -> TrainState:
        users = jax.tree.map(lambda x: x[:num_partitions], state.users)
        return jax.tree.map(jnp.copy, state._replace(users=users))

    return jax.jit(cut, out_shardings=_shardings(state, num_partitions, mesh))(state)


def from_disk(state: TrainState, mesh: Mesh) -> TrainState:
    """The state on the devices of a mesh, from `to_disk` under any mesh."""
    num_partitions = state.users.mass.shape[0]
    more = padded_size(num_partitions, mesh) - num_partitions

    def pad(state: TrainState) -> TrainState:
        users = jax.tree.map(
            lambda x: jnp.pad(x, [(0, more)] + [(0, 0)] * (x.ndim - 1)), state.users
        )
        return jax.tree.map(jnp.copy, state._replace(users=users))

    specs = jax.tree.broadcast(STATE_SPECS, state)
    shardings = jax.tree.map(lambda spec: sharding(mesh, spec), specs)
    return jax.jit(pad, out_shardings=shardings)(state)


def template(state: TrainState, num_partitions: int, num_rows: int, mesh: Mesh) -> TrainState:
    """Shapes, types and placement of what `to_disk` gives for a table of this size."""

    def shape(x, where, is_user):
        size = (num_partitions, num_rows, *x.shape[2:]) if is_user else x.shape
        return jax.ShapeDtypeStruct(size, x.dtype, sharding=where)

    specs = jax.tree.broadcast(STATE_SPECS, state)
    is_user = jax.tree.map(lambda spec: spec == "sharded", specs)
    return jax.tree.map(shape, state, _shardings(state, num_partitions, mesh), is_user)


def grow_users(
    state: TrainState, layout: UserLayout, mass: Float[np.ndarray, "partition row"], mesh: Mesh
) -> TrainState:
    """The state for more users: they start at the prior, nobody else changes.

    The data has changed, so the position moves to the start of the next epoch.

    Args:
        state: From `from_disk`, of the smaller layout.
        layout: ``old_layout.grow(num_users)``.
        mass: Weight of every user's answers in the new data.
        mesh: The devices.

    Raises:
        ValueError: The layout has fewer rows than the state.
    """
    num_partitions, num_rows = state.users.mass.shape[:2]
    more = layout.num_rows - num_rows
    if more < 0:
        raise ValueError(
            f"The table has {num_rows} rows a partition, the layout {layout.num_rows}."
        )
    padded = np.pad(mass, ((0, num_partitions - len(mass)), (0, 0)))

    def pad(state: TrainState) -> TrainState:
        users = jax.tree.map(
            lambda x: jnp.pad(x, [(0, 0), (0, more)] + [(0, 0)] * (x.ndim - 2)), state.users
        )
        return state._replace(users=users, epoch=state.epoch + 1, t=jnp.zeros_like(state.t))

    specs = jax.tree.broadcast(STATE_SPECS, state)
    shardings = jax.tree.map(lambda spec: sharding(mesh, spec), specs)
    grown = jax.jit(pad, out_shardings=shardings)(state)
    placed = place(padded.astype(np.float32), "sharded", mesh)
    return grown._replace(users=grown.users._replace(mass=placed))
