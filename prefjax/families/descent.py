"""First-order training, for families without an exact solve: Adam on all rows, one ``lax.scan``.

`pick` looks up what a family knows of both responses of every row; its gradient is the sum over
the transposed table of `prefjax.basis.rows` instead of a scatter over all rows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int

from prefjax.basis import Problem
from prefjax.basis import rows as layout
from prefjax.basis.rows import Rows
from prefjax.families.answers import Answers
from prefjax.families.config import Number
from prefjax.families.linear import embeddings
from prefjax.families.shapes import Scalar
from prefjax.numerics import softplus_loss
from prefjax.types import Array, PRNGKey


def inputs(problem: Problem) -> Float[Array, "response_and_baseline input"]:
    """Standardized embeddings, with the zero baseline as the last row."""
    return layout.extend(embeddings(problem))


class StandardizedContext(NamedTuple):
    """Contexts without their mean, at unit spread over the compared responses.

    Attributes:
        context: ``(h − c) / s`` of each response's prompt, zero where nobody compared it.
        center: c.
        scale: s.
    """

    context: Float[Array, "response context"]
    center: Float[Array, " context"]
    scale: Scalar


def standardize_context(problem: Problem) -> StandardizedContext:
    """Contexts in a form on which neither their unit nor their origin has an influence.

    Args:
        problem: Contexts that are all the same become zero.
    """
    share = problem.compared / jnp.maximum(jnp.sum(problem.compared), 1)
    center = share @ problem.context
    centered = jnp.where(problem.compared[:, None], problem.context - center[None], 0.0)
    variance = share @ jnp.sum(jnp.square(centered), axis=1)
    size = share @ jnp.sum(jnp.square(problem.context), axis=1)
    differ = variance > 1e-10 * size
    scale = jnp.where(differ, jnp.sqrt(jnp.where(differ, variance, 1.0)), 1.0)
    return StandardizedContext(jnp.where(differ, centered / scale, 0.0), center, scale)


@jax.custom_vjp
def pick(
    table: Float[Array, "response_and_baseline feature"], rows: Rows
) -> tuple[Float[Array, "chunk slot feature"], Float[Array, "chunk slot feature"]]:
    """Rows of a table for the first and for the second response of every slot."""
    return table[rows.first], table[rows.second]


def _pick_forward(table, rows):
    return pick(table, rows), (rows, len(table))


def _pick_backward(residual, gradients):
    rows, size = residual
    first, second = (layout.sum_by_pair(gradient, rows) for gradient in gradients)
    both = layout.sum_sides_by_response(first, second, rows, size - 1)
    baseline = (rows.pairs.first == size - 1) @ first + (rows.pairs.second == size - 1) @ second
    return jnp.concatenate([both, baseline[None]]), None


pick.defvjp(_pick_forward, _pick_backward)


def mean_loss(
    logit: Float[Array, "chunk slot"],
    rows: Rows,
    sample_weight: Float[Array, "chunk slot"] | None = None,
) -> Scalar:
    """Weighted mean of ``softplus(s) − y s``; by default with the rows' own weights."""
    valid = rows.sample_weight > 0
    label = jnp.where(valid, rows.label, 0.5)
    loss = jnp.where(valid, softplus_loss(jnp.where(valid, logit, 0.0), label), 0.0)
    sample_weight = (
        rows.sample_weight / jnp.sum(rows.sample_weight) if sample_weight is None else sample_weight
    )
    return jnp.sum(sample_weight * loss)


def sum_of_squares(tree: Any) -> Scalar:
    """Squared norm of all leaves together."""
    return sum((jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)), jnp.zeros(()))


def adam(
    loss: Callable[..., Scalar],
    params: Any,
    *,
    num_steps: int,
    learning_rate: Number,
    key: PRNGKey | None = None,
) -> Any:
    """Adam with a learning rate that decays by a cosine to 0.

    Args:
        loss: ``loss(params)``, or ``loss(params, key, progress)`` with progress in [0, 1) if a
            ``key`` is given.
        params: Where to start.
        num_steps: Number of steps, static.
        learning_rate: Rate of the first step; may be traced.
        key: Seed of the steps, for losses that draw.
    """
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    gradient = jax.grad(loss)
    keys = None if key is None else jax.random.split(key, num_steps)

    def step(carry, xs):
        params, state = carry
        step_index, key = xs
        slope = gradient(params) if key is None else gradient(params, key, step_index / num_steps)
        update, state = optimizer.update(slope, state)
        return (optax.apply_updates(params, update), state), None

    init = params, optimizer.init(params)
    (params, _), _ = jax.lax.scan(step, init, (jnp.arange(num_steps), keys))
    return params


