"""How well new comparisons of known users are predicted: validation comparisons, while training.

    p_r = E_{z ~ N(s, v)} σ(z)  (v = 0 for MAP),   nll = −Σ w (y log p + (1 − y) log(1 − p)) / Σ w

and of a choice among several ``−Σ w Σ_k y_k log E softmax(z)_k``.
Sums are reduced over devices before the division, so the number is that of one device.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax import variational
from prefjax.logistic import softmax_expectation
from prefjax.numerics import softplus_loss
from prefjax.parallel import Specs, all_sum
from prefjax.train.batch import ChoiceBatch, PackedRows, get_batch
from prefjax.train.objective import UserRows, choice_rewards, feature_gap
from prefjax.train.problem import ModelConfig, Problem
from prefjax.train.state import STATE_SPECS, TrainState
from prefjax.types import Array

SPECS = Specs(inputs=(STATE_SPECS, "sharded", "replicated"), outputs="replicated")


class Evaluation(NamedTuple):
    """How well the validation comparisons are predicted.

    Attributes:
        nll: Predictive loss per comparison, in nats.
        accuracy: Share of comparisons on whose likelier side p lies; ties count half. Of choices,
            label of the likeliest.
        total_weight: Sum of the sample weights of all comparisons.
    """

    nll: Float[Array, ""]
    accuracy: Float[Array, ""]
    total_weight: Float[Array, ""]


def make_evaluation(config: ModelConfig, num_slots: int) -> Callable[..., Evaluation]:
    """Makes ``evaluate(state, batches, problem, axis) -> Evaluation`` for `data_parallel`.

    Args:
        config: What was fitted.
        num_slots: Comparisons of a partition that are read at once.
    """

    def evaluate(state: TrainState, batches: PackedRows, problem: Problem, axis: str | None):
        def add(t, total):
            batch = get_batch(batches, t, t, num_slots)
            present = batch.sample_weight > 0
            if isinstance(batch, ChoiceBatch):
                loss, right = _of_choices(state, batch, problem, config)
                sums = (batch.sample_weight * x for x in (loss, right, jnp.ones_like(right)))
                return jax.tree.map(lambda a, b: a + jnp.sum(b), total, tuple(sums))
            features, offset = feature_gap(state.params, problem.embeddings, batch, config)
            of_rows = jax.vmap(lambda table, row: table[row])
            mean = of_rows(state.users.mean, batch.row)
            location = jnp.sum(mean * features, axis=-1) + offset
            location = jnp.where(present, location, 0)
            if state.users.log_variance is None:
                loss, probability = softplus_loss(location, batch.label), jax.nn.sigmoid(location)
            else:
                variance = jnp.exp(of_rows(state.users.log_variance, batch.row))
                spread = jnp.where(present, jnp.sum(variance * features**2, axis=-1), 0)
                probability = jnp.clip(variational.quadrature(location, spread).slope, 1e-7, 1)
                other = jnp.clip(variational.quadrature(-location, spread).slope, 1e-7, 1)
                loss = -batch.label * jnp.log(probability) - (1 - batch.label) * jnp.log(other)
            right = 0.5 + 0.5 * jnp.sign(probability - 0.5) * jnp.sign(batch.label - 0.5)
            sums = (batch.sample_weight * loss, batch.sample_weight * right, batch.sample_weight)
            return jax.tree.map(lambda a, b: a + jnp.sum(b), total, sums)

        zeros = (jnp.zeros(()),) * 3
        num_steps = (jnp.max(batches.count) + num_slots - 1) // num_slots
        total = jax.lax.fori_loop(0, num_steps, add, zeros)
        loss, right, weight = all_sum(total, axis)
        some = jnp.where(weight > 0, weight, 1)
        return Evaluation(nll=loss / some, accuracy=right / some, total_weight=weight)

    return evaluate


def _of_choices(state: TrainState, batch: ChoiceBatch, problem: Problem, config: ModelConfig):
    """Loss of every choice and the label of its likeliest response; 0 where absent."""
    present = batch.sample_weight > 0
    users = state.users

    def of_users(table):
        return jnp.where(present[..., None], jax.vmap(lambda t, r: t[r])(table, batch.row), 0)

    rows = UserRows(
        mean=of_users(users.mean),
        log_variance=None if users.log_variance is None else of_users(users.log_variance),
        mass=jnp.ones_like(batch.sample_weight),
    )
    told = choice_rewards(state.params, rows, problem.embeddings, batch, config)
    probability = softmax_expectation.expect(*told).probability
    label = jnp.moveaxis(batch.label, -1, 0)
    loss = -jnp.sum(label * jnp.log(jnp.clip(probability, 1e-7, 1)), axis=0)
    likeliest = jnp.argmax(probability, axis=0)[None]
    right = jnp.take_along_axis(label, likeliest, axis=0)[0]
    return jnp.where(present, loss, 0), jnp.where(present, right, 0)
