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
from prefjax.families.contract import Answers, Number
from prefjax.numerics import softplus_loss
from prefjax.types import Array, PRNGKey


def inputs(data: Problem) -> Float[Array, "response_and_baseline input"]:
    """Standardized embeddings, with the zero baseline as the last row."""
    return layout.extend(data.embeddings)


@jax.custom_vjp
def pick(
    table: Float[Array, "response_and_baseline feature"], rows: Rows
) -> tuple[Float[Array, "chunk slot feature"], Float[Array, "chunk slot feature"]]:
    """Rows of a table for the first and for the second response of every slot."""
    return table[rows.first], table[rows.second]


def _pick_forward(table, rows):
    return pick(table, rows), (rows, len(table))


def _pick_backward(residual, slopes):
    rows, size = residual
    first, second = (layout.sum_by_pair(slope, rows) for slope in slopes)
    both = layout.sum_sides_by_response(first, second, rows, size - 1)
    baseline = (rows.pairs.first == size - 1) @ first + (rows.pairs.second == size - 1) @ second
    return jnp.concatenate([both, baseline[None]]), None


pick.defvjp(_pick_forward, _pick_backward)


def mean_loss(
    logit: Float[Array, "chunk slot"],
    rows: Rows,
    sample_weight: Float[Array, "chunk slot"] | None = None,
) -> Float[Array, ""]:
    """Weighted mean of ``softplus(s) − y s``; by default with the rows' own weights."""
    kept = rows.sample_weight > 0
    label = jnp.where(kept, rows.label, 0.5)
    loss = jnp.where(kept, softplus_loss(jnp.where(kept, logit, 0.0), label), 0.0)
    sample_weight = (
        rows.sample_weight / jnp.sum(rows.sample_weight) if sample_weight is None else sample_weight
    )
    return jnp.sum(sample_weight * loss)


def adam(
    loss: Callable[..., Float[Array, ""]],
    params: Any,
    *,
    num_steps: int,
    learning_rate: Number,
    keys: Any = None,
) -> Any:
    """Adam with a learning rate that decays by a cosine to 0.

    Args:
        loss: ``loss(params)``, or ``loss(params, key, progress)`` with progress in [0, 1) if
            ``keys`` are given.
        params: Where to start.
        num_steps: Steps, static.
        learning_rate: The first one.
        keys: One key a step, for losses that draw.
    """
    optimizer = optax.scale_by_adam()
    slope = jax.grad(loss)

    def step(carry, given):
        params, moments = carry
        number, key = given
        progress = number / num_steps
        gradient = slope(params) if key is None else slope(params, key, progress)
        update, moments = optimizer.update(gradient, moments)
        rate = learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * progress))
        return (jax.tree.map(lambda p, u: p - rate * u, params, update), moments), None

    begun = params, optimizer.init(params)
    (params, _), _ = jax.lax.scan(step, begun, (jnp.arange(num_steps), keys))
    return params


class Batch(NamedTuple):
    """Rows of some chunks, each chunk of one person.

    Attributes:
        user: The person of each chunk.
        first: Embedding at unit scale of each row's first response.
        second: The same of the second.
        label: Probability that the first is preferred, ½ for padding.
        sample_weight: Weight of the row, 0 for padding.
    """

    user: Int[Array, " chunk"]
    first: Float[Array, "chunk slot input"]
    second: Float[Array, "chunk slot input"]
    label: Float[Array, "chunk slot"]
    sample_weight: Float[Array, "chunk slot"]


def chunks(
    data: Problem, table: Float[Array, "response_and_baseline input"], index: Int[Array, " chunk"]
) -> Batch:
    """Some chunks of the rows, in which the slots with weight come in their own order."""
    rows = data.rows
    weight = rows.sample_weight[index]
    return Batch(
        user=rows.user[index],
        first=table[rows.first[index]],
        second=table[rows.second[index]],
        label=jnp.where(weight > 0, rows.label[index], 0.5),
        sample_weight=weight,
    )


class Deck(NamedTuple):
    """Everybody's rows in several random orders, from `shuffle`.

    Attributes:
        slot: Flat slot of each row, people one after the other and padding last.
        end: Where each person's rows end.
        count: Rows of each person.
    """

    slot: Int[Array, "order row"]
    end: Int[Array, " user"]
    count: Int[Array, " user"]


def shuffle(key: PRNGKey, data: Problem, num_orders: int) -> Deck:
    """Shuffles the rows of every person."""
    present = data.rows.sample_weight > 0
    owner = jnp.where(present, data.rows.user[:, None], len(data.count)).reshape(-1)
    drawn = jax.random.uniform(key, (num_orders, len(owner)))
    slot = jax.vmap(lambda place: jnp.lexsort((place, owner)))(drawn)
    count = jnp.bincount(owner, length=len(data.count) + 1)[:-1]
    return Deck(slot, jnp.cumsum(count), count)


def deal(
    key: PRNGKey,
    deck: Deck,
    data: Problem,
    table: Float[Array, "response_and_baseline input"],
    size: int,
) -> Answers:
    """At random a person, by number of rows, and ``size`` of the rows or all; none stands twice."""
    order_key, row_key = jax.random.split(key)
    order = jax.random.randint(order_key, (), 0, len(deck.slot))
    row = jax.random.randint(row_key, (), 0, deck.end[-1])
    user = jnp.searchsorted(deck.end, row, side="right")
    count, begin = deck.count[user], deck.end[user] - deck.count[user]
    place = jnp.arange(size)
    slot = deck.slot[order, begin + (row - begin + place) % count]
    first, second, label, weight = (
        column.reshape(-1)[slot]
        for column in (data.rows.first, data.rows.second, data.rows.label, data.rows.sample_weight)
    )
    kept = place < count
    return Answers(
        first=table[first],
        second=table[second],
        context=jnp.zeros((size, 0)),
        label=jnp.where(kept, label, 0.5),
        sample_weight=jnp.where(kept, weight, 0.0),
    )
