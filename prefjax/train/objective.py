"""The loss of a batch, and its gradient in the head and in the users of the batch.

Of every row r = (u, a, b, y) with weight w_r

    s = m_u·f + t,   v = Σ_j S_uj f_j²,   [f, t] = [φ, t](e_a) − [φ, t](e_b),
    loss_r = E_{z ~ N(s, v)} softplus(z) − y s  +  1/n_u KL(N(m_u, diag S_u) ‖ N(0, I))

where n_u = Σ w_r over all rows of u, so that a pass over the data counts every user's divergence
once. ``marginal`` integrates users out in this way, with S = exp(ℓ) diagonal; ``map`` has S = 0,
softplus itself and ½‖m‖² (as published, with β absorbed into the scale of θ). The head adds

    ½ Σ_j τ_j ‖c θ_j‖² + decay(trunk),   divided by Σ w_r where the data is,

with c the root mean squared norm of the centered embeddings of all responses that were compared.

Minimized, this is the objective of `prefjax.basis.fit_head` with diagonal covariances. Its sum over
a batch, divided by the batch's weight, has the full objective per comparison as expectation.

References:
    arXiv 2503.06358, eq. 2 and 4; `prefjax.variational` for the expectation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from prefjax import variational
from prefjax.basis import heads
from prefjax.basis.heads import HeadConfig
from prefjax.numerics import softplus_loss
from prefjax.settings import check_settings
from prefjax.train.batch import Batch
from prefjax.types import Array, Params
from prefjax.variational import Bound

Objective = Literal["marginal", "map"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class ModelConfig:
    """What is fitted; another value is another model.

    Attributes:
        num_factors: J, the number of base rewards.
        hidden: Widths of the head's hidden layers; empty for a linear head.
        objective: Users integrated out, or joint MAP.
        bound: The row expectation of ``marginal``.
        penalty: τ, the prior precision of a response's φ_j, as in `prefjax.basis`.
        utility_penalty: τ of the shared utility.
        trunk_penalty: Prior precision of hidden kernels, in units of their spread at the start.
        precision: Of the head's matrix products; sums and parameters are float32 always.

    Raises:
        ValueError: A size is not positive, or a penalty negative or not finite.
    """

    num_factors: int = 8
    hidden: tuple[int, ...] = ()
    objective: Objective = "marginal"
    bound: Bound = "jaakkola"
    penalty: float = 4.0
    utility_penalty: float = 1.0
    trunk_penalty: float = 1.0
    precision: Precision = "float32"

    def __post_init__(self):
        check_settings(self, "num_factors")
        if min(self.hidden, default=1) < 1:
            raise ValueError(f"the widths in hidden must be at least 1, got {self.hidden}")

    @property
    def head(self) -> HeadConfig:
        """Structure of the head."""
        return HeadConfig(
            num_factors=self.num_factors, hidden=self.hidden, trunk_penalty=self.trunk_penalty
        )


class Problem(NamedTuple):
    """What every step reads and none changes; the same on every device.

    Attributes:
        embeddings: Embeddings of all responses, finite.
        input_scale: c, root of the mean squared norm of the centered embeddings of the responses
            that somebody compared. The optimizer steps the head for inputs (e − mean) / c, so
            that the unit and the origin of the embeddings change nothing.
        input_mean: Mean embedding of those responses.
        penalty: τ of every column of c θ, divided by the weight of all comparisons.
        trunk_penalty: 1 / weight of all comparisons.
        steps_per_epoch: T, the number of steps of an epoch.
    """

    embeddings: Float[Array, "response input"]
    input_scale: Float[Array, ""]
    input_mean: Float[Array, " input"]
    penalty: Float[Array, " factor_and_utility"]
    trunk_penalty: Float[Array, ""]
    steps_per_epoch: Array


def make_problem(
    embeddings: Float[np.ndarray, "response input"],
    compared: Bool[np.ndarray, " response"],
    total_weight: float,
    steps_per_epoch: int,
    config: "ModelConfig",
) -> Problem:
    """Makes what every step reads; penalties per unit of weight, for inputs of scale 1.

    Args:
        embeddings: Embeddings of all responses, finite.
        compared: Which responses stand in a comparison with weight; no other one is looked at.
        total_weight: Sum of the sample weights of all comparisons.
        steps_per_epoch: T, the number of steps of an epoch.
        config: Penalties, in units of φ.
    """
    used = embeddings[compared].astype(np.float64)
    mean = used.mean(0)
    scale = float(np.sqrt(np.mean(np.sum(np.square(used - mean), axis=1))))
    penalty = np.full(config.num_factors + 1, config.penalty)
    penalty[-1] = config.utility_penalty
    return Problem(
        embeddings=embeddings,
        input_scale=np.asarray(scale if scale > 0 else 1.0, np.float32),
        input_mean=mean.astype(np.float32),
        penalty=(penalty / total_weight).astype(np.float32),
        trunk_penalty=np.asarray(1 / total_weight, np.float32),
        steps_per_epoch=np.asarray(steps_per_epoch, np.int32),
    )


def to_unit_inputs(params: Params, problem: Problem) -> Params:
    """Gives the head for inputs (e − mean) / c from the head for embeddings e.

    Args:
        params: The head for embeddings.
        problem: Its ``input_scale`` and ``input_mean``.
    """
    scale, mean = jnp.asarray(problem.input_scale), problem.input_mean
    return _change_inputs(params, problem, scale, lambda kernel: mean @ kernel)


def from_unit_inputs(params: Params, problem: Problem) -> Params:
    """Undoes `to_unit_inputs`."""
    scale, mean = jnp.asarray(problem.input_scale), problem.input_mean
    return _change_inputs(params, problem, 1 / scale, lambda kernel: -mean @ kernel / scale)


def _change_inputs(
    params: Params, problem: Problem, factor: Array, shift: Callable[[Array], Array]
) -> Params:
    """Multiplies what reads an embedding; an origin cancels but in the first hidden layer."""
    kernel, num_inputs = params["out"]["kernel"], problem.embeddings.shape[1]
    reads_embedding = jnp.arange(kernel.shape[0])[:, None] < num_inputs
    out = {"kernel": kernel * jnp.where(reads_embedding, factor, 1.0)}
    if "trunk" not in params:
        return {"out": out}
    first = params["trunk"]["layer0"]
    first = {"kernel": first["kernel"] * factor, "bias": first["bias"] + shift(first["kernel"])}
    return {"out": out, "trunk": {**params["trunk"], "layer0": first}}


class UserRows(NamedTuple):
    """The users of a batch's rows; ``log_variance`` is None for MAP, ``mass`` is n_u."""

    mean: Float[Array, "*rows factor"]
    log_variance: Float[Array, "*rows factor"] | None
    mass: Float[Array, "*rows"]


