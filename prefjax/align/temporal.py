r"""Training of the heads by temporal differences on samples of π0 that were scored once.

Along a response with states s_0 (the last token of the prompt), s_1, … s_T (after each of its
tokens, the end token included) and features φ of the whole,

    G_t = (1−λ) V(s_{t+1}) + λ G_{t+1},      G_T = φ if the response ended, else V(s_T),

where λ is ``td`` and V on the right is an exponential moving average of the head, without gradient.
The value head minimizes ``½ mean (V(s_t) − G_t)² / σ²``, the advantage head, afterwards,
``½ mean (V(s_t) + A(s_t, a_{t+1}) − G_{t+1})² / σ²``.

The state after a token is what decoding asks about. A head trained on the states before each token
never sees the state in which a response has just ended, so the value of stopping is not learned.

References:
    TD(λ): Sutton (1988); value-augmented sampling, arXiv 2405.06639.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, Float, Int

from prefjax.align.heads import (
    AdvantageHead,
    ValueHead,
    advantage,
    init_advantage,
    init_value,
    project_tokens,
    value,
)
from prefjax.types import Array, PRNGKey


@dataclass(frozen=True)
class TrainConfig:
    """How a head is trained.

    Attributes:
        td: λ; 1 regresses on the final φ, 0 bootstraps from the next state only.
        num_steps: Steps of Adam.
        batch_size: Responses in a step.
        learning_rate: At the start; it decays to 0 by a cosine.
        average: Decay of the moving average of the head.
        width: Width of the value head's hidden layer.
        rank: Rank of the advantage head.
    """

    td: float = 0.95
    num_steps: int = 1000
    batch_size: int = 32
    learning_rate: float = 1e-3
    average: float = 0.99
    width: int = 512
    rank: int = 64


DEFAULT = TrainConfig()


class Trajectories(NamedTuple):
    """Scored samples of π0.

    Attributes:
        states: s_0 … s_T of each response.
        tokens: Token a_{t} that led to s_t; the entry of s_0 is not used.
        mask: True at states that exist, s_0 included.
        ended: The response ended by itself.
        features: φ of the whole response.
    """

    states: Float[Array, "batch state feature"]
    tokens: Int[Array, "batch state"]
    mask: Bool[Array, "batch state"]
    ended: Bool[Array, " batch"]
    features: Float[Array, "batch factor"]


def td_targets(
    values: Float[Array, "state factor"],
    mask: Bool[Array, " state"],
    ended: Bool[Array, ""],
    features: Float[Array, " factor"],
    td: float,
) -> Float[jax.Array, "state factor"]:
    """G_t of one response; kernel for one row. Where the mask is False the entries mean nothing.

    Args:
        values: V(s_t).
        mask: True at states that exist, which come first.
        ended: Whether the response ended by itself.
        features: φ.
        td: λ.
    """
    last = jnp.maximum(jnp.sum(mask) - 1, 0)
    end = jnp.where(ended, features, values[last])

    def back(later, now):
        next_value, next_target = later
        here, exists = now
        target = (1 - td) * next_value + td * next_target
        carry = jnp.where(exists, here, next_value), jnp.where(exists, target, next_target)
        return carry, target

    _, targets = jax.lax.scan(back, (end, end), (jnp.asarray(values), mask), reverse=True)
    return targets


def check_trajectories(data: Trajectories) -> None:
    """Refuse what cannot be trained on.

    Raises:
        ValueError: If there are fewer than two responses or not as many rewards, a reward is not
            finite, or a state that exists is not finite.
    """
    shape = np.shape(data.features)
    if len(shape) != 2 or shape[0] != len(data.states):
        raise ValueError(
            f"{len(data.states)} responses were drawn; their rewards must have one row for each "
            f"and one column for each factor, got shape {shape}."
        )
    if len(data.features) < 2:
        raise ValueError(f"At least two scored responses are needed, got {len(data.features)}.")
    bad = np.flatnonzero(~np.isfinite(data.features).all(axis=1))
    if bad.size:
        raise ValueError(f"Response {bad[0]} has a reward that is not finite ({bad.size} in all).")
    finite = np.isfinite(data.states).all(axis=2) | ~np.asarray(data.mask)
    if not finite.all():
        raise ValueError(f"Response {np.argwhere(~finite)[0][0]} has a state that is not finite.")


def fit_value(
    key: PRNGKey, data: Trajectories, config: TrainConfig = DEFAULT
) -> tuple[ValueHead, Float[jax.Array, " step"]]:
    """Train a value head; the trained one is the moving average.

    Args:
        key: Draws the start and the batches.
        data: Scored samples.
        config: How.

    Returns:
        The head, and the loss of every step.

    Raises:
        ValueError: See ``check_trajectories``.
    """
    check_trajectories(data)
    return _fit_value(key, jax.tree.map(jnp.asarray, data), config)


def fit_advantage(
    key: PRNGKey,
    data: Trajectories,
    value_head: ValueHead,
    embedding: Float[Array, "vocab feature"],
    config: TrainConfig = DEFAULT,
) -> tuple[AdvantageHead, Float[jax.Array, " step"]]:
    """Train an advantage head against the targets of a trained value head.

    Args:
        key: Draws the start and the batches.
        data: Scored samples.
        value_head: A trained value head.
        embedding: Rows of the language model's embedding.
        config: How.

    Returns:
        The head, and the loss of every step.

    Raises:
        ValueError: See ``check_trajectories``.
    """
    check_trajectories(data)
    return _fit_advantage(key, jax.tree.map(jnp.asarray, data), value_head, embedding, config)


def _moments(features: Array) -> tuple[jax.Array, jax.Array]:
    """Mean and deviation of each feature; a feature that is constant gets deviation 1."""
    features = jnp.asarray(features)
    deviation = features.std(0)
    return features.mean(0), jnp.where(deviation > 0, deviation, 1.0)


@partial(jax.jit, static_argnames="config")
def _fit_value(key, data: Trajectories, config: TrainConfig):
    key_init, key_fit = jax.random.split(key)
    mean, deviation = _moments(data.features)
    start = init_value(key_init, data.states.shape[2], mean, deviation, width=config.width)

    def loss(params, average, batch: Trajectories):
        behind = value(start._replace(params=average), batch.states)
        targets = jax.vmap(partial(td_targets, td=config.td))(
            behind, batch.mask, batch.ended, batch.features
        )
        error = value(start._replace(params=params), batch.states) - targets
        return _masked_half_square(error / deviation[None, None], batch.mask)

    average, losses = _train(key_fit, start.params, loss, data, config)
    return start._replace(params=average), losses


@partial(jax.jit, static_argnames="config")
def _fit_advantage(key, data: Trajectories, value_head: ValueHead, embedding, config: TrainConfig):
    key_init, key_fit = jax.random.split(key)
    _, deviation = _moments(data.features)
    start = init_advantage(key_init, data.states.shape[2], deviation, rank=config.rank)

    def loss(params, average, batch: Trajectories):
        del average
        head = start._replace(params=params)
        values = value(value_head, batch.states)
        targets = jax.vmap(partial(td_targets, td=config.td))(
            values, batch.mask, batch.ended, batch.features
        )
        token = project_tokens(head, embedding[batch.tokens[:, 1:]])
        gain = advantage(head, batch.states[:, :-1], token)
        error = values[:, :-1] + gain - targets[:, 1:]
        return _masked_half_square(error / deviation[None, None], batch.mask[:, 1:])

    average, losses = _train(key_fit, start.params, loss, data, config)
    return start._replace(params=average), losses


def _masked_half_square(error: jax.Array, mask: Array) -> jax.Array:
    square = jnp.where(mask[:, :, None], jnp.square(jnp.where(mask[:, :, None], error, 0)), 0)
    return 0.5 * square.sum() / (jnp.maximum(mask.sum(), 1) * error.shape[-1])


def _train(
    key: PRNGKey, params: Any, loss: Callable, data: Trajectories, config: TrainConfig
) -> tuple[Any, jax.Array]:
    """Adam on random batches; returns the moving average of the parameters and the losses."""
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.num_steps)
    optimizer = optax.adam(schedule)

    def step(carry, key):
        params, average, state = carry
        rows = jax.random.randint(key, (config.batch_size,), 0, len(data.features))
        batch = jax.tree.map(lambda array: array[rows], data)
        now, gradient = jax.value_and_grad(loss)(params, average, batch)
        change, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, change)
        average = optax.incremental_update(params, average, 1 - config.average)
        return (params, average, state), now

    keys = jax.random.split(key, config.num_steps)
    (_, average, _), losses = jax.lax.scan(step, (params, params, optimizer.init(params)), keys)
    return average, losses


def explained_by_position(
    values: Float[Array, "batch state factor"],
    mask: Bool[Array, "batch state"],
    features: Float[Array, "batch factor"],
    num_bins: int = 10,
) -> Float[np.ndarray, "bin factor"]:
    """R² of V against the final φ, by relative position in the response.

    Args:
        values: V(s_t).
        mask: True at states that exist.
        features: φ.
        num_bins: Bins of the position, from the prompt (0) to the end (1); an empty one is NaN.
    """
    values, mask = np.asarray(values, np.float64), np.asarray(mask)
    features = np.asarray(features, np.float64)
    length = np.maximum(mask.sum(1) - 1, 1)
    position = np.arange(mask.shape[1])[None] / length[:, None]
    bins = np.minimum((position * num_bins).astype(int), num_bins - 1)
    rows = np.broadcast_to(np.arange(len(mask))[:, None], mask.shape)
    result = np.full((num_bins, features.shape[1]), np.nan)
    for b in range(num_bins):
        use = mask & (bins == b)
        if use.any():
            error = np.square(values[use] - features[rows[use]]).sum(0)
            total = np.square(features[rows[use]] - features.mean(0)[None]).sum(0)
            result[b] = 1 - error / np.where(total > 0, total, np.nan)
    return result
