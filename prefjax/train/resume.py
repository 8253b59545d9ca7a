"""Going on with a run that is on disk: its position, its layout, and what may have changed."""

import dataclasses
from pathlib import Path
from typing import Any

from prefjax.io import Store, differences, saved_identity
from prefjax.train import forms
from prefjax.train.layout import UserLayout
from prefjax.train.setup import Prepared, Source
from prefjax.train.state import TrainState


@dataclasses.dataclass
class Progress:
    """Where a run is, on the host, and how its evaluations went; saved beside the state.

    Attributes:
        clock: Steps taken over all epochs; the number of a checkpoint.
        epoch: As in the state.
        t: As in the state.
        best_nll: Least predictive loss seen.
        best_clock: When; 0 for never.
        num_worse: Evaluations since without a gain.
    """

    clock: int = 0
    epoch: int = 0
    t: int = 0
    best_nll: float | None = None
    best_clock: int = 0
    num_worse: int = 0


def layout_for(
    num_users: int, num_partitions: int, seed: int, folder: Path, *, grow: bool = False
) -> UserLayout:
    """Places of the users: those of the run in ``folder`` if it holds one, else new ones.

    Args:
        num_users: In the data.
        num_partitions: P of a new layout.
        seed: Of a new layout.
        folder: Of the run.
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


def resume(
    store: Store, prepared: Prepared, source: Source, *, grow: bool = False
) -> tuple[TrainState, Progress]:
    """State and progress of the latest good step, or of the start if there is none.

    Args:
        store: Of the run.
        prepared: The run as it would start.
        source: The judgments.
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
    shape = forms.template(prepared.state, layout.num_partitions, before.num_rows, mesh)
    saved = store.restore_latest_good(shape)
    if identity is not None:
        store.identity = now
    if saved is None:
        return prepared.state, Progress()
    state, progress = forms.from_disk(saved.state, mesh), Progress(**saved.about)
    if identity is not None:
        state = forms.grow_users(state, layout, source.mass(), mesh)
        progress = Progress(clock=progress.clock, epoch=progress.epoch + 1)
    return state, progress


def _layout(identity: dict[str, Any]) -> UserLayout:
    saved = identity["layout"]
    return UserLayout(tuple(saved["segments"]), saved["num_partitions"], saved["seed"])
