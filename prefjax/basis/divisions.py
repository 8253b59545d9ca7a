"""Which users, and which of their answers, are held out where penalties are chosen.

All draws are keyed by user, group and response, never by the number of a row, so that neither the
order nor the repetition of rows changes them. Users and responses are counted among those that some
row shows; others, wherever they stand, change no draw. A choice among several is in one part as a
whole; with groups, if all that it shows is.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax.basis import choice_slots, control
from prefjax.basis import rows as layout
from prefjax.basis.problem import Problem
from prefjax.basis.state import NUM_PARTS
from prefjax.types import Array, PRNGKey


def _rank(present: Bool[Array, " any"]) -> Int[jax.Array, " any"]:
    """Place of every user or response among those that are present."""
    return jnp.maximum(jnp.cumsum(jnp.asarray(present)) - 1, 0)


def held_out_folds(key: PRNGKey, problem: Problem, num_folds: int) -> Bool[jax.Array, "fold user"]:
    """Which users each of the first ``num_folds`` of `NUM_PARTS` equal folds holds out.

    Args:
        key: Seed of the folds.
        problem: Users without rows are in no fold.
        num_folds: Number of folds, static.
    """
    present = jnp.asarray(problem.count) > 0
    keys = jax.vmap(partial(jax.random.fold_in, key))(_rank(present))
    place = jnp.where(present, jax.vmap(jax.random.uniform)(keys), jnp.inf)
    rank = jnp.argsort(jnp.argsort(place))
    fold = jnp.where(present, rank % NUM_PARTS, -1)
    return fold[None, :] == jnp.arange(num_folds)[:, None]


class Division(NamedTuple):
    """Weights of the rows that users answer and of those that are predicted from these.

    Attributes:
        answered: Of the answered rows, 0 elsewhere.
        predicted: Of the predicted rows, 0 elsewhere.
    """

    answered: Float[Array, "division chunk slot"]
    predicted: Float[Array, "division chunk slot"]


def divide(
    key: PRNGKey, problem: Problem, part: float, num_divisions: int, most_answers: float
) -> Division:
    """Divides every user's rows into those that are answered and those that are predicted.

    Args:
        key: Seed of the divisions.
        problem: With groups, a row between an answered and a predicted group is in neither part.
            Without, rows are divided by what they show.
        part: Part of each user's rows or groups that is predicted.
        num_divisions: Independent divisions, static.
        most_answers: Rows that a user answers on average if there are more; the others of the
            answered part are in neither; static.
    """
    rows = problem.rows
    user = _rank(jnp.asarray(problem.count) > 0)[rows.user]
    rank = _rank(problem.compared)
    rank = jnp.append(rank, rank[-1] + 1)  # the zero baseline comes last
    shown = rank[rows.first], rank[rows.second]

    def drawn(key, user, *labels):
        for label in (user, *labels):
            key = jax.random.fold_in(key, label)
        return jax.random.uniform(key)

    def by_slot(key, *labels):
        of_chunk = jax.vmap(drawn, in_axes=(None, None, *(0 for _ in labels)))
        return jax.vmap(of_chunk, in_axes=(None, 0, *(0 for _ in labels)))(key, user, *labels)

    def masks_of(key):
        if problem.group is None:
            predicted = by_slot(key, *shown) < part
            if rows.choices is not None:
                predicted = choice_slots.together(predicted, rows.choices, leads=True)
            return ~predicted, predicted
        group = jnp.append(jnp.asarray(problem.group), -1)  # the zero baseline has no group
        first, second = group[rows.first], group[rows.second]
        second = jnp.where(second < 0, first, second)
        by_first, by_second = (by_slot(key, one) < part for one in (first, second))
        masks = ~by_first & ~by_second, by_first & by_second
        if rows.choices is None:
            return masks
        return tuple(choice_slots.together(mask, rows.choices, leads=False) for mask in masks)

    def once(key):
        answered, predicted = masks_of(key)
        count = jnp.sum(jnp.where(rows.sample_weight > 0, answered, 0.0), axis=1)
        count = layout.sum_by_user(count, rows, problem.num_users)[rows.user]
        share = most_answers / jnp.maximum(count, 1)
        kept = by_slot(jax.random.fold_in(key, 2), *shown) < share[:, None]
        if rows.choices is not None:
            kept = choice_slots.together(kept, rows.choices, leads=True)
        return answered & kept, predicted

    masks = jax.lax.map(once, jax.random.split(jax.random.fold_in(key, 1), num_divisions))
    return Division(*(jnp.where(mask, rows.sample_weight[None], 0.0) for mask in masks))


def train_weight(
    problem: Problem, is_held_out: Bool[Array, " user"]
) -> Float[jax.Array, "chunk slot"]:
    """Weights of the rows, 0 for those of some users."""
    rows = problem.rows
    return jnp.where(jnp.asarray(is_held_out)[rows.user][:, None], 0.0, rows.sample_weight)


def without_users(problem: Problem, is_held_out: Bool[Array, " user"]) -> Problem:
    """The problem with the rows of some users at weight 0."""
    weight = train_weight_program(problem, is_held_out)
    return problem._replace(rows=problem.rows._replace(sample_weight=weight))


def undivided(problem: Problem) -> Division:
    """One division in which every row is predicted and none is answered."""
    weight = problem.rows.sample_weight[None]
    return Division(0 * weight, weight)


def weights(
    division: Division, problem: Problem, is_held_out: Bool[Array, "fold user"]
) -> tuple[Float[jax.Array, " user"], Float[jax.Array, ""]]:
    """What held-out users say, as a mean over divisions.

    Returns:
        Weight of the predicted rows of every held-out user, and how many rows those users who have
        predicted ones answer on average.
    """
    rows = problem.rows
    some = jnp.asarray(is_held_out).any(0)
    predicted, answered = (
        jnp.where(some, layout.sum_by_user(part.mean(0).sum(1), rows, problem.num_users), 0.0)
        for part in (division.predicted, jnp.where(division.answered > 0, 1.0, 0.0))
    )
    counted = predicted > 0
    number = jnp.sum(jnp.where(counted, answered, 0.0)) / jnp.maximum(jnp.sum(counted), 1)
    return predicted, number


def mean_loss(
    losses: Float[Array, "fold candidate user"],
    count: Float[Array, " user"],
    is_held_out: Bool[Array, "fold user"],
) -> Float[jax.Array, " candidate"]:
    """Mean over the rows of held-out users of every candidate's loss, in nats."""
    total = jnp.sum(jnp.where(jnp.asarray(is_held_out).any(0), count, 0.0))
    return jnp.asarray(losses).sum((0, 2)) / jnp.maximum(total, 1e-12)


held_out_folds_program = control.program(held_out_folds, static_argnames=("num_folds",), light=True)
train_weight_program = control.program(train_weight, light=True)
divide_program = control.program(
    divide,
    static_argnames=(
        "part",
        "num_divisions",
        "most_answers",
    ),
    light=True,
)
weights_program = control.program(weights, light=True)
mean_loss_program = control.program(mean_loss, light=True)
