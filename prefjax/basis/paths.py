"""One path over candidate penalties: fits from weak to strong, scored on users held out.

Each fit starts from the one before. With one fold a path ends where the loss has risen twice in a
row by more than two standard errors over the best so far: the loss of a path falls while it
over-fits, turns once, and ends at the loss of the population. With several folds it goes to the
end: a candidate counts only where every fold has fitted it. Where the first, weakest candidate is
the best, weaker ones are tried for as long as they gain.
"""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax import variational
from prefjax.basis import _fit, choice_slots, control, divisions, em
from prefjax.basis import rows as layout
from prefjax.basis.divisions import Division
from prefjax.basis.problem import Problem
from prefjax.basis.rows import Rows
from prefjax.basis.state import EMConfig, EMState, SearchConfig
from prefjax.types import Array, Penalties

NUM_MAP_STEPS = 5
"""E-steps to the weights of a held-out user at posterior scale 0."""
NUM_EXACT_STEPS = 8
"""Damped E-steps with exact expectations; what is left of the way is (1 − ρ)^8, below 1e-4."""
NUM_EXTRA = 8
"""Candidates weaker than those of a grid, which are fitted where its weakest wins."""
WORTH_MORE = 1e-3
"""Nats a row that a weaker candidate must gain for a still weaker one to be tried."""
CLEARLY_WORSE = 2.0
"""Standard errors over the best so far at which a path may end."""


class Path(NamedTuple):
    """Where a path over the candidates of one posterior scale stands.

    Attributes:
        state: The last fit, where the next one starts.
        first: The fit at the first candidate.
        index: The candidate that is next.
        direction: +1 towards stronger penalties, −1 towards weaker ones, 0 when the path has ended.
        num_worse: Losses in a row that were clearly over the best.
        best: The candidate with the smallest loss so far.
        personal: Summed loss of every held-out user, infinite where nothing was fitted.
        population: The same without telling users apart.
    """

    state: EMState
    first: EMState
    index: Int[Array, ""]
    direction: Int[Array, ""]
    num_worse: Int[Array, ""]
    best: Int[Array, ""]
    personal: Float[Array, "candidate user"]
    population: Float[Array, "candidate user"]


def init_path(state: EMState, num_candidates: int) -> Path:
    """A path before its first candidate, which is the weakest that is not an extension."""
    zero = jnp.zeros((), jnp.int32)
    infinite = jnp.full((num_candidates, len(state.mean)), jnp.inf)
    return Path(
        state, state, zero + NUM_EXTRA, zero + 1, zero, zero + NUM_EXTRA, infinite, infinite
    )


def as_new(
    state: EMState, train: Rows, num_users: int
) -> tuple[EMState, Float[jax.Array, "input factor_and_utility"]]:
    """Users before their first answer, and the head in the gauge where the population is N(0, I).

    A new person starts from the mean and the covariance of the training users' posteriors, which
    the prior N(0, I) of the fit is not: least of all at posterior scale 0.

    Args:
        state: The fit.
        train: The rows that were fitted.
        num_users: Number of users.
    """
    head, people = _fit.centered(state, layout.user_shares(train, num_users))
    features, utility = em.split(head)
    if not features.shape[1]:
        return state, head
    scaled = features @ jnp.linalg.cholesky(people.covariance)
    head = jnp.concatenate([scaled, utility[:, None]], axis=1)
    eye = jnp.broadcast_to(jnp.eye(features.shape[1]), state.covariance.shape)
    return state._replace(mean=jnp.zeros_like(state.mean), covariance=eye), head


def predictive_loss(
    state: EMState,
    features: Float[Array, "chunk slot factor"],
    offset: Float[Array, "chunk slot"],
    problem: Problem,
    posterior_scale: Float[Array, ""],
) -> tuple[Float[Array, "chunk slot"], Float[Array, "chunk slot"]]:
    """Loss of the personal and of the population prediction of every row, in nats."""
    rows = problem.rows
    personal = em.expectation(
        features, offset, state.mean, state.covariance, rows, posterior_scale, "quadrature"
    )
    spread = posterior_scale * jnp.sum(jnp.square(features), axis=-1)
    population = variational.quadrature(offset, spread)

    def loss(probability):
        clipped = jnp.clip(probability, 1e-6, 1 - 1e-6)
        return -rows.label * jnp.log(clipped) - (1 - rows.label) * jnp.log1p(-clipped)

    losses = loss(personal.slope), loss(population.slope)
    if rows.choices is None:
        return losses
    population = choice_slots.expectation(
        population, features, offset, None, rows.choices, posterior_scale, "quadrature"
    )
    own, shared = (
        choice_slots.loss(plain, row.slope, rows.choices)
        for plain, row in zip(losses, (personal, population), strict=True)
    )
    return own, shared


