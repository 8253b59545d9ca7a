"""Steps of a run on disk: written while training goes on, verified before they are believed.

    <folder>/<step>/         state and meta as Orbax writes them, and manifest.json
    <folder>/quarantine/N/   a step that was damaged, never deleted
    <folder>/lock            which run holds the folder

Around Orbax's manager this adds what it leaves open: a checksum of every array, compared after
loading; a digest of every file; the fall back to the newest step that is good; the refusal of a
state that is not finite, of other settings, shapes or types than were saved; and errors of a write
in the background raised at the next `Store.check`.
"""

import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from prefjax.io._quarantine import QUARANTINE, quarantine
from prefjax.io.atomic import check_writable
from prefjax.io.checkpoint_folder import (
    DamagedError,
    damaged_steps,
    failed_write,
    list_steps,
    read_content,
)
from prefjax.io.digest import digest_json
from prefjax.io.integrity import checksums, describe, differences, is_finite, named_leaves
from prefjax.io.lock import FolderLock
from prefjax.io.manifest import check_manifest, has_manifest, write_manifest
from prefjax.io.peers import all_agree, barrier
from prefjax.io.retention import NewestAndBest


class Saved(NamedTuple):
    """A step that was read back.

    Attributes:
        step: Its number.
        state: The state, with the structure, types and placement that were asked for.
        about: What was saved beside it.
    """

    step: int
    state: Any
    about: Mapping[str, Any]


