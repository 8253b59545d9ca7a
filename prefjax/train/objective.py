"""The loss of a batch, and its gradient in the head and in the users of the batch.

Of every row r = (u, a, b, y) with weight w_r

    s = m_u·f + t,   v = Σ_j S_uj f_j²,   [f, t] = [φ, t](e_a) − [φ, t](e_b),
    loss_r = E_{z ~ N(s, v)} softplus(z) − y s  +  1/n_u KL(N(m_u, diag S_u) ‖ N(0, I))

and of every choice among several, with rewards s_k, covariance V and labels y_k,

    loss_r = E_{z ~ N(s, V)} log Σ_k exp z_k − Σ_k y_k s_k  +  the same divergence,

which for two is the loss above; the expectation is that of `prefjax.logistic.softmax_expectation`,
or the bound of `prefjax.logistic.softmax_bound`.

n_u = Σ w_r is over all rows of u, so that a pass over the data counts every user's divergence once.
``marginal`` integrates users out in this way, with S = exp(ℓ) diagonal; ``map`` has S = 0, the loss
itself and ½‖m‖² (as published, with β absorbed into the scale of θ). The head adds

    ½ Σ_j τ_j ‖c θ_j‖² + decay(trunk),   divided by Σ w_r where the data is,

with c the root mean squared norm of the centered embeddings of all responses that were compared.

Minimized, this is the objective of `prefjax.basis.fit_head` with diagonal covariances. Its sum over
a batch, divided by the batch's weight, has the full objective per comparison as expectation.

References:
    arXiv 2503.06358, eq. 2 and 4; `prefjax.variational` for the expectation.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from prefjax import variational
from prefjax.basis import heads
from prefjax.logistic import softmax_bound, softmax_expectation
from prefjax.logistic.softmax_expectation import ChoiceExpectation
from prefjax.numerics import softplus_loss
from prefjax.train.batch import ABSENT, AnyBatch, Batch, ChoiceBatch
from prefjax.train.problem import ModelConfig, Problem
from prefjax.types import BASELINE, Array, Params


class UserRows(NamedTuple):
    """The users of a batch's rows; ``log_variance`` is None for MAP, ``mass`` is n_u."""

    mean: Float[Array, "*rows factor"]
    log_variance: Float[Array, "*rows factor"] | None
    mass: Float[Array, "*rows"]


def feature_gap(
    params: Params,
    embeddings: Float[Array, "response input"],
    batch: Batch,
    config: ModelConfig,
) -> tuple[Float[Array, "*lead slot factor"], Float[Array, "*lead slot"]]:
    """Gives f and t of every row; zero where the weight is zero, whatever the embeddings are.

    Args:
        params: The head.
        embeddings: Embeddings of all responses.
        batch: The rows.
        config: What is fitted.
    """
    present = batch.sample_weight > 0

    def embed(response):
        there = present & (response >= 0)
        embedding = (
            jnp.asarray(embeddings)
            .at[jnp.maximum(response, 0)]
            .get(mode="fill", fill_value=jnp.nan)
        )
        return jnp.where(there[..., None], embedding, 0).astype(config.precision), there

    (first, is_first), (second, is_second) = embed(batch.first), embed(batch.second)
    kernel = params["out"]["kernel"].astype(config.precision)
    if not config.hidden:
        table = jnp.matmul(first - second, kernel, preferred_element_type=jnp.float32)
    else:
        low = jax.tree.map(lambda x: x.astype(config.precision), params)

        def describe(inputs, there):
            items = heads.apply(heads.with_kernel(low, kernel), inputs)
            table = jnp.concatenate([items.features, items.utility[..., None]], axis=-1)
            return jnp.where(there[..., None], table.astype(jnp.float32), 0)

        table = describe(first, is_first) - describe(second, is_second)
    if "bias" in params["out"]:  # it cancels unless one side is the baseline
        sides = is_first.astype(jnp.float32) - is_second
        table = table + sides[..., None] * jnp.reshape(
            params["out"]["bias"], (1,) * sides.ndim + (-1,)
        )
    return table[..., :-1], table[..., -1]


