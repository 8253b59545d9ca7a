"""Regresses the head on target factors: the step from the factorization of ids to embeddings.

    min_θ,h  ½ Σ_i c_i ‖z_iᵀθ − T_i‖² + ½ τ ‖θ‖² + penalty on the hidden layers

T_i are the factors of response i and c_i ≥ 0 how well they are known. A linear head is solved
exactly. With hidden layers θ is solved exactly at every step and Adam moves the hidden layers
(variable projection: at the exact θ the gradient through θ vanishes).

References:
    arXiv 2503.06358, Algorithm 1, "fit W to Φ". Golub and Pereyra (1973), variable projection.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float, Int

from prefjax.basis import heads
from prefjax.basis.heads import HeadConfig
from prefjax.types import Array, Params, PRNGKey


def ridge(
    inputs: Float[Array, "row input"],
    target: Float[Array, "row output"],
    penalty: Float[Array, ""] | float,
    sample_weight: Float[Array, " row"] | None = None,
) -> Float[Array, "input output"]:
    """The linear map that minimizes ``Σ_i c_i ‖x_iᵀθ − T_i‖² + τ‖θ‖²``; closed form.

    Args:
        inputs: x.
        target: T; rows of weight 0 may hold anything.
        penalty: τ > 0.
        sample_weight: c ≥ 0; default 1.

    Examples:
        >>> ridge(jnp.eye(2), jnp.eye(2), 1.0).round(3).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    sample_weight = (
        jnp.ones(inputs.shape[0]) if sample_weight is None else jnp.asarray(sample_weight)
    )
    counted = (sample_weight > 0)[:, None]
    inputs, target = jnp.where(counted, inputs, 0.0), jnp.where(counted, target, 0.0)
    weighted = sample_weight[:, None] * inputs
    gram = weighted.T @ inputs + penalty * jnp.eye(inputs.shape[1], dtype=inputs.dtype)
    return jax.scipy.linalg.solve(gram, weighted.T @ target, assume_a="pos")


def make_optimizer(config: HeadConfig, num_steps: int) -> optax.GradientTransformation:
    """Adam whose learning rate decays by a cosine to 0 after ``num_steps``."""
    return optax.adam(optax.cosine_decay_schedule(config.learning_rate, max(num_steps, 1)))


def regress(
    params: Params,
    embeddings: Float[Array, "response input"],
    target: Float[Array, "response factor_and_utility"],
    penalty: Float[Array, ""] | float,
    config: HeadConfig,
    sample_weight: Float[Array, " response"] | None = None,
) -> Params:
    """Head that minimizes the module's objective; exact without hidden layers.

    Args:
        params: Where the hidden layers start.
        embeddings: One row a response.
        target: T, target features and in the last column the target utility.
        penalty: τ > 0 of θ.
        config: Structure, number of steps and penalty of the hidden layers.
        sample_weight: c of each response, 0 for a response whose target is unknown; default 1.
    """
    sample_weight = (
        jnp.ones(embeddings.shape[0]) if sample_weight is None else jnp.asarray(sample_weight)
    )
    target = jnp.where((sample_weight > 0)[:, None], target, 0.0)

    def solved(params):
        inputs = heads.expand(params, embeddings)
        return heads.with_kernel(params, ridge(inputs, target, penalty, sample_weight))

    def loss(trunk, params):
        moved = {**params, "trunk": trunk}
        predicted = heads.expand(moved, embeddings) @ params["out"]["kernel"]
        miss = jnp.sum(sample_weight[:, None] * jnp.square(predicted - target))
        return 0.5 * miss + heads.trunk_decay(moved, config)

    if not config.hidden:
        return solved(params)
    optimizer = make_optimizer(config, config.regression_steps)

    def step(carry, _):
        params, moments = carry
        params = solved(params)
        gradient = jax.grad(loss)(params["trunk"], params)
        update, moments = optimizer.update(gradient, moments)
        return ({**params, "trunk": optax.apply_updates(params["trunk"], update)}, moments), None

    init_carry = solved(params), optimizer.init(params["trunk"])
    (params, _), _ = jax.lax.scan(step, init_carry, None, length=config.regression_steps)
    return solved(params)


def regress_chosen(
    key: PRNGKey,
    embeddings: Float[Array, "response input"],
    target: Float[Array, "response factor_and_utility"],
    known: Bool[Array, " response"],
    fold: Int[Array, " response"],
    penalties: Float[Array, " candidate"],
    *,
    config: HeadConfig,
    num_folds: int,
) -> Float[Array, "response factor_and_utility"]:
    """Features and utility that a head predicts for every response from those of some.

    The penalty is the one that predicts held-out known responses best, all columns together.
    Columns are centered, so what the embedding tells nothing about is predicted by its mean.

    Args:
        key: Draws the hidden layers.
        embeddings: One row a response, of mean squared norm 1.
        target: T, target features and in the last column the target utility.
        known: Responses whose target is known; rows of the others may hold anything.
        fold: Part, from 0, in which a response is held out; the same for what belongs together.
        penalties: Candidates for τ of θ, in units of the mean variance of the targets.
        config: Structure, number of steps and penalty of the hidden layers.
        num_folds: Number of parts.
    """
    target = jnp.where(known[:, None], target, 0.0)
    count = jnp.maximum(jnp.sum(known), 1)
    center = jnp.sum(target, axis=0, keepdims=True) / count
    spread = jnp.where(known[:, None], target - center, 0.0)
    scale = jnp.maximum(jnp.sqrt(jnp.mean(jnp.sum(jnp.square(spread), axis=0)) / count), 1e-12)
    wanted = spread / scale
    init_params = heads.init(key, embeddings.shape[1], config)

    def predict(penalty, trains):
        params = regress(
            init_params, embeddings, wanted, penalty, config, trains.astype(target.dtype)
        )
        return heads.expand(params, embeddings) @ params["out"]["kernel"]

    def miss(place):
        penalty, index = place
        held_out = known & (fold == index)
        error = predict(penalty, known & ~held_out) - wanted
        return jnp.sum(jnp.where(held_out[:, None], jnp.square(error), 0.0))

    penalties, folds = jnp.asarray(penalties), jnp.arange(num_folds)
    places = jnp.repeat(penalties, num_folds), jnp.tile(folds, len(penalties))
    misses = jax.lax.map(miss, places).reshape(len(penalties), num_folds).sum(axis=1)
    return predict(penalties[jnp.argmin(misses)], known) * scale + center