class Batch(NamedTuple):
    """Rows of some chunks, each chunk of one person.

    Attributes:
        user: The person of each chunk.
        first: Standardized embedding of each row's first response.
        second: The same of the second.
        label: Probability that the first is preferred, ½ for padding.
        sample_weight: Weight of the row, 0 for padding.
    """

    user: Int[Array, " chunk"]
    first: Float[Array, "chunk slot input"]
    second: Float[Array, "chunk slot input"]
    label: Float[Array, "chunk slot"]
    sample_weight: Float[Array, "chunk slot"]


def get_batch(
    problem: Problem,
    table: Float[Array, "response_and_baseline input"],
    index: Int[Array, " chunk"],
) -> Batch:
    """Some chunks of the rows, slots in their order.

    Args:
        problem: Whose rows.
        table: From `inputs`.
        index: Which chunks.
    """
    rows = problem.rows
    weight = rows.sample_weight[index]
    return Batch(
        user=rows.user[index],
        first=table[rows.first[index]],
        second=table[rows.second[index]],
        label=jnp.where(weight > 0, rows.label[index], 0.5),
        sample_weight=weight,
    )


NUM_ORDERS = 16
"""Random orders of a person's rows from which the lists of a training run are cut."""


class ShuffledIndex(NamedTuple):
    """Everybody's rows in several random orders, from `shuffle_rows`.

    Attributes:
        slot: Flat slot of each row, people one after the other and padding last.
        end: Where each person's rows end.
        count: Number of rows of each person.
    """

    slot: Int[Array, "order row"]
    end: Int[Array, " user"]
    count: Int[Array, " user"]


def shuffle_rows(key: PRNGKey, problem: Problem, num_orders: int) -> ShuffledIndex:
    """Shuffles the rows of every person.

    Args:
        key: Seed of the orders.
        problem: Whose rows; neither padding nor people without rows change an order.
        num_orders: Number of orders, static.
    """
    present = problem.rows.sample_weight.reshape(-1) > 0
    rank = jnp.maximum(jnp.cumsum(present) - 1, 0)
    num_slots = problem.rows.label.shape[1]
    owner = jnp.where(present, jnp.repeat(problem.rows.user, num_slots), problem.num_users)

    def order(key):
        drawn = jax.vmap(lambda place: jax.random.uniform(jax.random.fold_in(key, place)))(rank)
        return jnp.lexsort((drawn, owner))

    count = jnp.bincount(owner, length=problem.num_users + 1)[:-1]
    slot = jax.lax.map(order, jax.random.split(key, num_orders))
    return ShuffledIndex(slot, jnp.cumsum(count), count)


def sample_batch(
    key: PRNGKey,
    index: ShuffledIndex,
    problem: Problem,
    table: Float[Array, "response_and_baseline input"],
    size: int,
) -> Answers:
    """Rows of one random person, drawn with odds of their number of rows; no row stands twice.

    Args:
        key: Seed of the person and of the rows.
        index: From `shuffle_rows`.
        problem: Whose rows.
        table: From `inputs`.
        size: Most rows, static; of a person with fewer all are taken and the rest is padding.
    """
    order_key, row_key = jax.random.split(key)
    order = jax.random.randint(order_key, (), 0, len(index.slot))
    row = jax.random.randint(row_key, (), 0, index.end[-1])
    user = jnp.searchsorted(index.end, row, side="right")
    count, begin = index.count[user], index.end[user] - index.count[user]
    place = jnp.arange(size)
    slot = index.slot[order, begin + (row - begin + place) % count]
    rows = problem.rows
    first, second, label, weight = (
        column.reshape(-1)[slot]
        for column in (rows.first, rows.second, rows.label, rows.sample_weight)
    )
    valid = place < count
    return Answers(
        first=table[first],
        second=table[second],
        context=jnp.zeros((size, 0)),
        label=jnp.where(valid, label, 0.5),
        sample_weight=jnp.where(valid, weight, 0.0),
    )


def divide_answers(
    key: PRNGKey, sample_weight: Float[Array, " row"], longest: int
) -> tuple[Float[Array, " row"], Float[Array, " row"]]:
    """Weights of the rows of `sample_batch` that a person answers, and of those to be predicted.

    Args:
        key: Seed of how many are answered: any number up to half of the rows is as likely.
        sample_weight: Weight of each row, 0 for padding, which is last.
        longest: Most that are answered.
    """
    most = jnp.minimum(longest, jnp.sum(sample_weight > 0) // 2)
    asked = jnp.arange(len(sample_weight)) < jax.random.randint(key, (), 0, most + 1)
    return jnp.where(asked, sample_weight, 0.0), jnp.where(asked, 0.0, sample_weight)
