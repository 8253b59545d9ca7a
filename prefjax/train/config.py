"""Settings of a training run: what is fitted, how, and what is looked at on the way."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import optax

from prefjax.parallel import Backend
from prefjax.train.objective import ModelConfig
from prefjax.train.step import StepConfig


@dataclass(frozen=True)
class OptimizerConfig:
    """The head's optimizer by name; `train` takes any other optax optimizer as an argument.

    Attributes:
        name: Of the optimizer.
        learning_rate: At the start.
        decay_steps: Steps over which a cosine takes it to a tenth; 0 keeps it.
        clip: Largest norm of the gradient; 0 for none.

    Raises:
        ValueError: If a number is negative or not finite.
    """

    name: Literal["adam", "sgd", "adagrad", "lion", "rmsprop"] = "adam"
    learning_rate: float = 0.01
    decay_steps: int = 0
    clip: float = 0.0

    def __post_init__(self):
        if not (0 <= self.learning_rate < math.inf and self.clip >= 0 and self.decay_steps >= 0):
            raise ValueError(
                f"learning_rate {self.learning_rate}, clip {self.clip} and decay_steps "
                f"{self.decay_steps} must be finite and not negative."
            )

    def make(self) -> optax.GradientTransformation:
        """The optimizer."""
        rate = (
            optax.cosine_decay_schedule(self.learning_rate, self.decay_steps, alpha=0.1)
            if self.decay_steps
            else self.learning_rate
        )
        optimizer = getattr(optax, self.name)(rate)
        return (
            optax.chain(optax.clip_by_global_norm(self.clip), optimizer)
            if self.clip
            else (optimizer)
        )


@dataclass(frozen=True)
class TrainConfig:
    """A run. ``step``, ``optimizer`` and ``seed`` are fixed for it; the rest may change on resume.

    Attributes:
        step: What is fitted and how.
        optimizer: Of the head.
        seed: Of the head's start and of the order.
        num_epochs: Passes over the data.
        steps_per_call: Steps in one program, between which nothing is looked at.
        eval_every: Steps between evaluations on the validation cell; 0 for the end of an epoch.
        patience: Evaluations without a gain after which to stop and return to the best; 0 never.
        min_gain: What counts as a gain, in nats per judgment.
        save_every: Steps between checkpoints.
        keep: Checkpoints kept, besides the best.
        step_timeout: Seconds after which a call that does not end ends the process.
        start_timeout: The same for the first call, which compiles.
        backend: How steps are run on several devices.
        num_devices: How many; None for all.
        progress: Whether to show a bar with judgments per second.
    """

    step: StepConfig = field(default_factory=StepConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    seed: int = 0
    num_epochs: int = 3
    steps_per_call: int = 16
    eval_every: int = 0
    patience: int = 0
    min_gain: float = 1e-4
    save_every: int = 1000
    keep: int = 3
    step_timeout: float = 300.0
    start_timeout: float = 1800.0
    backend: Backend = "pmap"
    num_devices: int | None = None
    progress: bool = False

    def __post_init__(self):
        low = [
            name
            for name in ("num_epochs", "steps_per_call", "save_every", "keep")
            if getattr(self, name) < 1
        ]
        if low:
            raise ValueError(f"{', '.join(low)} must be at least 1.")
        negative = [name for name in ("seed", "eval_every", "patience") if getattr(self, name) < 0]
        if negative:
            raise ValueError(f"{', '.join(negative)} must not be negative.")
        if not (self.step_timeout > 0 and self.start_timeout > 0 and self.min_gain >= 0):
            raise ValueError("The timeouts must be positive, and min_gain not negative.")


@dataclass(frozen=True)
class RunConfig:
    """A run from files: ``python -m prefjax.train --config run.json``.

    Attributes:
        data: Folder of a data set (`prefjax.data.io`) or of shards (`prefjax.train.shards`).
        embeddings: ``.npy`` file, one row a response; memory-mapped.
        folder: Where checkpoints, metrics and the result go.
        validation: Folder of a data set with judgments of known users on the same responses, which
            it numbers as ``data`` does.
        num_partitions: P, in which users are cut; at least the number of devices.
        export: Whether to write the head and all users to ``result.npz`` at the end.
        train: The run.
    """

    data: Path
    embeddings: Path
    folder: Path
    validation: Path | None = None
    num_partitions: int = 16
    export: bool = True
    train: TrainConfig = field(default_factory=TrainConfig)


def read_config(path: Path) -> RunConfig:
    """A `RunConfig` from JSON; paths in it are relative to the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, or a field is unknown, missing or of another type.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}).") from error
    config = _build(RunConfig, values, str(path))
    places = {
        name: path.parent / getattr(config, name)
        for name in ("data", "embeddings", "folder", "validation")
        if getattr(config, name) is not None
    }
    return dataclasses.replace(config, **places)


_NESTED: Mapping[str, type] = {
    "train": TrainConfig,
    "step": StepConfig,
    "optimizer": OptimizerConfig,
    "model": ModelConfig,
}


def _build(kind: Any, values: Any, where: str) -> Any:
    """A dataclass from JSON values, every field checked against its type."""
    fields = {one.name: one for one in dataclasses.fields(kind)}
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: expected an object, found {values!r}.")
    unknown = sorted(set(values) - set(fields))
    missing = [
        name
        for name, one in fields.items()
        if one.default is MISSING and one.default_factory is MISSING and name not in values
    ]
    if unknown or missing:
        raise ValueError(
            f"{where}: unknown fields {unknown}, missing fields {missing}; the fields are "
            f"{sorted(fields)}."
        )
    built, hints = {}, get_type_hints(kind)
    for name, given in values.items():
        value: Any = given
        inner = f"{where}: {name}"
        if name in _NESTED:
            value = _build(_NESTED[name], value, inner)
        elif isinstance(value, list):
            value = tuple(value)
        elif isinstance(value, str) and Path in (hints[name], *get_args(hints[name])):
            value = Path(value)
        choices = get_args(hints[name]) if get_origin(hints[name]) is Literal else ()
        if choices and value not in choices:
            raise ValueError(f"{inner} must be one of {', '.join(choices)}, found {value!r}.")
        if not choices and not _fits(value, hints[name]):
            expected = hints[name] if get_args(hints[name]) else hints[name].__name__
            raise ValueError(f"{inner} must be {expected}, found {given!r}.")
        built[name] = float(value) if hints[name] is float else value
    try:
        return kind(**built)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value has a type; whole numbers are floats, truth values are not numbers."""
    kinds = get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(one, kinds[0]) for one in value)
    if kinds:
        return any(_fits(value, kind) for kind in kinds)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)