def choice_rewards(
    params: Params,
    users: UserRows,
    embeddings: Float[Array, "response input"],
    batch: ChoiceBatch,
    config: ModelConfig,
) -> tuple[
    Float[Array, "shown *lead"],
    Float[Array, "shown shown *lead"] | None,
    Bool[Array, "shown *lead"],
]:
    """Mean and covariance of the rewards of all that is shown, and what is.

    Absent choices show a baseline and nothing else that is read.

    Args:
        params: The head.
        users: Of every choice.
        embeddings: Embeddings of all responses.
        batch: The choices.
        config: What is fitted.

    Returns:
        With what is shown as first axis; the covariance is None for MAP, whose rewards are known.
    """
    present = (batch.sample_weight > 0)[..., None]
    # Each one of the shown as a vote, which is a comparison with the zero baseline.
    each = Batch(
        row=jnp.broadcast_to(batch.row[..., None], batch.shown.shape),
        first=jnp.where(present, batch.shown, ABSENT),
        second=jnp.full_like(batch.shown, BASELINE),
        label=batch.label,
        sample_weight=jnp.broadcast_to(batch.sample_weight[..., None], batch.shown.shape),
    )
    features, offset = feature_gap(params, embeddings, each, config)
    mask = (batch.shown != ABSENT) | ~present
    features = jnp.where(mask[..., None], features, 0)
    mean = jnp.sum(users.mean[..., None, :] * features, axis=-1) + offset
    covariance = None
    if users.log_variance is not None:
        scaled = features * jnp.exp(users.log_variance)[..., None, :]
        covariance = jnp.einsum("...kj,...lj->kl...", scaled, features)
    return jnp.moveaxis(mean, -1, 0), covariance, jnp.moveaxis(mask, -1, 0)


def expect_choices(
    mean: Float[Array, "shown *lead"],
    covariance: Float[Array, "shown shown *lead"] | None,
    mask: Bool[Array, "shown *lead"],
    config: ModelConfig,
) -> ChoiceExpectation:
    """The expectation, or bound, that the configuration names."""
    if covariance is None or config.bound == "quadrature":
        return softmax_expectation.expect(mean, covariance, mask)
    return softmax_bound.bound(mean, covariance, mask)


def divergence_of(users: UserRows) -> Float[Array, "*rows"]:
    """KL(N(m, diag S) ‖ N(0, I)) of every user, ½‖m‖² for MAP, in nats."""
    square = jnp.sum(jnp.square(users.mean), axis=-1)
    if users.log_variance is None:
        return 0.5 * square
    variance = jnp.exp(users.log_variance)
    surplus = jnp.sum(variance - 1 - users.log_variance, axis=-1)
    return 0.5 * (square + surplus)


def row_losses(
    features: Float[Array, "*rows factor"],
    offset: Float[Array, "*rows"],
    users: UserRows,
    label: Float[Array, "*rows"],
    config: ModelConfig,
) -> tuple[Float[Array, "*rows"], Float[Array, "*rows"]]:
    """Expected loss of each row, and the divergence of its user, in nats."""
    location = jnp.sum(users.mean * features, axis=-1) + offset
    # The divergence is written out: in another order of operations a resumed run has other bits.
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
    batch: AnyBatch,
    config: ModelConfig,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Σ w (loss + divergence / n) over the batch, and its part Σ w loss; no head penalty.

    Rows of weight 0 count as absent, in the gradient too, whatever their users and embeddings hold.
    """
    present = batch.sample_weight > 0
    wide = present[..., None]
    rows = UserRows(
        mean=jnp.where(wide, users.mean, 0),
        log_variance=(
            None if users.log_variance is None else jnp.where(wide, users.log_variance, 0)
        ),
        mass=jnp.where(present, users.mass, 1),
    )
    if isinstance(batch, ChoiceBatch):
        mean, covariance, mask = choice_rewards(params, rows, embeddings, batch, config)
        label = jnp.moveaxis(jnp.where(wide, batch.label, 0), -1, 0)
        value = expect_choices(mean, covariance, mask, config).value
        loss = value - jnp.sum(jnp.where(mask, label * mean, 0), axis=0)
        divergence = divergence_of(rows)
    else:
        features, offset = feature_gap(params, embeddings, batch, config)
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
    out = params["out"]
    square = jnp.sum(jnp.square(out["kernel"]), axis=0)
    if "bias" in out:
        square = square + jnp.square(out["bias"])
    decay = heads.trunk_decay(params, config.head)
    return 0.5 * jnp.sum(square * problem.penalty) + problem.trunk_penalty * decay
