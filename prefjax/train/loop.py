"""The training run: calls of several steps, checkpoints, evaluation, and every way to stop.

    while epochs are left and something is gained:
        for batches in source.batches(…):
            state, metrics ← train_step(state, batches, problem)      dispatched
            look at the metrics of the call before, at signals and at errors of writes
        every so often: evaluate on the validation comparisons, save

The position (epoch, t), the key and the counts of skipped steps are part of the state, so a run
that was killed goes on from the latest complete step and ends with the same bits as one that was
not.
"""

import dataclasses
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Float

from prefjax.io import Store
from prefjax.parallel import fetch, is_preempted, place
from prefjax.train import saved_state
from prefjax.train._resume import resume, saved_version
from prefjax.train.config import TrainConfig
from prefjax.train.guard import Interrupts, Watchdog
from prefjax.train.layout import UserLayout
from prefjax.train.monitor import Monitor
from prefjax.train.progress import MIN_STEPS, Progress, count_flat
from prefjax.train.setup import VERSION, Prepared, Source, prepare
from prefjax.train.state import TrainState
from prefjax.types import Array, Choices, Comparisons

Status = Literal["finished", "converged", "stopped early", "interrupted"]

DEFAULT = TrainConfig()


class TrainResult(NamedTuple):
    """A run that ended.

    Attributes:
        state: The last state, or the best if the run was stopped early, on the devices.
        layout: Places of the users in its table; see `user_weights`.
        status: ``finished`` after all epochs, ``converged`` when the training loss gained nothing
            any more, ``stopped early`` when the validation loss did not, or ``interrupted``.
        history: What was logged, in order.
        trend: What is wrong with the end of the run, in a sentence: a loss that was still falling
            or has risen. Empty if nothing is.
    """

    state: TrainState
    layout: UserLayout
    status: Status
    history: list[dict[str, Any]]
    trend: str = ""


def train(
    source: Source,
    embeddings: Float[Array, "response input"],
    config: TrainConfig = DEFAULT,
    *,
    optimizer: optax.GradientTransformation | None = None,
    validation: Comparisons | Choices | None = None,
    folder: Path | None = None,
    resuming: bool = False,
    grow: bool = False,
) -> TrainResult:
    """Fits the head and all users by minibatches, on all devices of all processes.

    A second run of a process with the same settings and sizes compiles nothing.

    Args:
        source: The comparisons; the same on every process.
        embeddings: One frozen embedding a response.
        config: Settings of the run.
        optimizer: Optimizer of the head instead of ``config.optimizer``; the same object again
            where a second run should not compile.
        validation: Comparisons of known users on which the fit is evaluated.
        folder: Where checkpoints and ``metrics.jsonl`` go; None writes nothing.
        resuming: Go on from the latest good step in ``folder``, if there is one.
        grow: The source may have more users than the run that is resumed, or other comparisons.

    Raises:
        ValueError: Input is invalid, ``folder`` holds steps and ``resuming`` is False, or the saved
            run had other settings or data; the message lists the fields.
        FloatingPointError: Loss or gradient were not finite three times in a row, or the loss rose
            far above that of guessing; the message names the step and the remedy. What is on disk
            is finite.
        OSError: A checkpoint cannot be written.

    Warns:
        UserWarning: The loss was still falling at the end, or has risen.
    """
    version = saved_version(folder) if resuming else VERSION
    run = prepare(source, embeddings, config, optimizer, validation, version)
    state, progress = run.state, Progress()
    status: Status | None = None
    best: TrainState | None = None
    with ExitStack() as stack:
        store = _open(stack, folder, run, config, resuming)
        if store is not None and resuming:
            state, progress = resume(store, run, source, grow=grow)
        watchdog = stack.enter_context(Watchdog(config.step_timeout, config.start_timeout))
        interrupts = stack.enter_context(Interrupts())
        monitor = Monitor(source, config, run, progress, watchdog, folder)
        stack.enter_context(monitor)
        if store is not None and resuming:
            monitor.log({"step": progress.clock, "resumed": True})
        saved_at, num_calls = progress.clock, 0
        while status is None and progress.epoch < config.num_epochs:
            for batches in source.batches(
                config.seed,
                progress.epoch,
                progress.t,
                run.num_slots,
                config.steps_per_call,
                run.mesh,
            ):
                before = progress.clock
                state, metrics = run.train_step(state, batches, run.problem)
                count = min(config.steps_per_call, run.steps_per_epoch - progress.t)
                monitor.add(metrics, count)
                progress.clock, progress.t = progress.clock + count, progress.t + count
                num_calls += 1
                if store is not None:
                    store.check()
                ended = progress.t >= run.steps_per_epoch
                stopping = is_preempted(num_calls) or interrupts.wanted
                saving = store is not None and _is_due(before, progress.clock, config.save_every)
                evaluating = run.evaluate is not None and _is_evaluation_due(
                    before, progress, config, ended
                )
                if not (ended or stopping or saving or evaluating):
                    continue

                monitor.settle()
                if ended:
                    progress.end_epoch()
                    position = np.int32(progress.epoch), np.int32(0)
                    epoch, t = place(position, "replicated", run.mesh)
                    state = state._replace(epoch=epoch, t=t)
                if run.evaluate is not None and evaluating:
                    measured = jax.tree.map(float, fetch(run.evaluate(state)))
                    monitor.log({"step": progress.clock, **measured._asdict()})
                    improved = progress.add_evaluation(measured.nll, config.min_gain)
                    watchdog.beat()
                    if improved and config.patience:
                        saving = store is not None
                        best = None if saving else _copy(state, source, run)
                    status = "stopped early" if _is_patience_out(progress, config) else None
                elif run.evaluate is None and ended and config.patience:
                    num_flat = count_flat(progress.losses, config.min_gain)
                    status = "converged" if num_flat >= config.patience else None
                status = "interrupted" if stopping else status
                if store is not None and (saving or stopping):
                    _save(store, state, progress, source, run)
                    saved_at = progress.clock
                    watchdog.beat()
                if ended or status is not None:
                    break
        monitor.settle()
        if store is not None and saved_at != progress.clock:
            _save(store, state, progress, source, run)
        if status == "stopped early":
            state = _restore_best(store, best, state, progress, source, run)
    status = status or "finished"
    trend = _describe_trend(progress, config, status, run.evaluate is not None)
    if trend:
        warnings.warn(trend, stacklevel=2)
    return TrainResult(state, source.layout, status, monitor.history, trend)


