"""What a run has learned and where it is in the data, and the state before the first step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, Float, Int, UInt32

from prefjax.basis import heads
from prefjax.train.problem import ModelConfig, Problem, from_unit_inputs
from prefjax.types import Array, Params, PRNGKey


class Users(NamedTuple):
    """The user table, sharded by partition; ``log_variance`` and its scale are None for MAP.

    Attributes:
        mean: m; 0, the mean of the prior, for a user without comparisons.
        scale: Adagrad's accumulator a of the mean.
        log_variance: ℓ; 0, the prior, for a user without comparisons.
        log_variance_scale: Adagrad's accumulator of the log variance.
        mass: n, the sum of the sample weights of the user's comparisons.
    """

    mean: Float[Array, "partition row factor"]
    scale: Float[Array, "partition row"]
    log_variance: Float[Array, "partition row factor"] | None
    log_variance_scale: Float[Array, "partition row"] | None
    mass: Float[Array, "partition row"]


class TrainState(NamedTuple):
    """Everything a run needs to go on: what was learned, and the position in the data.

    ``num_steps`` counts steps with data, ``num_skipped`` those that were not finite,
    ``skipped_in_a_row`` the last of them without a good one between.
    """

    params: Params
    moments: optax.OptState
    users: Users
    key: UInt32[Array, " word"]
    epoch: Int[Array, ""]
    t: Int[Array, ""]
    num_steps: Int[Array, ""]
    num_skipped: Int[Array, ""]
    skipped_in_a_row: Int[Array, ""]


class Metrics(NamedTuple):
    """What the steps of a program say of themselves, one number a step.

    Attributes:
        loss: Expected loss per comparison of the batch, in nats, before the step.
        total_weight: Sum of the sample weights of the batch.
        gradient_norm: Norm of the head's gradient, for inputs of mean squared norm 1.
        finite: Whether loss and gradient are; a step that is not changes nothing.
        num_skipped: Steps so far that were not finite.
        skipped_in_a_row: The last of them, without a finite one between.
    """

    loss: Float[Array, "*step"]
    total_weight: Float[Array, "*step"]
    gradient_norm: Float[Array, "*step"]
    finite: Bool[Array, "*step"]
    num_skipped: Int[Array, "*step"]
    skipped_in_a_row: Int[Array, "*step"]


STATE_SPECS = TrainState._make(
    "sharded" if name == "users" else "replicated" for name in TrainState._fields
)
"""Placement of a state on the devices: the user table is cut by partition, the rest is whole."""


def init(
    key: PRNGKey,
    problem: Problem,
    mass: Float[np.ndarray, "partition row"],
    optimizer: optax.GradientTransformation,
    config: ModelConfig,
    *,
    with_bias: bool = True,
) -> TrainState:
    """Makes the state before the first step, on the host: users at the prior, a small random head.

    Args:
        key: Draws the head.
        problem: Width, scale and mean of its embeddings set the scale of the head.
        mass: Sum of the sample weights of every user's comparisons.
        optimizer: The optax optimizer of the head.
        config: What is fitted.
        with_bias: Whether the head has a bias, which votes need; runs of version 1 have none.
    """
    trunk_key, out_key = jax.random.split(key)
    params = dict(heads.init(trunk_key, problem.embeddings.shape[1], config.head))
    shape = jnp.shape(params["out"]["kernel"])
    kernel = 0.1 * jax.random.normal(out_key, shape) / np.sqrt(shape[0])
    params["out"] = {"kernel": kernel.at[:, -1].set(0)}
    if with_bias:
        params["out"]["bias"] = jnp.zeros(shape[1])
    params = from_unit_inputs(params, problem)
    table = np.zeros((*mass.shape, config.num_factors), np.float32)
    rows = np.zeros(mass.shape, np.float32)
    marginal = config.objective == "marginal"
    zero = np.asarray(0, np.int32)
    return TrainState(
        params=jax.tree.map(np.asarray, params),
        moments=jax.tree.map(np.asarray, optimizer.init(params)),
        users=Users(
            mean=table,
            scale=rows,
            log_variance=table if marginal else None,
            log_variance_scale=rows if marginal else None,
            mass=np.asarray(mass, np.float32),
        ),
        key=np.asarray(jax.random.key_data(key)),
        epoch=zero,
        t=zero,
        num_steps=zero,
        num_skipped=zero,
        skipped_in_a_row=zero,
    )
