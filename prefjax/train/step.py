"""One training step: head by any optax optimizer, users by row-sparse, row-wise Adagrad.

    head    θ ← θ + optax( Σ_r ∂loss_r/∂θ / Σ_r w_r + ∂penalty/∂θ )
    user    G_u = Σ_{r of u} ∂loss_r/∂m_u,   a_u ← a_u + mean_j G_uj²,   m_u ← m_u − η G_u / √a_u

Sums run over the whole batch. Those of the head are reduced over devices; those of a user never
leave the device that owns the user's row. One accumulator a row instead of one a number, and only
rows of the batch are touched: a step costs the same for a thousand users as for a hundred million.

A step whose reduced loss or gradient is not finite changes nothing and is counted; after
`MAX_SKIPPED` in a row all further steps of the program change nothing either, so what is on disk
stays finite. A batch without weight changes nothing and is not counted.

References:
    Duchi et al., "Adaptive subgradient methods" (2011); row-wise as in arXiv 1906.00091, section 5.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Int

from prefjax.parallel import Specs, all_sum
from prefjax.settings import check_settings
from prefjax.train.batch import AnyBatch, Batches, get_batch
from prefjax.train.objective import UserRows, batch_loss, head_penalty
from prefjax.train.problem import ModelConfig, Problem, from_unit_inputs, to_unit_inputs
from prefjax.train.state import STATE_SPECS, Metrics, TrainState, Users
from prefjax.types import Array

MAX_SKIPPED = 3


@dataclass(frozen=True)
class StepConfig:
    """How a step fits a model; fixed for a run.

    Attributes:
        model: What is fitted.
        batch_size: Comparisons a step, a multiple of the number of partitions times ``accumulate``.
        accumulate: Parts in which a batch is computed, one after another, to save memory.
        user_rate: η of the users' Adagrad.

    Raises:
        ValueError: A size is below 1, or ``user_rate`` negative or not finite.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    batch_size: int = 8192
    accumulate: int = 1
    user_rate: float = 0.3

    def __post_init__(self):
        check_settings(self, "batch_size", "accumulate")

    def num_slots(self, num_partitions: int) -> int:
        """Comparisons of one partition in a batch.

        Raises:
            ValueError: They are not a whole number, or cannot be cut into ``accumulate`` parts.
        """
        share = num_partitions * self.accumulate
        if self.batch_size % share:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of {num_partitions} partitions times "
                f"accumulate {self.accumulate}."
            )
        return self.batch_size // num_partitions


SPECS = Specs(inputs=(STATE_SPECS, "sharded", "replicated"), outputs=(STATE_SPECS, "replicated"))
"""Placement for `make_steps`: state, batches and problem go in, state and metrics come out."""