def user_weights(
    state: TrainState, layout: UserLayout
) -> tuple[Float[np.ndarray, "user factor"], Float[np.ndarray, "user factor"] | None]:
    """Gives mean and variance of every user's weights, in the order of user ids, on the host.

    Args:
        state: State of a `TrainResult`.
        layout: Layout of the same result.

    Returns:
        The variance is None for MAP.
    """
    place_of = layout.locate(np.arange(layout.num_users))
    mean = fetch(state.users.mean)[place_of]
    if state.users.log_variance is None:
        return mean, None
    return mean, np.exp(fetch(state.users.log_variance)[place_of])


def _open(
    stack: ExitStack, folder: Path | None, run: Prepared, config: TrainConfig, resuming: bool
) -> Store | None:
    if folder is None:
        return None
    store = stack.enter_context(Store(folder, run.identity, keep=config.keep))
    if store.steps() and not resuming:
        raise ValueError(
            f"{folder} holds the steps {store.steps()} of a run; resume it or choose another "
            "folder."
        )
    return store


def _is_due(before: int, now: int, every: int) -> bool:
    """Whether a multiple of ``every`` lies in (before, now]."""
    return now // every > before // every


def _is_evaluation_due(before: int, progress: Progress, config: TrainConfig, ended: bool) -> bool:
    if config.eval_every:
        return _is_due(before, progress.clock, config.eval_every)
    last = progress.epoch + 1 >= config.num_epochs
    return ended and (last or progress.clock - progress.evaluated_at >= MIN_STEPS)


def _is_patience_out(progress: Progress, config: TrainConfig) -> bool:
    return bool(config.patience) and progress.num_worse >= config.patience


def _describe_trend(
    progress: Progress, config: TrainConfig, status: Status, validated: bool
) -> str:
    """What is wrong with the end of a run that was not interrupted."""
    if status == "interrupted" or not (progress.losses or progress.loss_weight):
        return ""
    return progress.trend(config.min_gain, finished=status == "finished", validated=validated)


def _copy(state: TrainState, source: Source, run: Prepared) -> TrainState:
    return saved_state.to_disk(state, source.layout.num_partitions, run.mesh)


def _save(
    store: Store, state: TrainState, progress: Progress, source: Source, run: Prepared
) -> None:
    store.best_step = progress.best_clock or None
    store.save(progress.clock, _copy(state, source, run), dataclasses.asdict(progress))


def _restore_best(
    store: Store | None,
    best: TrainState | None,
    state: TrainState,
    progress: Progress,
    source: Source,
    run: Prepared,
) -> TrainState:
    """The state of the least validation loss, from the folder or from memory."""
    if store is not None:
        store.finish()
        layout = source.layout
        shape = saved_state.template(state, layout.num_partitions, layout.num_rows, run.mesh)
        best = store.restore(progress.best_clock, shape).state
    return state if best is None else saved_state.from_disk(best, run.mesh)