class Store:
    """The steps of one run; a context, closed with everything written.

    All processes of a run open it and call the same methods in the same order.

    Args:
        folder: Made if needed.
        identity: Settings and data that a resumed run must share, as JSON.
        keep: How many of the newest steps to keep, besides ``self.best_step``.

    Raises:
        OSError: The folder cannot be written.
        RuntimeError: Another run holds it.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any], *, keep: int = 3):
        self.folder = Path(folder).absolute()
        self.identity = json.loads(json.dumps(identity))
        self.best_step: int | None = None
        self._unlisted: int | None = None  # the step on disk whose manifest is not begun
        self._lock = None
        if jax.process_index() == 0:
            check_writable(self.folder, "checkpoints", "choose another folder")
            self._lock = FolderLock(self.folder)
        barrier("prefjax-open")
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="manifest")
        self._manifest: Future[None] | None = None
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=NewestAndBest(keep, lambda: self.best_step),
                cleanup_tmp_directories=True,
                enable_async_checkpointing=True,
                save_root_metadata=False,
                lightweight_initialize=True,
            ),
        )

    def steps(self) -> list[int]:
        """Numbers of the complete steps, oldest first."""
        return list_steps(self.folder)

    def save(self, step: int, state: Any, about: Mapping[str, Any]) -> None:
        """Writes a step in the background, from memory that nothing else may change until `finish`.

        Args:
            step: Its number, above that of every step on disk.
            state: Arrays; not donated to a computation before the step is on disk.
            about: JSON to keep beside it.

        Raises:
            ValueError: The state is not finite.
            OSError: This step, or one before it, could not be written.
        """
        if not is_finite(state):
            raise ValueError(f"The state of step {step} is not finite; it is not saved.")
        leaves = describe(state)
        for name, value in checksums(state).items():
            leaves[name]["checksum"] = value
        content = {"identity": self.identity, "about": dict(about), "leaves": leaves}
        self.finish()
        try:
            done = self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(named_leaves(state)),
                    meta=ocp.args.JsonSave({"content": content, "digest": digest_json(content)}),
                ),
            )
        except Exception as error:
            raise self._failure(error) from error
        if not done:
            raise OSError(
                f"Step {step} was not saved in {self.folder}, which holds {self.steps()}."
            )
        self._unlisted = step

    def check(self) -> None:
        """Raises what a write in the background has met; call it at every step of the run.

        Raises:
            OSError: A step could not be written; those before it are intact.
        """
        try:
            self._manager.check_for_errors()
        except Exception as error:
            raise self._failure(error) from error
        if self._manifest is not None and self._manifest.done():
            self._manifest.result()
            self._manifest = None
        if self._unlisted is not None and not self._manager.is_saving_in_progress():
            self._start_manifest()

    def finish(self) -> None:
        """Waits until everything is on disk, manifests included.

        Raises:
            OSError: A step could not be written.
        """
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            failure, self._unlisted = self._failure(error), None
            raise failure from error
        self._start_manifest()
        if self._manifest is not None:
            self._manifest.result()
            self._manifest = None

    def restore_latest_good(self, template: Any) -> Saved | None:
        """The newest step that is what was saved; damaged ones go to the quarantine with a warning.

        Args:
            template: Leaves of ``ShapeDtypeStruct`` with the placement to read into.

        Returns:
            The step, or None if the folder holds none.

        Raises:
            ValueError: Settings, data, shapes or types differ from the saved ones; the message
                lists the fields. Or every step is damaged, or was; the message lists the steps.
        """
        failures = []
        for step in reversed(self.steps()):
            try:
                return self.restore(step, template)
            except DamagedError as error:
                failures.append(f"step {step}: {error}")
                self._quarantine(step, str(error))
        if failures:
            raise ValueError(
                f"No step in {self.folder} is good (see {QUARANTINE}): {'; '.join(failures)}"
            )
        damaged = ", ".join(damaged_steps(self.folder))
        if damaged:
            raise ValueError(f"{self.folder} holds damaged steps only ({damaged}): choose another.")
        return None

    def restore(self, step: int, template: Any) -> Saved:
        """One step, verified.

        Args:
            step: Its number.
            template: As in `restore_latest_good`.

        Raises:
            DamagedError: It is not what was saved.
            ValueError: It was saved under other settings, or with other shapes or types.
        """
        home = self.folder / str(step)
        wrong = check_manifest(home) if jax.process_index() == 0 else []
        if not all_agree(not wrong):
            raise DamagedError(", ".join(wrong) or "the first process found damage")
        content = read_content(home)
        changed = differences(content["identity"], self.identity)
        saved = {
            name: {key: value for key, value in leaf.items() if key != "checksum"}
            for name, leaf in content["leaves"].items()
        }
        changed += differences(saved, describe(template))
        if changed:
            raise ValueError(
                f"{home} belongs to another run, it cannot be resumed: " + "; ".join(changed)
            )
        state, failure = None, ""
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(named_leaves(template))),
            )
            state = restored["state"]
        except Exception as error:
            failure = f"it cannot be read ({type(error).__name__}: {error})"
        if not all_agree(state is not None):
            raise DamagedError(failure or "another process could not read it")
        assert state is not None
        sums = checksums(state)
        wrong = [name for name, leaf in content["leaves"].items() if sums[name] != leaf["checksum"]]
        if wrong:
            raise DamagedError(f"the checksum of {', '.join(wrong)} differs")
        if not has_manifest(home):
            self._unlisted = step
            self._start_manifest()
        tree = jax.tree.unflatten(
            jax.tree.structure(template), [state[name] for name in named_leaves(template)]
        )
        return Saved(step, tree, content["about"])

    def close(self) -> None:
        """Waits for writes and lets the folder go, also if a write has failed."""
        try:
            self.finish()
        finally:
            self._executor.shutdown()
            try:
                self._manager.close()
            finally:
                if self._lock is not None:
                    self._lock.release()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, kind: object, *raised: object) -> None:
        if kind is None or jax.process_count() == 1:
            self.close()
        elif self._lock is not None:
            # To wait for writes is to wait for the others, who may be gone.
            self._lock.release()

    def _start_manifest(self) -> None:
        step, self._unlisted = self._unlisted, None
        if step is not None and jax.process_index() == 0:
            self._manifest = self._executor.submit(write_manifest, self.folder / str(step))

    def _quarantine(self, step: int, problem: str) -> None:
        barrier(f"prefjax-quarantine-{step}")
        if jax.process_index() == 0:
            remedy = "the step before it is tried"
            quarantine(self.folder / str(step), problem=problem, remedy=remedy, stacklevel=4)
        barrier(f"prefjax-quarantine-done-{step}")
        self._manager.reload()

    def _failure(self, error: Exception) -> OSError:
        intact = [step for step in self.steps() if step != self._unlisted]
        return failed_write(self.folder, intact, error)