def make_steps(
    config: StepConfig, optimizer: optax.GradientTransformation, num_slots: int, num_steps: int
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Makes a program of several steps, for `prefjax.parallel.data_parallel` with `SPECS`.

    Args:
        config: How a step fits.
        optimizer: Any optax optimizer, for the head.
        num_slots: Comparisons of a partition in a batch.
        num_steps: Steps in a program; those behind the end of the epoch do nothing.

    Returns:
        ``steps(state, batches, problem, axis) -> (state, metrics)``, metrics with one entry a step.
    """

    def steps(state: TrainState, batches: Batches, problem: Problem, axis: str | None):
        def one(carry, index):
            state, slot = carry
            batch = get_batch(batches, index, state.t, num_slots)
            state, slot, metrics = _step(state, slot, batch, problem, config, optimizer, axis)
            return (state, slot), metrics

        slot = jnp.zeros(jnp.shape(state.users.scale), jnp.int32)
        (state, _), metrics = jax.lax.scan(one, (state, slot), jnp.arange(num_steps))
        return state, metrics

    return steps


def _step(
    state: TrainState,
    slot: Int[Array, "partition row"],
    batch: AnyBatch,
    problem: Problem,
    config: StepConfig,
    optimizer: optax.GradientTransformation,
    axis: str | None,
) -> tuple[TrainState, Int[Array, "partition row"], Metrics]:
    in_epoch = state.t < problem.steps_per_epoch
    batch = batch._replace(sample_weight=jnp.where(in_epoch, batch.sample_weight, 0))
    head, users, data, weight = _gradients(state, batch, problem, config)
    user_square = sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(users))
    head, data, weight, user_square = all_sum((head, data, weight, user_square), axis)

    total = jnp.where(weight > 0, weight, 1)
    # The optimizer sees the head for inputs of scale 1, whatever the unit of the embeddings.
    scaled = to_unit_inputs(state.params, problem)
    _, pull_back = jax.vjp(lambda scaled: from_unit_inputs(scaled, problem), scaled)
    penalty = jax.grad(head_penalty)(scaled, problem, config.model)
    head = jax.tree.map(lambda g, p: g / total + p, pull_back(head)[0], penalty)
    norm = optax.tree.norm(head)
    finite = jnp.isfinite(data) & jnp.isfinite(norm) & jnp.isfinite(user_square)
    halted = state.skipped_in_a_row >= MAX_SKIPPED
    has_data = weight > 0
    apply = finite & has_data & ~halted

    change, moments = optimizer.update(head, state.moments, scaled)
    stepped: Any = optax.apply_updates(scaled, change)
    params = from_unit_inputs(stepped, problem)
    keep = partial(jax.tree.map, lambda new, old: jnp.where(apply, new, old))
    table, slot = _update_users(state.users, users, slot, batch, apply, config.user_rate)
    skipped = (~finite & has_data & ~halted).astype(jnp.int32)
    state = state._replace(
        params=keep(params, state.params),
        moments=keep(moments, state.moments),
        users=table,
        t=jnp.where(in_epoch, state.t + 1, state.t),
        num_steps=state.num_steps + (has_data & ~halted).astype(jnp.int32),
        num_skipped=state.num_skipped + skipped,
        skipped_in_a_row=jnp.where(apply, 0, state.skipped_in_a_row + skipped),
    )
    metrics = Metrics(
        loss=data / total,
        total_weight=weight,
        gradient_norm=norm,
        finite=finite | ~has_data,
        num_skipped=state.num_skipped,
        skipped_in_a_row=state.skipped_in_a_row,
    )
    return state, slot, metrics


def _gradients(state: TrainState, batch: AnyBatch, problem: Problem, config: StepConfig):
    """Sums of this device: head gradient, user gradient by row of the batch, loss, weight."""
    users = state.users

    def of_rows(table, row):
        return jax.vmap(lambda t, r: t.at[r].get(mode="fill", fill_value=jnp.nan))(table, row)

    def part(batch: AnyBatch):
        rows = UserRows(
            mean=of_rows(users.mean, batch.row),
            log_variance=(
                None if users.log_variance is None else of_rows(users.log_variance, batch.row)
            ),
            mass=of_rows(users.mass, batch.row),
        )

        def loss(params, moving):
            rows_now = rows._replace(mean=moving[0], log_variance=moving[1])
            return batch_loss(params, rows_now, problem.embeddings, batch, config.model)

        moving = (rows.mean, rows.log_variance)
        (_, data), (head, by_row) = jax.value_and_grad(loss, (0, 1), has_aux=True)(
            state.params, moving
        )
        return head, by_row, data, jnp.sum(batch.sample_weight)

    if config.accumulate == 1:
        return part(batch)

    def cut(x):
        return jnp.moveaxis(x.reshape(x.shape[0], config.accumulate, -1, *x.shape[2:]), 1, 0)

    parts = jax.tree.map(cut, batch)

    def add(total, chunk):
        head, by_row, data, weight = part(chunk)
        return jax.tree.map(jnp.add, total, (head, data, weight)), by_row

    zero = (jax.tree.map(jnp.zeros_like, state.params), jnp.zeros(()), jnp.zeros(()))
    (head, data, weight), by_row = jax.lax.scan(add, zero, parts)
    by_row = jax.tree.map(
        lambda g: jnp.moveaxis(g, 0, 1).reshape(g.shape[1], -1, *g.shape[3:]), by_row
    )
    return head, by_row, data, weight


def _update_users(users: Users, gradient, slot, batch: AnyBatch, apply, rate: float):
    """Row-wise Adagrad on the users of a batch.

    Comparisons of one user are summed first: each writes its number into ``slot`` of the user's
    row, the one that stays is where the sum is formed, and only it writes the row. ``slot`` needs
    no clearing, because a step reads just what it has written.
    """

    def of_partition(table: Users, gradient, slot, row, present):
        num_rows = slot.shape[0]
        number = jnp.arange(row.shape[0], dtype=jnp.int32)
        slot = slot.at[jnp.where(present, row, num_rows)].set(number, mode="drop")
        chosen = jnp.where(present, slot[row], number)
        target = jnp.where(present & (chosen == number), row, num_rows)

        def adagrad(values, scale, gradient):
            total = jnp.zeros_like(gradient).at[chosen].add(gradient)
            new_scale = scale[row] + jnp.mean(jnp.square(total), axis=-1)
            change = rate * total / jnp.sqrt(jnp.maximum(new_scale, 1e-30))[:, None]
            values = values.at[target].set(values[row] - change, mode="drop")
            return values, scale.at[target].set(new_scale, mode="drop")

        mean, scale = adagrad(table.mean, table.scale, gradient[0])
        table = table._replace(mean=mean, scale=scale)
        if table.log_variance is not None:
            spread, scale = adagrad(table.log_variance, table.log_variance_scale, gradient[1])
            table = table._replace(log_variance=spread, log_variance_scale=scale)
        return table, slot

    return jax.vmap(of_partition)(
        users, gradient, slot, batch.row, (batch.sample_weight > 0) & apply
    )
