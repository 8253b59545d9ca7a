"""Learns how strong the penalties must be, from training users held out.

Two regimes pull apart. Where people answer with noise, integrating the users out (posterior scale
1) under a strong penalty generalizes best; where they answer with little, the Gaussian bound prunes
real factors and joint MAP (posterior scale 0) wins. Nothing in the data's format tells which it is.
So a fold of the training users is held out and everything is fitted to the rest.

First the shared utility alone, over a path of its penalties: the one with which it predicts the
held-out users best is taken. Then, under that, the factors over a path of theirs at both posterior
scales: the held-out users are treated as new ones, their weights are inferred from a part of their
answers under the population of the others, and the predictive loss ``−log E_q[σ(z)]`` of the other
part decides, with the loss before the first answer for a quarter of it: a new person is served from
the beginning. Joint MAP is taken where it beats every marginal fit by a standard error of the
paired difference over held-out users, and of either the strongest penalty that cannot be told from
its best (half a standard error). Where nothing personal carries over, that leaves the population
model; ``gain`` and its error say how sure it is that anything does.

`prefjax.basis.paths` says how far a path goes. Where few rows make the choice uncertain, up to four
folds and eight divisions of the answers are averaged. Over 21 draws of 100 people with five
comparisons each, all without noise, the loss of what they were not asked is .577 nats where that of
the population is .614; from dealt-out answers the fit loses .003 to the population.

A held-out user answers about as many questions as a new one will (``most_answers``), whatever their
number of rows: what is best after a hundred answers, joint MAP more often than not, is too sure of
itself after five. Where held-out users answer fewer than ``FEWEST_ANSWERS`` on average, what is
best after so few says little of what is best after ten: joint MAP is no candidate and two standard
errors count as "cannot be told"; below one answer nothing personal can be tested, and the strongest
penalty is taken.

The two parts must differ as a new user's answers and later choices will. Rows drawn at random share
responses with each other, so that some are known from others by transitivity alone; a model fit for
new prompts must not be paid for that. ``group`` groups the responses, and no group then stands in
both parts. All draws are keyed by user, group and response, never by the number of a row.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax.basis import _fit, control, divisions
from prefjax.basis.paths import NUM_EXTRA, follow_path
from prefjax.basis.problem import Problem
from prefjax.basis.state import DEFAULT, SEARCH_DEFAULT, EMConfig, SearchConfig
from prefjax.types import Array, FitInfo, Gaussian, Penalties, PRNGKey, RewardBasis

FEWEST_ANSWERS = 2.5
"""Mean number of answers of held-out users below which the search trusts them less."""
LEAST_ANSWERS = 1.0
"""Mean number of answers below which nothing personal can be tested."""
FEW_STANDARD_ERRORS = 2.0
"""Standard errors that count as "cannot be told" below ``FEWEST_ANSWERS``."""


class PenaltySearch(NamedTuple):
    """Every candidate with its held-out loss; candidates not fitted have an infinite one.

    Attributes:
        penalties: The candidates, posterior scales outermost.
        nll: Mean held-out predictive loss, in nats.
        served_nll: The same with the loss without answers for a part of it, by which is chosen.
        error: Standard error, over held-out users, of each such loss's excess over that of the best
            candidate of the chosen posterior scale.
        population_nll: The same rows predicted without telling users apart.
        utility_nll: The held-out loss of the shared utility alone at each of its penalties.
        gain: How much smaller the loss of the chosen candidate is than that of its population.
        gain_error: Standard error of the gain, over held-out users.
        num_answers: Mean number of answers of a held-out user.
        chosen: The candidate taken.
    """

    penalties: Penalties
    nll: Float[Array, " candidate"]
    served_nll: Float[Array, " candidate"]
    error: Float[Array, " candidate"]
    population_nll: Float[Array, " candidate"]
    utility_nll: Float[Array, " utility_candidate"]
    gain: Float[Array, ""]
    gain_error: Float[Array, ""]
    num_answers: Float[Array, ""]
    chosen: Int[Array, ""]


def extended(values: tuple[float, ...]) -> tuple[float, ...]:
    """The candidates with weaker ones before them, which are fitted if the weakest wins."""
    first, *rest = values
    ratio = first / rest[0] if rest else 1 / 3
    return (*(first * ratio**k for k in range(NUM_EXTRA, 0, -1)), *values)


def candidates(config: SearchConfig, utility_penalty: Float[Array, ""]) -> Penalties:
    """All candidates, posterior scales outermost, factor penalties weak to strong."""
    factors = extended(config.factor_penalties)
    xp = jnp if control.is_traced(utility_penalty) else np
    shape = len(config.posterior_scales) * len(factors)
    return Penalties(
        factor=xp.asarray(np.tile(np.asarray(factors, np.float32), len(config.posterior_scales))),
        utility=xp.full(shape, utility_penalty, np.float32),
        posterior_scale=xp.asarray(
            np.repeat(np.asarray(config.posterior_scales, np.float32), len(factors))
        ),
    )


def choose(
    personal: Float[Array, "fold scale candidate user"],
    population: Float[Array, "fold scale candidate user"],
    count: Float[Array, " user"],
    num_answers: Float[Array, ""],
    utility_nll: Float[Array, " utility_candidate"],
    grid: Penalties,
    config: SearchConfig,
) -> PenaltySearch:
    """The candidate taken, from losses by user; the module's docstring says how.

    Args:
        personal: Summed loss of every user under every candidate.
        population: The same without telling users apart.
        count: Weight of the predicted rows of every user.
        num_answers: Mean number of answers of a held-out user.
        utility_nll: Losses of the utility alone.
        grid: The candidates.
        config: Settings of the search.
    """
    grid = jax.tree.map(jnp.asarray, grid)
    personal, population = (
        jnp.asarray(loss).sum(0).reshape(len(grid.factor), -1) for loss in (personal, population)
    )
    total = jnp.maximum(count.sum(), 1e-12)
    is_fitted = jnp.isfinite(personal).all(1)
    without = config.without_answers
    served = jnp.where(is_fitted[:, None], (1 - without) * personal + without * population, jnp.inf)
    loss = served.sum(1) / total

    def error_of(difference):
        by_user = jnp.broadcast_to(count, difference.shape)
        mean = difference.sum(-1, keepdims=True) / total
        centered = jnp.where(by_user > 0, difference - mean * by_user, 0.0)
        return jnp.sqrt(jnp.sum(jnp.square(centered), axis=-1)) / total

    def excess_over(candidate):
        return error_of(jnp.where(is_fitted[:, None], served - served[candidate][None], 0.0))

    is_marginal = grid.posterior_scale == 1
    marginal, joint = (
        jnp.argmin(jnp.where(kind, loss, jnp.inf)) for kind in (is_marginal, ~is_marginal)
    )
    least = jnp.where(is_marginal[marginal], loss[marginal], jnp.inf)
    margin = config.joint_standard_errors * excess_over(marginal)[joint]
    is_few = num_answers < FEWEST_ANSWERS
    is_joint = ~is_marginal[joint] & (loss[joint] + margin < least)
    is_joint = is_joint & (~is_few | ~jnp.any(is_marginal))
    best = jnp.where(is_joint, joint, marginal)
    error = excess_over(best)
    allowed = jnp.where(is_few, FEW_STANDARD_ERRORS, config.standard_errors)
    close = (loss <= loss[best] + allowed * error) | (num_answers < LEAST_ANSWERS)
    close = close & is_fitted & (is_marginal != is_joint)
    chosen = jnp.argmax(jnp.where(close, grid.factor, -jnp.inf))
    gain = jnp.where(count > 0, population[chosen] - personal[chosen], 0.0)
    return PenaltySearch(
        penalties=grid,
        nll=personal.sum(1) / total,
        served_nll=loss,
        error=error,
        population_nll=population.sum(1) / total,
        utility_nll=utility_nll,
        gain=gain.sum() / total,
        gain_error=error_of(gain),
        num_answers=num_answers,
        chosen=chosen,
    )


choose_program = control.program(choose, static_argnames=("config",), light=True)


def search_utility(
    key: PRNGKey,
    problem: Problem,
    *,
    config: EMConfig = DEFAULT,
    search_config: SearchConfig = SEARCH_DEFAULT,
) -> Float[Array, ""]:
    """The penalty under which the shared utility predicts held-out users best; pure.

    Arguments as in `fit`.
    """
    problem, _ = _fit.rotate_program(problem)
    num_folds, _ = search_config.effort(problem.rows.label.size)
    is_held_out = divisions.held_out_folds_program(key, problem, num_folds)
    nll = _search_utility(problem, is_held_out, config, search_config)
    return _utility_penalty(nll, search_config)


def _search_utility(problem, is_held_out, config, search_config):
    """Held-out loss of every penalty of the utility alone."""
    values = np.asarray(extended(search_config.utility_penalties), np.float32)
    grid = _fit.utility_only(values)
    state = _fit.utility_start_program(problem, config)
    everything = divisions.undivided(problem)

    def losses_of(held_out):
        path = follow_path(state, problem, everything, held_out, grid, config, search_config)
        return path.personal

    return divisions.mean_loss_program(
        control.map_over(losses_of, is_held_out), problem.count, is_held_out
    )


def _utility_penalty(nll, search_config):
    """The candidate with the smallest loss."""
    values = np.asarray(extended(search_config.utility_penalties), np.float32)
    if control.is_traced(nll):
        return jnp.asarray(values)[jnp.argmin(nll)]
    return np.asarray(values[int(np.argmin(nll))])


def search_penalties(
    key: PRNGKey,
    problem: Problem,
    *,
    config: EMConfig = DEFAULT,
    search_config: SearchConfig = SEARCH_DEFAULT,
) -> PenaltySearch:
    """Held-out loss of every candidate, and the one taken; pure.

    Called from the host it runs programs that are compiled once for each shape. Arguments as in
    `fit`.
    """
    return _search(key, _fit.rotate_program(problem)[0], config, search_config)


def _search(key, problem, config, search_config) -> PenaltySearch:
    """`search_penalties` on the principal axes of the inputs."""
    num_folds, num_divisions = search_config.effort(problem.rows.label.size)
    is_held_out = divisions.held_out_folds_program(key, problem, num_folds)
    utility_nll = _search_utility(problem, is_held_out, config, search_config)
    utility_penalty = _utility_penalty(utility_nll, search_config)
    division = divisions.divide_program(
        key,
        problem,
        search_config.held_out_answers,
        num_divisions,
        search_config.most_answers,
    )
    grid = candidates(search_config, utility_penalty)
    num_scales = len(search_config.posterior_scales)
    paths = jax.tree.map(lambda leaf: leaf.reshape(num_scales, -1), grid)

    def losses_of(held_out):
        train = divisions.without_users(problem, held_out)
        utility = _fit.fit_utility(train, utility_penalty, config)
        state = _fit.start_program(key, train, utility, config)

        def along(path_grid):
            path = follow_path(state, problem, division, held_out, path_grid, config, search_config)
            return path.personal, path.population

        return control.map_over(along, paths)

    personal, population = control.map_over(losses_of, is_held_out)
    count, num_answers = divisions.weights_program(division, problem, is_held_out)
    return choose_program(
        personal, population, count, num_answers, utility_nll, grid, search_config
    )


def fit(
    key: PRNGKey,
    problem: Problem,
    *,
    config: EMConfig = DEFAULT,
    search_config: SearchConfig = SEARCH_DEFAULT,
) -> tuple[RewardBasis, Gaussian, FitInfo]:
    """The default fit: penalties by `search_penalties`, then `fit_block` on all answers.

    Pure; called from the host it runs programs that are compiled once for each shape.

    Args:
        key: Seed of the held-out draws, of the divisions and of the start.
        problem: From `make_problem`, with groups where new people are asked about some groups and
            served on others.
        config: Settings of the fits, static.
        search_config: Settings of the search, static.

    Returns:
        The basis for raw embeddings, the posterior of every training user, and how the basis was
        reached, the search included.
    """
    rotated, rotation = _fit.rotate_program(problem)
    found = _search(key, rotated, config, search_config)
    penalties = control.at(found.penalties, found.chosen)
    basis, people, info = _fit.fit_rotated(key, rotated, rotation, penalties, config)
    return basis, people, info._replace(search=found)
