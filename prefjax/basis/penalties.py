"""Learns how strong the penalties must be, from training users held out.

Two regimes pull apart. Where people answer with noise, integrating the users out (temperature 1)
under a strong penalty generalizes best; where they answer with little, the Gaussian bound prunes
real factors and joint MAP (temperature 0) wins. Nothing in the data's format tells which it is.
So a quarter of the training users is held out and everything is fitted to the rest.

First the shared utility alone, over a path of its penalties: the one with which it predicts the
held-out users best is taken. Then, under that, the factors over a path of theirs at both
temperatures: the held-out users are treated as new ones, their weights are inferred from a part of
their answers, and the predictive loss ``−log E_q[σ(z)]`` of the other part decides. The strongest
penalty of the marginal fit that cannot be told from the best candidate (one standard error of the
paired difference, over held-out users) is taken, and if none comes that close, the best candidate
itself. Where nothing personal carries over, that leaves the population model.

The two parts must differ as a new user's answers and later choices will. Rows drawn at random share
responses with each other, so that some are known from others by transitivity alone; a model fit for
new prompts must not be paid for that. ``unit`` groups the responses, and no unit then stands in
both parts. Test users and test items play no part.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax import variational
from prefjax.basis import em
from prefjax.basis import rows as layout
from prefjax.basis._fit import fit_block, in_input_units, input_scale, principal_axes, run
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
from prefjax.types import Array, PRNGKey

NUM_NEW_USER_STEPS = 5


@dataclass(frozen=True)
class LearnConfig:
    """The candidates and how they are compared.

    Attributes:
        penalties: Candidate penalties on φ, weak to strong; each fit starts from the one before.
        utility_penalties: Candidate penalties on t, weak to strong.
        temperatures: Candidate temperatures; 1 marginal, 0 joint MAP.
        held_users: Part of the training users held out.
        held_answers: Part of a held-out user's answers, or of the units in them, that is predicted
            from the others.
        path_steps: Most E–M rounds at each candidate.
    """

    penalties: tuple[float, ...] = (0.5, 1.5, 4.0, 12.0, 36.0, 100.0, 300.0, 1000.0)
    utility_penalties: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    temperatures: tuple[float, ...] = (1.0, 0.0)
    held_users: float = 0.25
    held_answers: float = 0.4
    path_steps: int = 25


LEARN_DEFAULT = LearnConfig()


class Search(NamedTuple):
    """Every candidate with its held-out loss.

    Attributes:
        strength: The candidates.
        nll: Mean held-out predictive loss, in nats.
        error: Standard error, over held-out users, of each loss's excess over the best one.
        population_nll: The loss with nobody told apart.
        utility_nll: The held-out loss of the shared utility alone at each of its penalties.
        chosen: The candidate taken.
    """

    strength: Strength
    nll: Float[Array, " candidate"]
    error: Float[Array, " candidate"]
    population_nll: Float[Array, " candidate"]
    utility_nll: Float[Array, " utility_candidate"]
    chosen: Int[Array, ""]


def predictive_loss(
    state: EMState, embeddings: Embeddings, rows: Rows, temperature: Float[Array, ""]
) -> tuple[Float[Array, "chunk slot"], Float[Array, "chunk slot"]]:
    """Loss of the personal and of the population prediction of every row, in nats."""
    features, offset = em.split(layout.gap(em.embed(state.head, embeddings), rows))
    personal = em.expectation(
        features, offset, state.mean, state.covariance, rows, temperature, "quadrature"
    )
    spread = temperature * jnp.sum(jnp.square(features), axis=-1)
    population = variational.quadrature(offset, spread)

    def loss(probability):
        clipped = jnp.clip(probability, 1e-6, 1 - 1e-6)
        return -rows.label * jnp.log(clipped) - (1 - rows.label) * jnp.log1p(-clipped)

    return loss(personal.slope), loss(population.slope)


def divide(
    key: PRNGKey, rows: Rows, unit: Int[Array, " response"] | None, part: float
) -> tuple[Bool[Array, "chunk slot"], Bool[Array, "chunk slot"]]:
    """Which rows a held-out user answers, and which are predicted from those.

    Args:
        key: Of the draw.
        rows: The comparisons.
        unit: Group of each response; a row between an answered and a predicted unit is in neither
            part. None divides the rows themselves.
        part: Part of the rows, or of each user's units, that is predicted.
    """
    if unit is None:
        predicted = jax.random.bernoulli(key, part, rows.label.shape)
        return ~predicted, predicted
    unit_of = jnp.append(jnp.asarray(unit), -1)  # the zero baseline has no unit of its own
    first, second = unit_of[rows.first], unit_of[rows.second]
    second = jnp.where(second < 0, first, second)

    def drawn(user, group):
        return jax.random.bernoulli(jax.random.fold_in(jax.random.fold_in(key, user), group), part)

    of_slots = jax.vmap(drawn, in_axes=(None, 0))
    predicted = [jax.vmap(of_slots)(rows.user, group) for group in (first, second)]
    return ~predicted[0] & ~predicted[1], predicted[0] & predicted[1]


def utility_path(
    embeddings: Embeddings,
    rows: Rows,
    held: Float[Array, "chunk slot"],
    num_users: int,
    num_responses: int,
    penalties: Float[Array, " candidate"],
    config: EMConfig,
) -> Float[Array, " candidate"]:
    """Loss, on rows of weight ``held``, of the shared utility alone at each of its penalties."""
    num_inputs = num_responses if embeddings is None else embeddings.shape[1]
    alone = replace(config, num_factors=1)
    begun = em.init(jax.random.key(0), rows, jnp.zeros((num_inputs, 1)), num_users)
    begun = begun._replace(head=jnp.zeros_like(begun.head))

    def candidate(state, penalty):
        strength = Strength(jnp.ones(()), penalty, jnp.zeros(()))
        state = run(state, embeddings, rows, num_responses, strength, alone)
        _, offset = em.split(layout.gap(em.embed(state.head, embeddings), rows))
        return state, jnp.sum(held * (jax.nn.softplus(offset) - rows.label * offset))

    return jax.lax.scan(candidate, begun, penalties)[1] / jnp.maximum(held.sum(), 1e-12)


def candidates(config: LearnConfig, utility_penalty: Float[Array, ""]) -> Strength:
    """All candidates, temperatures outermost, penalties weak to strong."""
    pairs = [(p, t) for t in config.temperatures for p in config.penalties]
    penalty = jnp.asarray([p for p, _ in pairs])
    return Strength(
        penalty=penalty,
        utility_penalty=jnp.broadcast_to(utility_penalty, penalty.shape),
        temperature=jnp.asarray([t for _, t in pairs]),
    )


def search_penalties(
    key: PRNGKey,
    rows: Rows,
    embeddings: Embeddings,
    *,
    num_users: int,
    num_responses: int,
    unit: Int[Array, " response"] | None = None,
    config: EMConfig = DEFAULT,
    learn_config: LearnConfig = LEARN_DEFAULT,
) -> Search:
    """Held-out loss of every candidate; pure. Arguments as in `fit_learned`."""
    user_key, answer_key, start_key = jax.random.split(key, 3)
    new_user = jax.random.bernoulli(user_key, learn_config.held_users, (num_users,))
    new = new_user[rows.user][:, None]
    given, predicted = divide(answer_key, rows, unit, learn_config.held_answers)
    kept = rows._replace(sample_weight=jnp.where(new, 0.0, rows.sample_weight))
    answered = rows._replace(sample_weight=jnp.where(given, rows.sample_weight, 0.0))
    held_weight = jnp.where(predicted & new, rows.sample_weight, 0.0)
    axes = principal_axes(embeddings)
    turned = None if embeddings is None or axes is None else embeddings @ axes
    short = replace(config, max_steps=learn_config.path_steps)
    scale = input_scale(embeddings)
    utility_penalties = jnp.asarray(learn_config.utility_penalties)
    everything = jnp.where(new, rows.sample_weight, 0.0)
    utility_nll = utility_path(
        turned, kept, everything, num_users, num_responses, scale * utility_penalties, short
    )
    grid = candidates(learn_config, utility_penalties[jnp.argmin(utility_nll)])
    scaled = jax.vmap(partial(in_input_units, embeddings=embeddings))(grid)
    weakest = jax.tree.map(lambda leaf: leaf[0], scaled)
    begun = start(start_key, kept, turned, weakest, num_users, num_responses, config)

    def candidate(state, strength):
        state = run(state, turned, kept, num_responses, strength, short)
        features, offset = em.split(layout.gap(em.embed(state.head, turned), rows))
        asked = state
        for _ in range(NUM_NEW_USER_STEPS):
            asked = em.user_step(asked, features, offset, answered, strength, config)
        losses = predictive_loss(asked, turned, rows, strength.temperature)
        by_user = [
            layout.sum_by_user(jnp.sum(held_weight * loss, axis=1), rows, num_users)
            for loss in losses
        ]
        return state, by_user

    size = len(learn_config.penalties)
    paths = jax.tree.map(lambda leaf: leaf.reshape(-1, size), scaled)
    _, by_user = jax.lax.map(partial(jax.lax.scan, candidate, begun), paths)
    personal, population = (loss.reshape(-1, num_users) for loss in by_user)
    count = layout.sum_by_user(held_weight.sum(1), rows, num_users)
    total = jnp.maximum(count.sum(), 1e-12)
    nll = personal.sum(1) / total
    best = jnp.argmin(jnp.where(jnp.isfinite(nll), nll, jnp.inf))
    excess = personal - personal[best][None] - (nll - nll[best])[:, None] * count[None]
    error = jnp.sqrt(jnp.sum(jnp.square(excess), axis=1)) / total
    close = (grid.temperature == 1) & (nll <= nll[best] + error)
    strongest = jnp.argmax(jnp.where(close, grid.penalty, -jnp.inf))
    return Search(
        strength=grid,
        nll=nll,
        error=error,
        population_nll=population.sum(1) / total,
        utility_nll=utility_nll,
        chosen=jnp.where(jnp.any(close), strongest, best),
    )


def fit(
    key: PRNGKey,
    rows: Rows,
    embeddings: Embeddings,
    *,
    num_users: int,
    num_responses: int,
    unit: Int[Array, " response"] | None = None,
    config: EMConfig = DEFAULT,
    learn_config: LearnConfig = LEARN_DEFAULT,
) -> tuple[Factorization, Search]:
    """The default fit: strengths by `search`, then `fit` on all answers; one pure program.

    Args:
        key: Of the held-out draw and the start.
        rows: From `make_rows`.
        embeddings: One row a response, or None for free factors.
        num_users: U, static.
        num_responses: Number of responses, static.
        unit: Group of each response, such as its prompt: what a new user is asked about and what
            is then predicted share no unit. None if they may share responses.
        config: Settings of the fit, static.
        learn_config: Settings of the search, static.

    Returns:
        The fit and the search behind it.
    """
    search_key, fit_key = jax.random.split(key)
    found = search_penalties(
        search_key,
        rows,
        embeddings,
        num_users=num_users,
        num_responses=num_responses,
        unit=unit,
        config=config,
        learn_config=learn_config,
    )
    strength = jax.tree.map(lambda leaf: leaf[found.chosen], found.strength)
    fitted = fit_block(
        fit_key,
        rows,
        embeddings,
        strength,
        num_users=num_users,
        num_responses=num_responses,
        config=config,
    )
    return fitted, found
