"""The whole fit as one pure function: start, E–M rounds until nothing is gained, gauge.

``fit`` takes the strengths as given; `prefjax.basis.penalties` finds them from held-out
answers.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import em
from prefjax.basis import rows as layout
from prefjax.basis.rows import Rows
from prefjax.basis.state import (
    DEFAULT,
    Embeddings,
    EMConfig,
    EMState,
    Factorization,
    Strength,
)
from prefjax.basis.svd import start
from prefjax.types import Array, GaussianPrior, Items, PRNGKey

JITTER = 1e-5


def input_scale(embeddings: Embeddings) -> Float[Array, ""]:
    """Mean squared norm of the centred embeddings; 1 for free factors.

    Penalties are multiplied by it, so that they mean the prior precision of one response's φ_j
    whatever the scale of the embeddings.
    """
    if embeddings is None:
        return jnp.ones(())
    centred = embeddings - embeddings.mean(0, keepdims=True)
    return jnp.mean(jnp.sum(jnp.square(centred), axis=1))


def in_input_units(strength: Strength, embeddings: Embeddings) -> Strength:
    """Penalties on θ from penalties on φ."""
    scale = input_scale(embeddings)
    return strength._replace(
        penalty=strength.penalty * scale, utility_penalty=strength.utility_penalty * scale
    )


def principal_axes(embeddings: Embeddings) -> Float[Array, "input input"] | None:
    """Rotation that makes the inputs uncorrelated; the ridge on θ does not see it."""
    if embeddings is None:
        return None
    return jnp.linalg.eigh(embeddings.T @ embeddings)[1]


def run(
    state: EMState,
    embeddings: Embeddings,
    rows: Rows,
    num_responses: int,
    strength: Strength,
    config: EMConfig,
) -> EMState:
    """E–M rounds from ``state`` until a round gains less than the tolerance."""
    enough = config.tolerance * jnp.sum(rows.sample_weight)

    def unfinished(state):
        return (state.num_steps < 3) | (
            (state.num_steps < config.max_steps) & (state.gain > enough)
        )

    def round_of(state):
        return em.step(state, embeddings, rows, num_responses, strength, config)

    state = state._replace(
        num_steps=jnp.zeros_like(state.num_steps), gain=jnp.full_like(state.gain, jnp.inf)
    )
    return jax.lax.while_loop(unfinished, round_of, state)


def population(
    state: EMState, rows: Rows
) -> tuple[Float[Array, "input factor_and_utility"], GaussianPrior, EMState]:
    """Moves the users' mean into the utility and takes the population's moments.

    Users without rows are no part of the population; they are given its moments.
    """
    share = layout.user_shares(rows, len(state.mean))
    given = share > 0
    center = share @ state.mean
    features, utility = em.split(state.head)
    head = jnp.concatenate([features, (utility + features @ center)[:, None]], axis=1)
    mean = jnp.where(given[:, None], state.mean - center[None], 0.0)
    covariance = (share[:, None] * mean).T @ mean + jnp.tensordot(share, state.covariance, 1)
    covariance = covariance + JITTER * jnp.eye(mean.shape[1], dtype=mean.dtype)
    precision = jnp.linalg.inv(covariance)
    prior = GaussianPrior(mean=jnp.zeros_like(center), precision=(precision + precision.T) / 2)
    belief = jnp.where(given[:, None, None], state.covariance, covariance[None])
    return head, prior, state._replace(mean=mean, covariance=belief)


def fit_block(
    key: PRNGKey,
    rows: Rows,
    embeddings: Embeddings,
    strength: Strength,
    *,
    num_users: int,
    num_responses: int,
    config: EMConfig = DEFAULT,
) -> Factorization:
    """Fits the factorization at given strengths; pure, one program, vmappable over ``key``.

    Args:
        key: Only breaks ties in the start; the objective does not depend on it.
        rows: From `make_rows`.
        embeddings: One row a response, or None for free factors.
        strength: Penalties in units of φ, and the temperature.
        num_users: U, static.
        num_responses: Number of responses, static.
        config: Settings, static.

    Returns:
        The fit; ``converged`` says whether the last round still gained.
    """
    strength = in_input_units(strength, embeddings)
    axes = principal_axes(embeddings)
    turned = None if embeddings is None or axes is None else embeddings @ axes
    state = start(key, rows, turned, strength, num_users, num_responses, config)
    state = run(state, turned, rows, num_responses, strength, config)
    return finish(state, turned, axes, rows, config)


def finish(
    state: EMState,
    embeddings: Embeddings,
    axes: Float[Array, "input input"] | None,
    rows: Rows,
    config: EMConfig,
) -> Factorization:
    """The result from the last state, in the caller's coordinates of the embeddings."""
    head, prior, state = population(state, rows)
    features, utility = em.split(em.embed(head, embeddings))
    enough = config.tolerance * jnp.sum(rows.sample_weight)
    return Factorization(
        items=Items(features=features, utility=utility),
        head=head if axes is None else axes @ head,
        weights=state.mean,
        covariance=state.covariance,
        prior=prior,
        objective=state.objective,
        num_steps=state.num_steps,
        converged=state.gain <= enough,
    )
