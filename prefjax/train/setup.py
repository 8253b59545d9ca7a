"""What a run is made of before its first step: problem, programs, state, identity.

Programs are compiled once in a process for all runs with the same settings and sizes.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Shaped

from prefjax.data.validate import validate_embeddings
from prefjax.parallel import Backend, data_parallel, make_mesh, padded_size, place
from prefjax.train import evaluation
from prefjax.train.batch import Batches
from prefjax.train.config import OptimizerConfig, TrainConfig
from prefjax.train.layout import UserLayout
from prefjax.train.memory import MemorySource
from prefjax.train.problem import ModelConfig, Problem, make_problem
from prefjax.train.state import STATE_SPECS, Metrics, TrainState, init
from prefjax.train.step import SPECS, StepConfig, make_steps
from prefjax.types import Array, Choices, Comparisons

VERSION = 2
"""Version of what a folder of a run means; a folder that names none is of version 1."""


@runtime_checkable
class Source(Protocol):
    """Where comparisons come from: `MemorySource` and `ShardSource`.

    Attributes:
        layout: Places of the users.
        users: Names of the users, empty where they have none.
        total_weight: Sum of all sample weights.
        num_comparisons: Number of comparisons.
        num_responses: Number of responses.
        fingerprint: Digest of the comparisons.
    """

    layout: UserLayout
    users: tuple[str, ...]
    total_weight: float
    num_comparisons: int
    num_responses: int
    fingerprint: str

    def num_steps(self, num_slots: int) -> int:
        """Counts the steps of an epoch with ``num_slots`` comparisons a partition in a batch."""
        ...

    def user_names(self, num_users: int) -> str:
        """Digest of the names of the first users; empty if there are no names."""
        ...

    def mass(self) -> Float[np.ndarray, "partition row"]:
        """Sums the sample weights of every user's comparisons."""
        ...

    def index_users(self, user: Shaped[np.ndarray, " pair"]) -> Shaped[np.ndarray, " pair"]:
        """Gives the numbers of users by the ids that the source was made from."""
        ...

    def compared(self) -> Bool[np.ndarray, " response"]:
        """Tells which responses stand in a comparison with weight."""
        ...

    def batches(
        self, seed: int, epoch: int, t: int, num_slots: int, num_steps: int, mesh: Mesh
    ) -> Iterator[Batches]:
        """Yields what each program of the epoch reads, from step t on."""
        ...

    def describe(self, seed: int, epoch: int, t: int, num_slots: int) -> str:
        """Names the comparisons in the batch of a step."""
        ...


class Prepared(NamedTuple):
    """A run that is ready to start.

    Attributes:
        mesh: The devices.
        state: The state before the first step.
        problem: What every step reads.
        train_step: ``train_step(state, batches, problem) -> (state, metrics)``: several steps.
        evaluate: ``evaluate(state)`` on the validation comparisons; None without any.
        num_slots: Comparisons of a partition in a batch.
        steps_per_epoch: T, the number of steps of an epoch.
        identity: What a resumed run must share, as JSON.
    """

    mesh: Mesh
    state: TrainState
    problem: Problem
    train_step: Callable[..., tuple[TrainState, Metrics]]
    evaluate: Callable[[TrainState], evaluation.Evaluation] | None
    num_slots: int
    steps_per_epoch: int
    identity: dict[str, Any]


