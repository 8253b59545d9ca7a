"""Settings of a training run: what is fitted, how, when it stops, what is written on the way."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import optax

from prefjax.io.buckets import check_local
from prefjax.io.typed import read_typed
from prefjax.parallel import Backend
from prefjax.settings import check_settings
from prefjax.train.step import StepConfig


@dataclass(frozen=True)
class OptimizerConfig:
    """An optax optimizer of the head by name; `train` takes any other one as an argument.

    Attributes:
        name: Name of the optimizer in optax.
        learning_rate: Step size at the start, for embeddings of mean squared norm 1: inputs are
            brought to that scale before the optimizer sees a gradient.
        decay_steps: Steps over which a cosine takes the step size to a tenth; 0 keeps it.
        clip: Largest norm of the head's gradient; 0 does not clip.

    Raises:
        ValueError: A number is negative or not finite.
    """

    name: Literal["adam", "sgd", "adagrad", "lion", "rmsprop"] = "adam"
    learning_rate: float = 0.01
    decay_steps: int = 0
    clip: float = 0.0

    def __post_init__(self):
        check_settings(self)

    def make(self) -> optax.GradientTransformation:
        """Builds the optax optimizer."""
        rate = (
            optax.cosine_decay_schedule(self.learning_rate, self.decay_steps, alpha=0.1)
            if self.decay_steps
            else self.learning_rate
        )
        optimizer = getattr(optax, self.name)(rate)
        if not self.clip:
            return optimizer
        return optax.chain(optax.clip_by_global_norm(self.clip), optimizer)


@dataclass(frozen=True)
class TrainConfig:
    """A run. ``step``, ``optimizer`` and ``seed`` are fixed for it; the rest may change on resume.

    The run stops when nothing is gained any more, at the latest after ``num_epochs``. What is
    watched is the loss on validation comparisons where there are some, and the state returned is
    then the best one; without them it is the training loss of whole epochs, and the state the last.

    Attributes:
        step: What is fitted and how.
        optimizer: How the head is stepped.
        seed: Seed of the head's first parameters and of the order of comparisons.
        num_epochs: Passes over the data, at most.
        steps_per_call: Steps in one compiled program, between which nothing is looked at.
        eval_every: Steps between evaluations on the validation comparisons; 0 evaluates at ends of
            epochs, at least ``MIN_STEPS`` steps apart.
        patience: Evaluations (without validation: epochs, at least ``MIN_STEPS`` steps together)
            without a gain after which to stop; 0 runs all epochs.
        min_gain: What counts as a gain, in nats per comparison.
        save_every: Steps between checkpoints.
        keep: Checkpoints kept, besides the best.
        step_timeout: Seconds after which a call that does not end ends the process.
        start_timeout: The same for the first call, which compiles.
        backend: How steps are run on several devices.
        num_devices: Number of devices; None for all.
        progress: Whether to show a bar with the loss when a run takes longer than a few seconds.

    Raises:
        ValueError: A number is below its least value; the message names it.
    """

    step: StepConfig = field(default_factory=StepConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    seed: int = 0
    num_epochs: int = 200
    steps_per_call: int = 16
    eval_every: int = 0
    patience: int = 3
    min_gain: float = 1e-4
    save_every: int = 1000
    keep: int = 3
    step_timeout: float = 300.0
    start_timeout: float = 1800.0
    backend: Backend = "pmap"
    num_devices: int | None = None
    progress: bool = True

    def __post_init__(self):
        sizes = ("num_epochs", "steps_per_call", "save_every", "keep")
        check_settings(self, *sizes, positive=("step_timeout", "start_timeout"))


@dataclass(frozen=True)
class RunConfig:
    """A run from files: ``python -m prefjax.train --config run.json``.

    Attributes:
        data: Folder of a data set (`prefjax.data.io`) or of shards (`prefjax.train.shards`).
        embeddings: ``.npy`` file, one row a response; memory-mapped. Or a folder of
            ``prefjax embed``.
        folder: Where checkpoints, metrics and the fitted model go.
        validation: Folder of a data set with comparisons of known users on the same responses,
            which it numbers as ``data`` does.
        num_partitions: P, the number of parts in which users are cut; at least that of devices.
        export: Whether to write the fitted model at the end.
        train: The run.
    """

    data: Path
    embeddings: Path
    folder: Path
    validation: Path | None = None
    num_partitions: int = 16
    export: bool = True
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self):
        check_settings(self, "num_partitions")


def read_config(path: Path) -> RunConfig:
    """Reads a `RunConfig` from JSON; paths in it are relative to the file.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON; a field is unknown, missing or of another type; a folder is in
            an object store. The message names the field and what was found.
    """
    check_local(path, "the configuration")
    config, places = read_typed(path, RunConfig), {}
    for name in ("data", "embeddings", "folder", "validation"):
        place = getattr(config, name)
        if place is not None:
            check_local(place, f"{path}: {name}")
            places[name] = path.parent / place
    return dataclasses.replace(config, **places)
