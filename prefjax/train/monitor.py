"""Looks at what a call said of itself after the next one is dispatched, so that no device waits."""

import json
import time
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from prefjax.parallel import fetch, is_primary
from prefjax.train.config import TrainConfig
from prefjax.train.guard import Watchdog
from prefjax.train.progress import GUESSING, Progress
from prefjax.train.setup import Prepared, Source
from prefjax.train.state import Metrics
from prefjax.train.step import MAX_SKIPPED

SECONDS_WITHOUT_BAR = 3.0


class Call(NamedTuple):
    """A call of the compiled program that was dispatched.

    Attributes:
        metrics: What its steps say of themselves, on the devices.
        epoch: Epoch of its steps.
        t: Number of the first step in the epoch.
        clock: Number of the first step in the run.
        count: Steps that belong to the epoch.
        began: Clock time of the dispatch, in seconds.
    """

    metrics: Metrics
    epoch: int
    t: int
    clock: int
    count: int
    began: float


def num_in_flight(mesh: Mesh) -> int:
    """Calls that may be on the way while the host goes on.

    Virtual devices of one CPU share its threads: two programs with collectives at once would wait
    for each other forever.
    """
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return 0 if on_cpu and mesh.size > 1 else 1


class Monitor:
    """Checks, logs and shows the calls of a run in their order.

    Args:
        source: Names the comparisons of a batch.
        config: Settings of the run.
        run: The run.
        progress: Where it is; its losses are filled in here.
        watchdog: Told of every call that has ended.
        folder: Where ``metrics.jsonl`` is written; None writes nothing.
    """

    def __init__(
        self,
        source: Source,
        config: TrainConfig,
        run: Prepared,
        progress: Progress,
        watchdog: Watchdog,
        folder: Path | None,
    ):
        self.history: list[dict[str, Any]] = []
        self._source, self._config, self._run = source, config, run
        self._progress, self._watchdog, self._folder = progress, watchdog, folder
        self._calls: deque[Call] = deque()
        self._not_finite: deque[tuple[int, int]] = deque(maxlen=MAX_SKIPPED)
        self._ended = 0.0
        per_epoch = run.steps_per_epoch * config.step.batch_size
        self._bar = tqdm(
            total=config.num_epochs * per_epoch,
            initial=progress.epoch * per_epoch + progress.t * config.step.batch_size,
            unit="comparison",
            unit_scale=True,
            delay=SECONDS_WITHOUT_BAR,
            disable=not (config.progress and is_primary()),
        )

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def add(self, metrics: Metrics, count: int) -> None:
        """Takes the metrics of a call at the run's position, and looks at those before it.

        Args:
            metrics: Metrics of the call, on the devices.
            count: Steps of the call that belong to the epoch.

        Raises:
            FloatingPointError: Loss or gradient were not finite three times in a row, or the loss
                is far above that of guessing.
        """
        where = self._progress
        call = Call(metrics, where.epoch, where.t, where.clock, count, time.perf_counter())
        self._calls.append(call)
        while len(self._calls) > num_in_flight(self._run.mesh):
            self._look(self._calls.popleft())

    def settle(self) -> None:
        """Waits for all calls and looks at them; raises what `add` raises."""
        while self._calls:
            self._look(self._calls.popleft())

    def log(self, fields: dict[str, Any]) -> None:
        """Adds a line to the history and to the folder."""
        self.history.append(fields)
        if self._folder is not None and is_primary():
            with (self._folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(fields) + "\n")

    def _look(self, call: Call) -> None:
        metrics = jax.tree.map(lambda x: x[: call.count], fetch(call.metrics))
        ended = time.perf_counter()
        seconds, self._ended = ended - max(self._ended, call.began), ended
        wrong = np.flatnonzero(~metrics.finite).tolist()
        self._not_finite.extend((call.epoch, call.t + i) for i in wrong)
        if metrics.skipped_in_a_row[-1] >= MAX_SKIPPED:
            raise FloatingPointError(self._explain_not_finite())
        self._watchdog.beat()
        losses = np.where(metrics.finite, metrics.loss, 0.0).astype(np.float64)
        weights = np.where(metrics.finite, metrics.total_weight, 0.0).astype(np.float64)
        self._progress.add_losses(losses.tolist(), weights.tolist())
        for i, loss in enumerate(losses.tolist()):
            if self._progress.is_divergent(loss):
                raise FloatingPointError(self._explain_divergence(call, i, loss))
        loss = float(losses @ weights / weights.sum()) if weights.any() else 0.0
        self.log(
            {
                "step": call.clock + call.count,
                "epoch": call.epoch,
                "loss": loss,
                "gradient_norm": float(metrics.gradient_norm[-1]),
                "comparisons_per_second": round(
                    call.count * self._config.step.batch_size / max(seconds, 1e-9)
                ),
                "num_skipped": int(metrics.num_skipped[-1]),
            }
        )
        self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        self._bar.update(call.count * self._config.step.batch_size)

    def _explain_not_finite(self) -> str:
        batches = "; ".join(
            f"epoch {epoch} step {t} ({self._describe(epoch, t)})" for epoch, t in self._not_finite
        )
        return (
            f"Loss or gradient were not finite in {MAX_SKIPPED} batches in a row, which changed "
            f"nothing: {batches}. Lower the learning rates, or look at these rows."
        )

    def _explain_divergence(self, call: Call, index: int, loss: float) -> str:
        epoch, t, config = call.epoch, call.t + index, self._config
        return (
            f"The run diverged at step {call.clock + index} (epoch {epoch} step {t}, "
            f"{self._describe(epoch, t)}): its loss is {loss:.4g} nats a comparison, while "
            f"guessing costs {GUESSING:.2f}. Lower optimizer.learning_rate (now "
            f"{config.optimizer.learning_rate:g}) or step.user_rate (now "
            f"{config.step.user_rate:g})."
        )

    def _describe(self, epoch: int, t: int) -> str:
        return self._source.describe(self._config.seed, epoch, t, self._run.num_slots)