def prepare(
    source: Source,
    embeddings: Float[Array, "response input"],
    config: TrainConfig,
    optimizer: optax.GradientTransformation | None,
    validation: Comparisons | Choices | None,
    version: int = VERSION,
) -> Prepared:
    """Checks the input of a run, places it on the devices and makes the programs.

    Args:
        source: The comparisons.
        embeddings: One frozen embedding a response.
        config: Settings of the run.
        optimizer: The head's optimizer; None for that of ``config``.
        validation: Comparisons to evaluate on.
        version: Version of the run in whose folder it goes on.

    Raises:
        ValueError: An embedding is not finite, there is not one a response, sizes do not fit, or
            no comparison has weight.
    """
    embeddings = np.asarray(embeddings)
    if len(embeddings) != source.num_responses:
        raise ValueError(
            f"One embedding a response: {len(embeddings)} rows for {source.num_responses} "
            "responses."
        )
    if not source.total_weight > 0:
        raise ValueError("All comparisons have weight 0: there is nothing to learn from.")
    embeddings, compared = validate_embeddings(embeddings).values, source.compared()
    mesh = make_mesh(1 if config.backend == "single" else config.num_devices)
    num_partitions = source.layout.num_partitions
    num_slots = config.step.num_slots(num_partitions)
    num_steps = source.num_steps(num_slots)
    chosen = _make_optimizer(config.optimizer) if optimizer is None else optimizer
    model = config.step.model
    problem = make_problem(embeddings, compared, source.total_weight, num_steps, model)
    if version == 1:
        problem = _problem_of_version_1(problem)
    more = padded_size(num_partitions, mesh) - num_partitions
    mass = np.pad(source.mass(), ((0, more), (0, 0)))
    start = init(jax.random.key(config.seed), problem, mass, chosen, model, with_bias=version > 1)
    problem = place(problem, "replicated", mesh)
    train_step = _make_program(
        config.step, chosen, num_slots, config.steps_per_call, config.backend, mesh
    )
    return Prepared(
        mesh=mesh,
        state=place(start, STATE_SPECS, mesh),
        problem=problem,
        train_step=train_step,
        evaluate=(
            None
            if validation is None
            else make_evaluator(validation, problem, source, config, num_slots, mesh)
        ),
        num_slots=num_slots,
        steps_per_epoch=num_steps,
        identity=describe_run(source, embeddings, config, optimizer is None, version),
    )


def _problem_of_version_1(problem: Problem) -> Problem:
    """The problem of runs begun before the optimizer stepped c θ: penalties in units of θ."""
    embeddings = np.asarray(problem.embeddings)
    centered = embeddings - embeddings.mean(0, keepdims=True)
    scale = float(np.mean(np.sum(np.square(centered), axis=1)))
    penalty = np.asarray(problem.penalty * scale, np.float32)
    return problem._replace(
        penalty=penalty,
        input_scale=np.asarray(1, np.float32),
        input_mean=np.zeros_like(problem.input_mean),
    )


def make_evaluator(
    validation: Comparisons | Choices,
    problem: Problem,
    source: Source,
    config: TrainConfig,
    num_slots: int,
    mesh: Mesh,
) -> Callable[[TrainState], evaluation.Evaluation]:
    """Makes ``evaluate(state)`` on validation comparisons, whose users are those of the source."""
    validation = validation._replace(user=source.index_users(np.asarray(validation.user)))
    cell = MemorySource(validation, source.num_responses, source.layout, shuffle=False)
    if not cell.total_weight > 0:
        raise ValueError("All validation comparisons have weight 0: there is nothing to measure.")
    num_steps = cell.num_steps(num_slots)
    (batches,) = cell.batches(0, 0, 0, num_slots, num_steps, mesh)
    program = _make_evaluation(config.step.model, num_slots, config.backend, mesh)
    return lambda state: program(state, batches, problem)


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
    model: ModelConfig, num_slots: int, backend: Backend, mesh: Mesh
) -> Callable[..., evaluation.Evaluation]:
    program = evaluation.make_evaluation(model, num_slots)
    return data_parallel(program, evaluation.SPECS, backend=backend, mesh=mesh)


@lru_cache(maxsize=8)
def _make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    return config.make()


def describe_run(
    source: Source,
    embeddings: Float[np.ndarray, "response input"],
    config: TrainConfig,
    named_optimizer: bool = True,
    version: int = VERSION,
) -> dict[str, Any]:
    """Describes what a resumed run must share with the saved one, as JSON.

    Args:
        source: The comparisons.
        embeddings: Embeddings of all responses.
        config: Settings of the run.
        named_optimizer: Whether the optimizer is that of ``config``.
        version: Version of the run.
    """
    digest = hashlib.sha256(np.ascontiguousarray(embeddings).data).hexdigest()
    return {
        **({} if version == 1 else {"version": version}),
        "step": dataclasses.asdict(config.step),
        "optimizer": dataclasses.asdict(config.optimizer) if named_optimizer else "given",
        "seed": config.seed,
        "layout": dataclasses.asdict(source.layout),
        "data": source.fingerprint,
        "user_names": source.user_names(source.layout.num_users),
        "embeddings": {"shape": list(embeddings.shape), "sha256": digest},
    }