def gap(
    params: Params,
    embeddings: Float[Array, "response input"],
    batch: Batch,
    config: ModelConfig,
) -> tuple[Float[Array, "*lead slot factor"], Float[Array, "*lead slot"]]:
    """F and t of every row; zero where the weight is zero, whatever the embeddings are."""
    present = batch.sample_weight > 0

    def embed(response):
        there = present & (response >= 0)
        found = (
            jnp.asarray(embeddings)
            .at[jnp.maximum(response, 0)]
            .get(mode="fill", fill_value=jnp.nan)
        )
        return jnp.where(there[..., None], found, 0).astype(config.precision), there

    (first, is_first), (second, is_second) = embed(batch.first), embed(batch.second)
    if not config.hidden:
        kernel = params["out"]["kernel"].astype(config.precision)
        table = jnp.matmul(first - second, kernel, preferred_element_type=jnp.float32)
    else:
        low = jax.tree.map(lambda x: x.astype(config.precision), params)

        def describe(inputs, there):
            flat = heads.apply(low, inputs.reshape(-1, inputs.shape[-1]), config.head)
            table = jnp.concatenate([flat.features, flat.utility[:, None]], axis=1)
            table = table.astype(jnp.float32).reshape(*there.shape, -1)
            return jnp.where(there[..., None], table, 0)

        table = describe(first, is_first) - describe(second, is_second)
    return table[..., :-1], table[..., -1]


def row_losses(
    features: Float[Array, "*rows factor"],
    offset: Float[Array, "*rows"],
    users: UserRows,
    label: Float[Array, "*rows"],
    config: ModelConfig,
) -> tuple[Float[Array, "*rows"], Float[Array, "*rows"]]:
    """Expected loss of each row, and the divergence of its user, in nats."""
    location = jnp.sum(users.mean * features, axis=-1) + offset
    square = jnp.sum(jnp.square(users.mean), axis=-1)
    if users.log_variance is None:
        return softplus_loss(location, label), 0.5 * square
    variance = jnp.exp(users.log_variance)
    spread = jnp.sum(variance * jnp.square(features), axis=-1)
    expected = variational.expect(location, spread, config.bound).value - label * location
    surplus = jnp.sum(variance - 1 - users.log_variance, axis=-1)
    return expected, 0.5 * (square + surplus)


def batch_loss(
    params: Params,
    users: UserRows,
    embeddings: Float[Array, "response input"],
    batch: Batch,
    config: ModelConfig,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Σ w (loss + divergence / n) over the batch, and its part Σ w loss; no head penalty.

    Rows of weight 0 count as absent, in the gradient too, whatever their users and embeddings hold.
    """
    present = batch.sample_weight > 0
    wide = present[..., None]
    features, offset = gap(params, embeddings, batch, config)
    rows = UserRows(
        mean=jnp.where(wide, users.mean, 0),
        log_variance=(
            None if users.log_variance is None else jnp.where(wide, users.log_variance, 0)
        ),
        mass=jnp.where(present, users.mass, 1),
    )
    label = jnp.where(present, batch.label, 0.5)
    loss, divergence = row_losses(features, offset, rows, label, config)
    data = jnp.sum(batch.sample_weight * loss)
    return data + jnp.sum(batch.sample_weight * divergence / rows.mass), data


def head_penalty(params: Params, problem: Problem, config: ModelConfig) -> Float[Array, ""]:
    """The head's penalty per unit of weight of all comparisons, in nats.

    Args:
        params: The head for inputs of scale 1; see `to_unit_inputs`.
        problem: Penalties per unit of weight.
        config: What is fitted.
    """
    square = jnp.square(params["out"]["kernel"])
    decay = heads.trunk_decay(params, config.head)
    return 0.5 * jnp.sum(square * problem.penalty[None]) + problem.trunk_penalty * decay
