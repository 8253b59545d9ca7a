"""The training run: programs of several steps, checkpoints, evaluation, and every way to stop.

    while epochs are left:
        for feed in source: state ← steps(state, feed);  look at metrics, signals, errors of writes
        every so often: evaluate on the validation cell, save

The position (epoch, t), the key and the counts of skipped steps are part of the state, so a run
that was killed goes on from the latest complete step and ends with the same bits as one that was
not.
"""

import dataclasses
import json
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Float
from tqdm import tqdm

from prefjax.io import Store
from prefjax.parallel import fetch, is_preempted, is_primary, place
from prefjax.train import forms
from prefjax.train.config import TrainConfig
from prefjax.train.guard import Interrupts, Watchdog
from prefjax.train.layout import UserLayout
from prefjax.train.resume import Progress, resume
from prefjax.train.setup import Prepared, Source, prepare
from prefjax.train.state import Metrics, TrainState
from prefjax.train.step import MAX_SKIPPED
from prefjax.types import Array, Comparisons

Status = Literal["finished", "stopped early", "interrupted"]

DEFAULT = TrainConfig()


class TrainResult(NamedTuple):
    """A run that ended.

    Attributes:
        state: The last state, or the best if the run was stopped early, on the devices.
        layout: Places of the users in its table; see `user_weights`.
        status: How it ended.
        history: What was logged, in order.
    """

    state: TrainState
    layout: UserLayout
    status: Status
    history: list[dict[str, Any]]


def train(
    source: Source,
    embeddings: Float[Array, "response input"],
    config: TrainConfig = DEFAULT,
    *,
    optimizer: optax.GradientTransformation | None = None,
    validation: Comparisons | None = None,
    folder: Path | None = None,
    resuming: bool = False,
    grow: bool = False,
) -> TrainResult:
    """Fits the head and all users by minibatches, on all devices of all processes.

    Args:
        source: The judgments; the same on every process.
        embeddings: One frozen embedding a response.
        config: Settings.
        optimizer: Of the head, instead of ``config.optimizer``.
        validation: Judgments of known users on which the fit is evaluated.
        folder: Where checkpoints and ``metrics.jsonl`` go; None writes nothing.
        resuming: Go on from the latest good step in ``folder``, if there is one.
        grow: The source may have more users than the run that is resumed, or other judgments.

    Raises:
        ValueError: Input is invalid, ``folder`` holds steps and ``resuming`` is False, or the saved
            run had other settings or data; the message lists the fields.
        FloatingPointError: Loss or gradient were not finite three times in a row; the message names
            the batches. What is on disk is finite.
        OSError: A checkpoint cannot be written.
    """
    if config.patience and (folder is None or validation is None):
        raise ValueError("patience needs validation judgments, and a folder for the best state.")
    run = prepare(source, embeddings, config, optimizer, validation)
    state, progress, status = run.state, Progress(), "finished"
    history: list[dict[str, Any]] = []
    with ExitStack() as stack:
        store = _open(stack, folder, run, config, resuming)
        if store is not None and resuming:
            state, progress = resume(store, run, source, grow=grow)
            _log(history, folder, {"step": progress.clock, "resumed": True})
        saved_at, num_calls = progress.clock, 0
        watchdog = stack.enter_context(Watchdog(config.step_timeout, config.start_timeout))
        interrupts = stack.enter_context(Interrupts())
        bar = stack.enter_context(_bar(source, config, progress, run))
        bad: deque[tuple[int, int]] = deque(maxlen=MAX_SKIPPED)
        while progress.epoch < config.num_epochs and status == "finished":
            feeds = source.feeds(
                config.seed,
                progress.epoch,
                progress.t,
                run.num_slots,
                config.steps_per_call,
                run.mesh,
            )
            for feed in feeds:
                before, began = progress.clock, time.perf_counter()
                state, metrics = run.advance(state, feed, run.problem)
                count = min(config.steps_per_call, run.steps_per_epoch - progress.t)
                metrics = jax.tree.map(lambda x: x[:count], fetch(metrics))  # noqa: B023
                wrong = np.flatnonzero(~metrics.finite).tolist()
                bad.extend((progress.epoch, progress.t + i) for i in wrong)
                num_skipped, in_a_row = fetch((state.num_skipped, state.skipped_in_a_row))
                if in_a_row >= MAX_SKIPPED:
                    raise FloatingPointError(_blame(bad, source, config.seed, run.num_slots))
                watchdog.beat()
                progress.clock, progress.t = progress.clock + count, progress.t + count
                line = _summarize(metrics, progress, config, time.perf_counter() - began)
                _log(history, folder, {**line, "num_skipped": int(num_skipped)})
                bar.update(count * config.step.batch_size)
                bar.set_postfix(loss=f"{line['loss']:.4f}")

                ended = progress.t >= run.steps_per_epoch
                if ended:
                    progress.epoch, progress.t = progress.epoch + 1, 0
                    position = np.int32(progress.epoch), np.int32(0)
                    epoch, t = place(position, "replicated", run.mesh)
                    state = state._replace(epoch=epoch, t=t)
                improved = False
                if run.measure and _is_due(before, progress.clock, config.eval_every, ended):
                    found = jax.tree.map(float, fetch(run.measure(state)))
                    _log(history, folder, {"step": progress.clock, **found._asdict()})
                    improved = _judge(progress, found.nll, config.min_gain)
                    watchdog.beat()
                    if config.patience and progress.num_worse >= config.patience:
                        status = "stopped early"
                num_calls += 1
                if is_preempted(num_calls) or interrupts.wanted:
                    status = "interrupted"
                if store is not None:
                    store.check()
                    due = _is_due(before, progress.clock, config.save_every, False)
                    if due or status == "interrupted" or (improved and config.patience):
                        _save(store, state, progress, source, run)
                        saved_at = progress.clock
                        watchdog.beat()
                if ended or status != "finished":
                    break
        if store is not None and saved_at != progress.clock:
            _save(store, state, progress, source, run)
        if store is not None and status == "stopped early":
            state = _best(store, state, progress, source, run)
    return TrainResult(state, source.layout, status, history)


