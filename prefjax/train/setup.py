"""What a run is made of before its first step: problem, programs, state, identity."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Float

from prefjax.data.validate import validate_embeddings
from prefjax.parallel import Backend, data_parallel, make_mesh, padded_size, place
from prefjax.train import evaluate
from prefjax.train.batch import Feed
from prefjax.train.config import OptimizerConfig, TrainConfig
from prefjax.train.layout import UserLayout
from prefjax.train.memory import MemorySource
from prefjax.train.objective import ModelConfig, Problem
from prefjax.train.state import STATE_SPECS, TrainState, init
from prefjax.train.step import SPECS, StepConfig, make_steps
from prefjax.types import Array, Comparisons


@runtime_checkable
class Source(Protocol):
    """Where judgments come from; `MemorySource` and `ShardSource`."""

    layout: UserLayout
    total_weight: float
    num_judgments: int
    num_responses: int
    fingerprint: str

    def num_steps(self, num_slots: int) -> int:
        """Steps of an epoch with ``num_slots`` judgments a partition in a batch."""
        ...

    def user_names(self, num_users: int) -> str:
        """Digest of the names of the first users; empty if there are no names."""
        ...

    def mass(self) -> Float[np.ndarray, "partition row"]:
        """Weight of the answers of every user."""
        ...

    def feeds(
        self, seed: int, epoch: int, t: int, num_slots: int, num_steps: int, mesh: Mesh
    ) -> Iterator[Feed]:
        """What each program of the epoch reads, from step t on."""
        ...

    def describe(self, seed: int, epoch: int, t: int, num_slots: int) -> str:
        """The batch of a step in words."""
        ...


class Prepared(NamedTuple):
    """A run that is ready to start; ``measure`` is None without validation judgments."""

    mesh: Mesh
    state: TrainState
    problem: Problem
    advance: Callable[..., Any]
    measure: Callable[[TrainState], evaluate.Evaluation] | None
    num_slots: int
    steps_per_epoch: int
    identity: dict[str, Any]


def prepare(
    source: Source,
    embeddings: Float[Array, "response input"],
    config: TrainConfig,
    optimizer: optax.GradientTransformation | None,
    validation: Comparisons | None,
) -> Prepared:
    """Checks the input, places it and makes the programs.

    Args:
        source: The judgments.
        embeddings: One a response.
        config: Settings.
        optimizer: Of the head; None for that of ``config``.
        validation: Judgments to evaluate on.

    Raises:
        ValueError: An embedding is not finite, there is not one a response, sizes do not fit, or
            no judgment has weight.
    """
    embeddings = validate_embeddings(np.asarray(embeddings)).values
    if len(embeddings) != source.num_responses:
        raise ValueError(
            f"One embedding a response: {len(embeddings)} rows for {source.num_responses} "
            "responses."
        )
    if not source.total_weight > 0:
        raise ValueError("All judgments have weight 0: there is nothing to learn from.")
    mesh = make_mesh(1 if config.backend == "single" else config.num_devices)
    num_partitions = source.layout.num_partitions
    num_slots = config.step.num_slots(num_partitions)
    num_steps = source.num_steps(num_slots)
    chosen = _make_optimizer(config.optimizer) if optimizer is None else optimizer
    model = config.step.model
    problem = make_problem(embeddings, source.total_weight, num_steps, model)
    problem = place(problem, "replicated", mesh)
    more = padded_size(num_partitions, mesh) - num_partitions
    mass = np.pad(source.mass(), ((0, more), (0, 0)))
    start = init(jax.random.key(config.seed), embeddings.shape[1], mass, chosen, model)
    advance = _make_program(
        config.step, chosen, num_slots, config.steps_per_call, config.backend, mesh
    )
    return Prepared(
        mesh=mesh,
        state=place(start, STATE_SPECS, mesh),
        problem=problem,
        advance=advance,
        measure=(
            None
            if validation is None
            else make_measure(validation, problem, source, config, num_slots, mesh)
        ),
        num_slots=num_slots,
        steps_per_epoch=num_steps,
        identity=describe_run(source, embeddings, config, optimizer is None),
    )


def make_problem(
    embeddings: Float[np.ndarray, "response input"],
    total_weight: float,
    steps_per_epoch: int,
    model: ModelConfig,
) -> Problem:
    """What every step reads; penalties per unit of weight, in units of θ.

    Args:
        embeddings: Finite.
        total_weight: Of all judgments.
        steps_per_epoch: T.
        model: Its penalties, in units of φ.
    """
    centred = embeddings - embeddings.mean(0, keepdims=True)
    scale = float(np.mean(np.sum(np.square(centred), axis=1)))
    strength = np.full(model.num_factors + 1, model.penalty)
    strength[-1] = model.utility_penalty
    return Problem(
        embeddings=embeddings,
        strength=(strength * scale / total_weight).astype(np.float32),
        trunk_strength=np.asarray(1 / total_weight, np.float32),
        steps_per_epoch=np.asarray(steps_per_epoch, np.int32),
    )


def make_measure(
    validation: Comparisons,
    problem: Problem,
    source: Source,
    config: TrainConfig,
    num_slots: int,
    mesh: Mesh,
) -> Callable[[TrainState], evaluate.Evaluation]:
    """``measure(state)`` on the validation cell, whose users must be those of the source."""
    cell = MemorySource(validation, source.num_responses, source.layout, shuffle=False)
    if not cell.total_weight > 0:
        raise ValueError("All validation judgments have weight 0: there is nothing to measure.")
    num_steps = cell.num_steps(num_slots)
    (feed,) = cell.feeds(0, 0, 0, num_slots, num_steps, mesh)
    program = _make_evaluation(config.step.model, num_slots, num_steps, config.backend, mesh)
    return lambda state: program(state, feed, problem)


@lru_cache(maxsize=8)
def _make_program(
    config: StepConfig,
    optimizer: optax.GradientTransformation,
    num_slots: int,
    num_steps: int,
    backend: Backend,
    mesh: Mesh,
) -> Callable[..., Any]:
    """One program for all runs of a process that differ in data only."""
    steps = make_steps(config, optimizer, num_slots, num_steps)
    return data_parallel(steps, SPECS, backend=backend, mesh=mesh, donate=(0,))


@lru_cache(maxsize=8)
def _make_evaluation(
    model: ModelConfig, num_slots: int, num_steps: int, backend: Backend, mesh: Mesh
) -> Callable[..., evaluate.Evaluation]:
    program = evaluate.make_evaluation(model, num_slots, num_steps)
    return data_parallel(program, evaluate.SPECS, backend=backend, mesh=mesh)


@lru_cache(maxsize=8)
def _make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    return config.make()


def describe_run(
    source: Source,
    embeddings: Float[np.ndarray, "response input"],
    config: TrainConfig,
    named_optimizer: bool = True,
) -> dict[str, Any]:
    """What a resumed run must share with the saved one, as JSON.

    Args:
        source: The judgments.
        embeddings: Of all responses.
        config: Settings.
        named_optimizer: Whether the optimizer is that of ``config``.
    """
    digest = hashlib.sha256(np.ascontiguousarray(embeddings).data).hexdigest()
    return {
        "step": dataclasses.asdict(config.step),
        "optimizer": dataclasses.asdict(config.optimizer) if named_optimizer else "given",
        "seed": config.seed,
        "layout": dataclasses.asdict(source.layout),
        "data": source.fingerprint,
        "user_names": source.user_names(source.layout.num_users),
        "embeddings": {"shape": list(embeddings.shape), "sha256": digest},
    }