def score(
    path: Path,
    problem: Problem,
    division: Division,
    is_held_out: Bool[Array, " user"],
    penalties: Penalties,
    config: EMConfig,
    is_only_fold: bool,
) -> Path:
    """Adds the held-out losses of the fit in ``path.state``, and turns to the next candidate.

    A held-out user is inferred as a new person is served, from the population (`as_new`) and with
    exact expectations: under a bound that makes posteriors too narrow the marginal fit loses to
    joint MAP where it should not.

    Args:
        path: Its state is the fit at candidate ``index``.
        problem: Everybody's rows.
        division: Which rows are answered and predicted.
        is_held_out: Users whose answers are divided and predicted.
        penalties: Of that fit.
        config: Settings of the fits, static.
        is_only_fold: Whether the path may end early, static.
    """
    rows = problem.rows
    train = divisions.without_users(problem, is_held_out)
    new, head = as_new(path.state, train.rows, problem.num_users)
    table = em.embed(head, problem.embeddings)
    features, offset = em.split(layout.feature_gap(table, rows))
    held_out = jnp.asarray(is_held_out)[rows.user][:, None]

    def infer(settings, num_steps, asked):
        return em.user_step(new, features, offset, asked, penalties, settings, num_steps)

    exact = replace(config, bound="quadrature")
    is_marginal = jnp.asarray(penalties.posterior_scale) > 0

    def divided(weights):
        answered, predicted = weights
        asked = rows._replace(sample_weight=jnp.where(held_out, answered, 0.0))
        state = jax.lax.cond(
            is_marginal,
            partial(infer, exact, NUM_EXACT_STEPS),
            partial(infer, config, NUM_MAP_STEPS),
            asked,
        )
        losses = predictive_loss(state, features, offset, problem, penalties.posterior_scale)
        weight = jnp.where(held_out, predicted, 0.0)
        return tuple(
            layout.sum_by_user(jnp.sum(weight * loss, axis=1), rows, problem.num_users)
            for loss in losses
        )

    personal, population = (loss.mean(0) for loss in jax.lax.map(divided, tuple(division)))
    before = path.personal[path.best]
    excess = jnp.where(jnp.isfinite(before), personal - before, -1.0)
    error = jnp.sqrt(jnp.sum(jnp.square(excess - excess.mean())))
    is_better = excess.sum() < 0
    total = jnp.sum(jnp.where(held_out[None], division.predicted, 0.0)) / len(division.predicted)
    is_worth_more = excess.sum() < -WORTH_MORE * total
    is_worse = is_only_fold & (excess.sum() > CLEARLY_WORSE * error)
    num_worse = jnp.where(is_worse, path.num_worse + 1, 0)
    is_first = path.index == NUM_EXTRA
    path = path._replace(
        first=jax.tree.map(lambda new, old: jnp.where(is_first, new, old), path.state, path.first),
        best=jnp.where(is_better, path.index, path.best),
        num_worse=num_worse,
        personal=jnp.asarray(path.personal).at[path.index].set(personal),
        population=jnp.asarray(path.population).at[path.index].set(population),
    )
    return _turn(path, is_worth_more)


def _turn(path: Path, is_worth_more: Bool[Array, ""]) -> Path:
    """The next candidate: up while it helps or the grid lasts, then down if the first won."""
    last = path.personal.shape[0] - 1
    going_up = path.direction > 0
    up_ends = going_up & ((path.num_worse >= 2) | (path.index == last))
    goes_down = up_ends & (path.best == NUM_EXTRA)
    down_ends = (path.direction < 0) & (~is_worth_more | (path.index == 0))
    direction = jnp.where(up_ends, jnp.where(goes_down, -1, 0), path.direction)
    direction = jnp.where(down_ends, 0, direction)
    start = jnp.where(goes_down, NUM_EXTRA, path.index)
    return path._replace(
        state=jax.tree.map(
            lambda first, state: jnp.where(goes_down, first, state), path.first, path.state
        ),
        index=(start + direction).astype(jnp.int32),
        direction=direction.astype(jnp.int32),
    )


init_path_program = control.program(init_path, static_argnames=("num_candidates",), light=True)
score_program = control.program(score, static_argnames=("config", "is_only_fold"), light=True)


def follow_path(
    state: EMState,
    problem: Problem,
    division: Division,
    is_held_out: Bool[Array, " user"],
    grid: Penalties,
    config: EMConfig,
    search_config: SearchConfig,
) -> Path:
    """Fits and scores candidates, weak to strong, until the loss has turned.

    Args:
        state: Where the first fit starts.
        problem: Everybody's rows.
        division: Which rows of held-out users are answered and predicted.
        is_held_out: Users who are not fitted to.
        grid: The candidates of one posterior scale.
        config: Settings of the fits, static.
        search_config: How far each fit goes, static.
    """
    train = divisions.without_users(problem, is_held_out)
    size = len(grid.factor)
    is_only_fold = search_config.effort(problem.rows.label.size)[0] == 1

    def step(path):
        penalties = control.at(grid, path.index)
        state = _fit.run_program(
            path.state,
            train,
            penalties,
            config,
            search_config.path_steps,
            search_config.path_tolerance,
        )
        path = path._replace(state=state)
        return score_program(path, problem, division, is_held_out, penalties, config, is_only_fold)

    return control.repeat_while(
        lambda path: path.direction != 0, step, init_path_program(state, size), size
    )
