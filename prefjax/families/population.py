"""People in a fit of a family: means and draws that people without rows do not change."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.types import Array, PRNGKey


def population_mean(
    values: Float[Array, "user feature"], problem: Problem
) -> Float[Array, " feature"]:
    """Mean over the people with rows; those without say nothing of the population.

    Args:
        values: One vector for each person.
        problem: Whose people they are.
    """
    present = jnp.where(jnp.asarray(problem.count) > 0, 1.0, 0.0)
    return present @ values / jnp.maximum(jnp.sum(present), 1.0)


def user_rank(problem: Problem) -> jax.Array:
    """Place of every person among those with rows: what draws are keyed by.

    Args:
        problem: People without rows get the place of the last one before them.
    """
    return jnp.maximum(jnp.cumsum(jnp.asarray(problem.count) > 0) - 1, 0)


def draw_by_user(
    key: PRNGKey, problem: Problem, draw: Callable[[PRNGKey], Float[Array, " feature"]]
) -> Float[jax.Array, "user feature"]:
    """Independent draws for every person, which people without rows do not change.

    Args:
        key: Seed of all of them.
        problem: Whose people they are.
        draw: One person's draw from one key.
    """
    return jax.vmap(lambda rank: jnp.asarray(draw(jax.random.fold_in(key, rank))))(
        user_rank(problem)
    )
