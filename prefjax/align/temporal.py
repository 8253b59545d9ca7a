r"""Training of the heads by temporal differences on samples of π0 that were scored once.

Along a response with states s_0 (the last token of the prompt), s_1, … s_T (after each of its
tokens, the end token included) and features φ of the whole,

    G_t = (1−λ) V(s_{t+1}) + λ G_{t+1},      G_T = φ,

where λ is ``td``. A response that was cut at the limit of tokens counts as it stands, since
decoding cuts at the same limit; ``score_cut=False`` puts V(s_T) in the place of φ there. V(s_t)
reads the summary up to s_t (see ``heads``), and V on the right is an exponential moving average of
the head, without gradient. The value head minimizes ``½ mean (V(s_t) − G_t)² / σ²``, the advantage
head, afterwards, ``½ mean (V(s_t) + A(s_t, a_{t+1}) − G_{t+1})² / σ²``, where ends weigh more in
the mean.

The state after a token is what decoding asks about. A head trained on the states before each token
never sees the state in which a response has just ended, so the value of stopping is not learned.

References:
    TD(λ): Sutton (1988); value-augmented sampling, arXiv 2405.06639.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float

from prefjax.align.heads import (
    AdvantageHead,
    Moments,
    ValueHead,
    advantage,
    init_advantage,
    init_value,
    project_tokens,
    summarize,
    value,
)
from prefjax.align.trajectories import Trajectories, check_trajectories
from prefjax.types import Array, PRNGKey


@dataclass(frozen=True)
class TrainConfig:
    """How a head is trained.

    Attributes:
        td: λ; 1 regresses on the final φ, 0 bootstraps from the next state only.
        num_steps: Steps of AdamW.
        batch_size: Responses in a step.
        learning_rate: At the start; it decays to 0 by a cosine.
        weight_decay: Pull of the parameters towards 0, times the learning rate in each step. A
            response has many states but one φ, so that heads overfit easily.
        end_weight: Weight in the loss of the state after an end token; of a hundred states one is
            such, but decoding asks about the end at nearly every step.
        average: Decay of the moving average of the head.
        width: Width of the value head's hidden layer.
        rank: Rank of the advantage head.
        score_cut: A response that was cut at the limit counts as it stands; False where decoding
            will go on beyond that limit.
    """

    td: float = 0.98
    num_steps: int = 1000
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 3.0
    end_weight: float = 10.0
    average: float = 0.99
    width: int = 512
    rank: int = 64
    score_cut: bool = True


DEFAULT = TrainConfig()
_MEASURED = 64  # responses at most by which inputs are standardized


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


def summaries(
    data: Trajectories, embedding: Float[Array, "vocab feature"]
) -> Float[jax.Array, "batch state input"]:
    """What the heads read at every state; where the mask is False it means nothing.

    Args:
        data: Samples.
        embedding: Rows of the language model's embedding.
    """
    states = jnp.where(data.mask[:, :, None], data.states, 0)
    return summarize(states, embedding[data.tokens])


def fit_value(
    key: PRNGKey,
    data: Trajectories,
    embedding: Float[Array, "vocab feature"],
    config: TrainConfig = DEFAULT,
) -> tuple[ValueHead, Float[jax.Array, " step"]]:
    """Train a value head; the trained one is the moving average.

    Args:
        key: Draws the start and the batches.
        data: Scored samples.
        embedding: Rows of the language model's embedding.
        config: How.

    Returns:
        The head, and the loss of every step.

    Raises:
        ValueError: See ``check_trajectories``.
    """
    check_trajectories(data)
    return _fit_value(key, jax.tree.map(jnp.asarray, data), embedding, config)


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


def _moments(rows: Array, mask: Array) -> Moments:
    """Mean and deviation over the rows of the mask; what is constant gets deviation 1."""
    mean = jnp.mean(rows, axis=0, where=mask[:, None])
    square = jnp.mean(jnp.square(rows - mean[None]), axis=0, where=mask[:, None])
    return Moments(mean, jnp.sqrt(jnp.where(square > 0, square, 1.0)))


def _input_moments(data: Trajectories, embedding: Array) -> Moments:
    """Of the summaries at the states that exist, of responses at equal distances."""
    few = jax.tree.map(lambda array: array[:: 1 + len(array) // _MEASURED], data)
    x = summaries(few, embedding)
    return _moments(x.reshape(-1, x.shape[-1]), few.mask.reshape(-1))


@partial(jax.jit, static_argnames="config")
def _fit_value(key, data: Trajectories, embedding, config: TrainConfig):
    key_init, key_fit = jax.random.split(key)
    data = data._replace(ended=data.ended | config.score_cut)
    outputs = _moments(data.features, jnp.ones(len(data.features), bool))
    inputs = _input_moments(data, embedding)
    start = init_value(key_init, inputs, outputs, width=config.width)

    def loss(params, average, batch: Trajectories):
        x = summaries(batch, embedding)
        behind = value(start._replace(params=average), x)
        targets = jax.vmap(partial(td_targets, td=config.td))(
            behind, batch.mask, batch.ended, batch.features
        )
        error = value(start._replace(params=params), x) - targets
        return _half_square(error / outputs.deviation[None, None], _weights(batch, config))

    average, losses = _train(key_fit, start.params, loss, data, config)
    return start._replace(params=average), losses


@partial(jax.jit, static_argnames="config")
def _fit_advantage(key, data: Trajectories, value_head: ValueHead, embedding, config: TrainConfig):
    key_init, key_fit = jax.random.split(key)
    data = data._replace(ended=data.ended | config.score_cut)
    inputs, (_, deviation) = value_head.inputs, value_head.outputs
    start = init_advantage(key_init, embedding.shape[1], inputs, deviation, rank=config.rank)

    def loss(params, average, batch: Trajectories):
        del average
        head = start._replace(params=params)
        x = summaries(batch, embedding)
        values = value(value_head, x)
        targets = jax.vmap(partial(td_targets, td=config.td))(
            values, batch.mask, batch.ended, batch.features
        )
        token = project_tokens(head, embedding[batch.tokens[:, 1:]])
        gain = advantage(head, x[:, :-1], token)
        error = values[:, :-1] + gain - targets[:, 1:]
        return _half_square(error / deviation[None, None], _weights(batch, config)[:, 1:])

    average, losses = _train(key_fit, start.params, loss, data, config)
    return start._replace(params=average), losses


def _weights(data: Trajectories, config: TrainConfig) -> jax.Array:
    """Weight of each state in the loss, 0 where there is none."""
    following = jnp.pad(data.mask[:, 1:], [(0, 0), (0, 1)])
    is_end = data.mask & ~following & data.ended[:, None]
    return jnp.where(is_end, config.end_weight, 1.0) * data.mask


def _half_square(error: jax.Array, weight: jax.Array) -> jax.Array:
    square = jnp.square(jnp.where(weight[:, :, None] > 0, error, 0)) * weight[:, :, None]
    return 0.5 * square.sum() / (jnp.maximum(weight.sum(), 1) * error.shape[-1])


def _train(
    key: PRNGKey, params: Any, loss: Callable, data: Trajectories, config: TrainConfig
) -> tuple[Any, jax.Array]:
    """AdamW on random batches; returns the moving average of the parameters and the losses."""
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.num_steps)
    optimizer = optax.adamw(schedule, weight_decay=config.weight_decay)

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
