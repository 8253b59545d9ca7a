"""Going on with a run that is on disk: its position, its layout, and what may have changed."""

from pathlib import Path
from typing import Any

import numpy as np

from prefjax.io import Store, differences, saved_identity
from prefjax.parallel import place
from prefjax.train import saved_state
from prefjax.train.layout import UserLayout
from prefjax.train.progress import Progress
from prefjax.train.setup import VERSION, Prepared, Source
from prefjax.train.state import TrainState


def layout_for(
    num_users: int, num_partitions: int, seed: int, folder: Path, *, grow: bool = False
) -> UserLayout:
    """Gives the places of the users: those of the run in ``folder`` if it holds one, else new ones.

    Args:
        num_users: Number of users in the data.
        num_partitions: P, the number of partitions of a new layout.
        seed: Seed of the permutation of users in a new layout.
        folder: Folder of the run.
        grow: Whether the run's layout may be extended to ``num_users``.
    """
    fresh = UserLayout((num_users,), num_partitions, seed)
    identity = saved_identity(folder)
    if identity is None:
        return fresh
    saved = _layout(identity)
    if saved.num_users == num_users and saved.num_partitions == num_partitions:
        return saved
    return saved.grow(num_users) if grow else fresh


def saved_version(folder: Path | None) -> int:
    """Gives the version of the run in a folder; that of a new run if there is none."""
    identity = None if folder is None else saved_identity(folder)
    return VERSION if identity is None else int(identity.get("version", 1))


def resume(
    store: Store, prepared: Prepared, source: Source, *, grow: bool = False
) -> tuple[TrainState, Progress]:
    """Reads state and progress of the latest good step, or gives the start if there is none.

    Args:
        store: The checkpoints of the run.
        prepared: The run as it would start.
        source: The comparisons.
        grow: Whether the data may be new, with users beyond those of the saved run.

    Raises:
        ValueError: The saved run is another one, or its users are not the first ones of the data,
            by name; the message lists the fields.
    """
    mesh, layout = prepared.mesh, source.layout
    identity = saved_identity(store.folder) if grow else None
    before = layout if identity is None else _layout(identity)
    if identity is not None:
        fixed = {"data": "", "embeddings": "", "layout": identity["layout"]}
        names = source.user_names(before.num_users)
        if not (names and identity["user_names"]):
            fixed["user_names"] = ""
        changed = differences(
            {**identity, **fixed},
            {**store.identity, "user_names": names, **fixed},
        )
        steps = len(before.segments)
        if layout.segments[:steps] != before.segments or changed:
            raise ValueError(
                f"{store.folder} cannot be extended: the layout {layout.segments} does not begin "
                f"with {before.segments}, or other settings changed: {'; '.join(changed)}"
            )
        now, store.identity = store.identity, identity
    shape = saved_state.template(prepared.state, layout.num_partitions, before.num_rows, mesh)
    saved = store.restore_latest_good(shape)
    if identity is not None:
        store.identity = now
    if saved is None:
        return prepared.state, Progress()
    state, progress = saved_state.from_disk(saved.state, mesh), Progress(**saved.about)
    if identity is not None:
        state = saved_state.grow_users(state, layout, source.mass(), mesh)
        progress = Progress(clock=progress.clock, epoch=progress.epoch + 1)
    elif progress.t >= prepared.steps_per_epoch:  # begun when equal rows were not merged yet
        progress.end_epoch()
        epoch, t = place((np.int32(progress.epoch), np.int32(0)), "replicated", mesh)
        state = state._replace(epoch=epoch, t=t)
    return state, progress


def _layout(identity: dict[str, Any]) -> UserLayout:
    saved = identity["layout"]
    return UserLayout(tuple(saved["segments"]), saved["num_partitions"], saved["seed"])