def user_weights(
    state: TrainState, layout: UserLayout
) -> tuple[Float[np.ndarray, "user factor"], Float[np.ndarray, "user factor"] | None]:
    """Mean and variance of every user's weights, in the order of user ids, on the host.

    Args:
        state: Of a result.
        layout: Of the same result.

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


def _bar(source: Source, config: TrainConfig, progress: Progress, run: Prepared) -> tqdm:
    per_epoch = run.steps_per_epoch * config.step.batch_size
    return tqdm(
        total=config.num_epochs * per_epoch,
        initial=progress.epoch * per_epoch + progress.t * config.step.batch_size,
        unit="judgment",
        unit_scale=True,
        disable=not (config.progress and is_primary()),
    )


def _summarize(
    metrics: Metrics, progress: Progress, config: TrainConfig, seconds: float
) -> dict[str, Any]:
    total = float(metrics.total_weight.sum())
    loss = float((metrics.loss * metrics.total_weight)[metrics.finite].sum())
    return {
        "step": progress.clock,
        "epoch": progress.epoch,
        "loss": loss / total if total else 0.0,
        "gradient_norm": float(metrics.gradient_norm[-1]),
        "judgments_per_second": round(len(metrics.loss) * config.step.batch_size / seconds),
    }


def _is_due(before: int, now: int, every: int, ended: bool) -> bool:
    """Whether a multiple of ``every`` lies in (before, now]; 0 stands for the end of an epoch."""
    return ended if every == 0 else now // every > before // every


def _judge(progress: Progress, nll: float, min_gain: float) -> bool:
    """Notes an evaluation; whether it is the best so far."""
    if progress.best_nll is None or nll < progress.best_nll - min_gain:
        progress.best_nll, progress.best_clock, progress.num_worse = nll, progress.clock, 0
        return True
    progress.num_worse += 1
    return False


def _save(
    store: Store, state: TrainState, progress: Progress, source: Source, run: Prepared
) -> None:
    store.best_step = progress.best_clock or None
    kept = forms.to_disk(state, source.layout.num_partitions, run.mesh)
    store.save(progress.clock, kept, dataclasses.asdict(progress))


def _best(
    store: Store, state: TrainState, progress: Progress, source: Source, run: Prepared
) -> TrainState:
    store.finish()
    layout = source.layout
    shape = forms.template(state, layout.num_partitions, layout.num_rows, run.mesh)
    return forms.from_disk(store.restore(progress.best_clock, shape).state, run.mesh)


def _log(history: list[dict[str, Any]], folder: Path | None, fields: dict[str, Any]) -> None:
    history.append(fields)
    if folder is not None and is_primary():
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(fields) + "\n")


def _blame(bad: deque[tuple[int, int]], source: Source, seed: int, num_slots: int) -> str:
    batches = "; ".join(
        f"epoch {epoch} step {t} ({source.describe(seed, epoch, t, num_slots)})" for epoch, t in bad
    )
    return (
        f"Loss or gradient were not finite in {MAX_SKIPPED} batches in a row, which changed "
        f"nothing: {batches}. Lower the learning rates, or look at these rows."
    )
