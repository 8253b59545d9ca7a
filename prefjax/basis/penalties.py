"""Learns how strong the penalties must be, from training users held out.

Two regimes pull apart. Where people answer with noise, integrating the users out (posterior scale
1) under a strong penalty generalizes best; where they answer with little, the Gaussian bound prunes
real factors and joint MAP (posterior scale 0) wins. Nothing in the data's format tells which it is.
So a fold of the training users is held out and everything is fitted to the rest.

First the shared utility alone, over a path of its penalties: the one with which it predicts the
held-out users best is taken. Then, under that, the factors over a path of theirs at both posterior
scales: the held-out users are treated as new ones, their weights are inferred from a part of their
answers, and the predictive loss ``−log E_q[σ(z)]`` of the other part decides. The strongest penalty
of the marginal fit that cannot be told from the best candidate (standard errors of the paired
difference, over held-out users) is taken, and if none comes that close, the best candidate itself.
Where nothing personal carries over, that leaves the population model.

A path goes from weak to strong, each fit from the one before, and ends where the loss has risen
twice in a row by more than two standard errors over the best so far: the loss of a path falls while
it over-fits, turns once, and ends at the loss of the population. Where few rows make the choice
uncertain, more folds and more divisions of the answers are averaged.

The two parts must differ as a new user's answers and later choices will. Rows drawn at random share
responses with each other, so that some are known from others by transitivity alone; a model fit for
new prompts must not be paid for that. ``group`` groups the responses, and no group then stands in
both parts. All draws are keyed by user, group and response, never by the number of a row.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from prefjax import variational
from prefjax.basis import _fit, control, divisions, em
from prefjax.basis import rows as layout
from prefjax.basis.divisions import Division
from prefjax.basis.problem import Problem
from prefjax.basis.state import DEFAULT, EMConfig, EMState
from prefjax.types import Array, FitInfo, Gaussian, Penalties, PRNGKey, RewardBasis

NUM_NEW_USER_STEPS = 5
NUM_EXTRA = 4
"""Candidates weaker than those of a grid, which are fitted where its weakest wins."""
CLEARLY_WORSE = 2.0
"""Standard errors over the best so far at which a path may end."""


@dataclass(frozen=True)
class SearchConfig:
    """The candidates and how they are compared.

    Attributes:
        factor_penalties: Candidate penalties on φ, weak to strong; each fit starts from the one
            before.
        utility_penalties: Candidate penalties on t, weak to strong.
        posterior_scales: Candidate posterior scales; 1 marginal, 0 joint MAP.
        num_folds: Folds of a quarter of the users that are held out in turn, 1 to 4; None takes
            what ``row_budget`` allows.
        num_divisions: Divisions of a held-out user's answers that are averaged; None likewise.
        row_budget: Rows × folds that a search may fit to; at least one fold is fitted.
        held_out_answers: Part of a held-out user's answers, or of the groups in them, that is
            predicted from the others.
        path_steps: Most E–M rounds at each candidate.
        standard_errors: How many standard errors of the best loss count as "cannot be told".
    """

    factor_penalties: tuple[float, ...] = (0.5, 1.5, 4.0, 12.0, 36.0, 100.0, 300.0, 1000.0)
    utility_penalties: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    posterior_scales: tuple[float, ...] = (1.0, 0.0)
    num_folds: int | None = 1
    num_divisions: int | None = 1
    row_budget: int = 20_000
    held_out_answers: float = 0.4
    path_steps: int = 25
    standard_errors: float = 1.0

    def __post_init__(self):
        if self.num_folds is not None and not 1 <= self.num_folds <= divisions.NUM_PARTS:
            raise ValueError(
                f"num_folds must lie in [1, {divisions.NUM_PARTS}], got {self.num_folds}"
            )

    def effort(self, num_rows: int) -> tuple[int, int]:
        """Folds and divisions for a number of rows."""
        allowed = max(1, min(divisions.NUM_PARTS, self.row_budget // max(num_rows, 1)))
        folds = allowed if self.num_folds is None else self.num_folds
        return folds, folds if self.num_divisions is None else self.num_divisions


SEARCH_DEFAULT = SearchConfig()


class PenaltySearch(NamedTuple):
    """Every candidate with its held-out loss; candidates not fitted have an infinite one.

    Attributes:
        penalties: The candidates, posterior scales outermost.
        nll: Mean held-out predictive loss, in nats.
        error: Standard error, over held-out users, of each loss's excess over the best one.
        population_nll: The same rows predicted without telling users apart.
        utility_nll: The held-out loss of the shared utility alone at each of its penalties.
        gain: How much smaller the loss of the chosen candidate is than that of its population.
        gain_error: Standard error of the gain, over held-out users.
        chosen: The candidate taken.
    """

    penalties: Penalties
    nll: Float[Array, " candidate"]
    error: Float[Array, " candidate"]
    population_nll: Float[Array, " candidate"]
    utility_nll: Float[Array, " utility_candidate"]
    gain: Float[Array, ""]
    gain_error: Float[Array, ""]
    chosen: Int[Array, ""]


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

    return loss(personal.slope), loss(population.slope)


def score(
    path: Path,
    problem: Problem,
    division: Division,
    is_held_out: Bool[Array, " user"],
    penalties: Penalties,
    config: EMConfig,
) -> Path:
    """Adds the held-out losses of the fit in ``path.state``, and turns to the next candidate.

    Args:
        path: Its state is the fit at candidate ``index``.
        problem: Everybody's rows.
        division: Which rows are answered and predicted.
        is_held_out: Users whose answers are divided and predicted.
        penalties: Of that fit.
        config: Settings of the fits, static.
    """
    rows = problem.rows
    table = em.embed(path.state.head, problem.embeddings)
    features, offset = em.split(layout.feature_gap(table, rows))
    held_out = jnp.asarray(is_held_out)[rows.user][:, None]

    def divided(weights):
        answered, predicted = weights
        asked = rows._replace(sample_weight=jnp.where(held_out, answered, 0.0))
        state = em.user_step(
            path.state, features, offset, asked, penalties, config, NUM_NEW_USER_STEPS
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
    num_worse = jnp.where(excess.sum() > CLEARLY_WORSE * error, path.num_worse + 1, 0)
    is_first = path.index == NUM_EXTRA
    path = path._replace(
        first=jax.tree.map(lambda new, old: jnp.where(is_first, new, old), path.state, path.first),
        best=jnp.where(is_better, path.index, path.best),
        num_worse=num_worse,
        personal=path.personal.at[path.index].set(personal),
        population=path.population.at[path.index].set(population),
    )
    return _turn(path, is_better)


def _turn(path: Path, is_better: Bool[Array, ""]) -> Path:
    """The next candidate: up while it helps or the grid lasts, then down if the first won."""
    last = path.personal.shape[0] - 1
    going_up = path.direction > 0
    up_ends = going_up & ((path.num_worse >= 2) | (path.index == last))
    goes_down = up_ends & (path.best == NUM_EXTRA)
    down_ends = (path.direction < 0) & (~is_better | (path.index == 0))
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
score_program = control.program(score, static_argnames=("config",), light=True)


def follow_path(
    state: EMState,
    problem: Problem,
    division: Division,
    is_held_out: Bool[Array, " user"],
    grid: Penalties,
    config: EMConfig,
    path_steps: int,
) -> Path:
    """Fits and scores candidates, weak to strong, until the loss has turned.

    Args:
        state: Where the first fit starts.
        problem: Everybody's rows.
        division: Which rows of held-out users are answered and predicted.
        is_held_out: Users who are not fitted to.
        grid: The candidates of one posterior scale.
        config: Settings of the fits, static.
        path_steps: Most E–M rounds at each candidate.
    """
    train = divisions.without_users(problem, is_held_out)
    size = len(grid.factor)

    def step(path):
        penalties = control.at(grid, path.index)
        state = _fit.run_program(path.state, train, penalties, config, path_steps)
        path = path._replace(state=state)
        return score_program(path, problem, division, is_held_out, penalties, config)

    return control.repeat_while(
        lambda path: path.direction != 0, step, init_path_program(state, size), size
    )


def extended(values: tuple[float, ...]) -> tuple[float, ...]:
    """The candidates with weaker ones before them, which are fitted if the weakest wins."""
    ratio = values[0] / values[1] if len(values) > 1 else 1 / 3
    return (*(values[0] * ratio**k for k in range(NUM_EXTRA, 0, -1)), *values)


def candidates(config: SearchConfig, utility_penalty: Float[Array, ""] | np.floating) -> Penalties:
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
    utility_nll: Float[Array, " utility_candidate"],
    grid: Penalties,
    config: SearchConfig,
) -> PenaltySearch:
    """The strongest marginal candidate that cannot be told from the best, from losses by user.

    Args:
        personal: Summed loss of every user under every candidate.
        population: The same without telling users apart.
        count: Weight of the predicted rows of every user.
        utility_nll: Losses of the utility alone.
        grid: The candidates.
        config: Settings of the search.
    """
    grid = jax.tree.map(jnp.asarray, grid)
    personal, population = (
        jnp.asarray(loss).sum(0).reshape(len(grid.factor), -1) for loss in (personal, population)
    )
    total = jnp.maximum(count.sum(), 1e-12)
    nll = personal.sum(1) / total

    def error_of(difference, mean):
        by_user = jnp.broadcast_to(count, difference.shape)
        centered = jnp.where(by_user > 0, difference - mean * by_user, 0.0)
        return jnp.sqrt(jnp.sum(jnp.square(centered), axis=-1)) / total

    best = jnp.argmin(jnp.where(jnp.isfinite(nll), nll, jnp.inf))
    excess = jnp.where(jnp.isfinite(personal), personal - personal[best][None], 0.0)
    error = error_of(excess, (nll - nll[best])[:, None])
    error = jnp.where(jnp.isfinite(nll), error, 0.0)
    close = (grid.posterior_scale == 1) & (nll <= nll[best] + config.standard_errors * error)
    strongest = jnp.argmax(jnp.where(close, grid.factor, -jnp.inf))
    chosen = jnp.where(jnp.any(close), strongest, best)
    gain = jnp.where(count > 0, population[chosen] - personal[chosen], 0.0)
    return PenaltySearch(
        penalties=grid,
        nll=nll,
        error=error,
        population_nll=population.sum(1) / total,
        utility_nll=utility_nll,
        gain=gain.sum() / total,
        gain_error=error_of(gain, gain.sum() / total),
        chosen=chosen,
    )


choose_program = control.program(choose, static_argnames=("config",), light=True)


def search_utility(
    key: PRNGKey,
    problem: Problem,
    *,
    config: EMConfig = DEFAULT,
    search_config: SearchConfig = SEARCH_DEFAULT,
) -> Float[jax.Array, ""]:
    """The penalty under which the shared utility predicts held-out users best; pure.

    Arguments as in `fit`.
    """
    num_folds, _ = search_config.effort(problem.rows.label.size)
    is_held_out = divisions.held_out_folds_program(key, problem, num_folds)
    nll, _ = _search_utility(problem, is_held_out, config, search_config)
    return _utility_penalty(nll, search_config)


def _search_utility(problem, is_held_out, config, search_config):
    """Held-out loss of every penalty of the utility alone."""
    values = np.asarray(extended(search_config.utility_penalties), np.float32)
    grid = _fit.utility_only(values)
    state = _fit.utility_start_program(problem, config)
    everything = divisions.undivided(problem)

    def losses_of(held_out):
        path = follow_path(
            state, problem, everything, held_out, grid, config, search_config.path_steps
        )
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
    num_folds, num_divisions = search_config.effort(problem.rows.label.size)
    is_held_out = divisions.held_out_folds_program(key, problem, num_folds)
    utility_nll = _search_utility(problem, is_held_out, config, search_config)
    utility_penalty = _utility_penalty(utility_nll, search_config)
    division = divisions.divide_program(key, problem, search_config.held_out_answers, num_divisions)
    grid = candidates(search_config, utility_penalty)
    num_scales = len(search_config.posterior_scales)
    paths = jax.tree.map(lambda leaf: leaf.reshape(num_scales, -1), grid)

    def losses_of(held_out):
        train = divisions.without_users(problem, held_out)
        utility = _fit.fit_utility(train, utility_penalty, config)
        state = _fit.start_program(key, train, utility, config)

        def along(path_grid):
            path = follow_path(
                state, problem, division, held_out, path_grid, config, search_config.path_steps
            )
            return path.personal, path.population

        return control.map_over(along, paths)

    personal, population = control.map_over(losses_of, is_held_out)
    count = divisions.predicted_weight_program(division, problem, is_held_out)
    return choose_program(personal, population, count, utility_nll, grid, search_config)


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
    found = search_penalties(key, problem, config=config, search_config=search_config)
    penalties = control.at(found.penalties, found.chosen)
    basis, people, info = _fit.fit_block(key, problem, penalties, config=config)
    return basis, people, info._replace(search=found)
