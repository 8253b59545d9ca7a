"""Fits of a basis at given penalties: utility, start, E–M rounds until nothing is gained, gauge.

`prefjax.basis.penalties` finds the penalties from held-out answers and ends here.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax.basis import control, em, heads, mixture, svd, uncertainty
from prefjax.basis import rows as layout
from prefjax.basis.problem import Problem, for_all_users
from prefjax.basis.state import DEFAULT, EMConfig, EMState
from prefjax.types import (
    Array,
    FitInfo,
    Gaussian,
    Mixture,
    Penalties,
    Population,
    PRNGKey,
    RewardBasis,
)

JITTER = 1e-5


def utility_start(problem: Problem, config: EMConfig) -> EMState:
    """State of a fit without factors, with the utility at zero."""
    zeros = jnp.zeros((em.num_inputs(problem), 0))
    return em.init(jax.random.key(0), problem, zeros, config)


def as_arrays(penalties: Penalties) -> Penalties:
    """Penalties in single precision."""
    xp = jnp if control.is_traced(penalties) else np
    return Penalties(*(xp.asarray(value, np.float32) for value in penalties))


def utility_only(penalty: Float[Array, "*candidate"]) -> Penalties:
    """Penalties of a fit without factors."""
    if control.is_traced(penalty):
        return Penalties(jnp.ones_like(penalty), penalty, jnp.zeros_like(penalty))
    return Penalties(np.ones_like(penalty), np.asarray(penalty), np.zeros_like(penalty))


def run(
    state: EMState,
    problem: Problem,
    penalties: Penalties,
    config: EMConfig,
    max_steps: Int[Array, ""] | int | None = None,
    tolerance: Float[Array, ""] | float | None = None,
) -> EMState:
    """E–M rounds from ``state`` until a round gains less than the tolerance; at least three.

    Args:
        state: Where to start; its count of rounds begins anew.
        problem: What is fitted.
        penalties: On θ, and the posterior scale.
        config: Settings, static.
        max_steps: Most rounds, at most those of ``config``, which are the default.
        tolerance: Smallest gain of a round, as in ``config``, whose value is the default.
    """
    most = config.max_steps if max_steps is None else max_steps
    state = state._replace(
        objective=jnp.full_like(state.objective, jnp.nan), num_steps=jnp.zeros_like(state.num_steps)
    )
    return _rounds(state, problem, penalties, config, 3, most, tolerance)


def sharpen(state: EMState, problem: Problem, penalties: Penalties, config: EMConfig) -> EMState:
    """Rounds with exact expectations after those of `run`, as many as ``config.exact_steps``.

    The bound of Jaakkola and Jordan is not tight where a logit is uncertain: its posteriors, and
    the population that is made of them, are too narrow. At posterior scale 0 nothing is uncertain
    and nothing is done.

    Args:
        state: From `run`; its count of rounds goes on.
        problem: What is fitted.
        penalties: On θ, and the posterior scale.
        config: Settings, static.
    """
    if config.bound == "quadrature" or not config.exact_steps:
        return state
    exact = replace(config, bound="quadrature")
    most = jnp.minimum(state.num_steps + config.exact_steps, config.max_steps)
    most = jnp.where(jnp.asarray(penalties.posterior_scale) > 0, most, 0)
    return _rounds(state, problem, penalties, exact, 0, most, config.tolerance)


def _rounds(state, problem, penalties, config, fewest, most, tolerance):
    """Rounds until one gains too little."""
    if problem.embeddings is not None:
        # A product with rows that are not contiguous takes three times as long.
        copy = jax.lax.optimization_barrier(problem.embeddings.T)
        problem = problem._replace(transposed=copy)
    smallest = config.tolerance if tolerance is None else tolerance
    enough = smallest * jnp.sum(problem.rows.sample_weight)

    def unfinished(state):
        return (state.num_steps < fewest) | ((state.num_steps < most) & (state.gain > enough))

    gained, state = state.gain, state._replace(gain=jnp.full_like(state.gain, jnp.inf))
    last = jax.lax.while_loop(
        unfinished, lambda state: em.step(state, problem, penalties, config), state
    )
    return last._replace(gain=jnp.where(last.num_steps > state.num_steps, last.gain, gained))


def centered(
    state: EMState, share: Float[Array, " user"]
) -> tuple[Float[jax.Array, "input factor_and_utility"], Gaussian]:
    """θ with the users' mean moved into the utility, and the moments of the users before that.

    Args:
        state: θ and the users' posteriors.
        share: Weight of every user; the sum is 1.

    Returns:
        θ; mean and covariance of the users: of their means, and of what is not known of each.
    """
    center = share @ state.mean
    mean = state.mean - center[None]
    covariance = (share[:, None] * mean).T @ mean + jnp.tensordot(share, state.covariance, 1)
    covariance = covariance + JITTER * jnp.eye(mean.shape[1], dtype=mean.dtype)
    features, utility = em.split(state.head)
    head = jnp.concatenate([features, (utility + features @ center)[:, None]], axis=1)
    return head, Gaussian(center, (covariance + covariance.T) / 2)


def population(
    state: EMState, problem: Problem
) -> tuple[Float[Array, "input factor_and_utility"], Gaussian, Gaussian]:
    """Moves the users' mean into the utility and takes the population's moments.

    Users without rows are no part of the population; they are given its moments.

    Returns:
        θ, the population with mean exactly 0, and every user.
    """
    share = layout.user_shares(problem.rows, problem.num_users)
    present = share > 0
    head, (center, covariance) = centered(state, share)
    mean = jnp.where(present[:, None], state.mean - center[None], 0.0)
    own = jnp.where(present[:, None, None], state.covariance, covariance[None])
    people = for_all_users(problem, Gaussian(mean, own), covariance)
    return head, Gaussian(jnp.zeros_like(center), covariance), people


def principal_axes(inputs: Float[Array, "response input"]) -> Float[Array, "input input"]:
    """Rotation of the inputs to uncorrelated axes."""
    return jnp.linalg.eigh(inputs.T @ inputs)[1]


def rotate(problem: Problem) -> tuple[Problem, Float[Array, "input input"] | None]:
    """The problem on the principal axes of its inputs, and the rotation to them.

    Uncorrelated inputs suit the preconditioner of the M-step; a ridge does not see a rotation.
    """
    inputs = problem.embeddings
    if inputs is None:
        return problem, None
    rotation = principal_axes(inputs)
    return problem._replace(embeddings=inputs @ rotation), rotation


def finish(
    state: EMState,
    problem: Problem,
    rotation: Float[Array, "input input"] | None,
    penalties: Penalties,
    config: EMConfig,
) -> tuple[RewardBasis, Gaussian, FitInfo]:
    """The result from the last state on rotated inputs, for raw embeddings."""
    head, people_at_large, people = population(state, problem)
    head = head if rotation is None else rotation @ head
    head = head if problem.baseline is None else em.from_baseline(head)
    scale = jnp.asarray(penalties.posterior_scale, head.dtype)
    basis = RewardBasis(heads.linear_params(head), people_at_large, scale)
    enough = config.tolerance * jnp.sum(problem.rows.sample_weight)
    info = FitInfo(
        converged=state.gain <= enough,
        num_steps=state.num_steps,
        objective=state.objective,
        penalties=penalties,
    )
    return heads.to_raw(basis, problem.standardizer), people, info


def as_mixture(key: PRNGKey, state: EMState, problem: Problem, population: Population) -> Mixture:
    """A mixture in the place of the population of `finish`, in the same gauge.

    Args:
        key: Draws starts and folds.
        state: The last one of the fit.
        problem: What was fitted.
        population: From `finish`.
    """
    share = layout.user_shares(problem.rows, problem.num_users)
    center = share @ state.mean
    people = Gaussian(state.mean, state.covariance)
    own = Gaussian(center, population.covariance)
    several = mixture.fit_mixture(key, people, share > 0, own)
    return mixture.shifted(several, several.mean)  # without answers people are the population


rotate_program = control.program(rotate, light=True)
utility_start_program = control.program(utility_start, static_argnames=("config",), light=True)
start_program = control.program(svd.start, static_argnames=("config",), light=True)
run_program = control.program(run, static_argnames=("config",))
sharpen_program = control.program(sharpen, static_argnames=("config",))
as_mixture_program = control.program(as_mixture)
finish_program = control.program(finish, static_argnames=("config",), light=True)


def fit_utility(
    problem: Problem, penalty: Float[Array, ""], config: EMConfig
) -> Float[Array, " input"]:
    """θ of the shared utility alone, which is the fit without factors.

    Args:
        problem: What is fitted.
        penalty: τ of the utility.
        config: Settings, static.
    """
    state = utility_start_program(problem, config)
    penalties = utility_only(penalty)
    return run_program(state, problem, penalties, config, config.max_steps, config.tolerance).head[
        :, 0
    ]


def fit_block(
    key: PRNGKey, problem: Problem, penalties: Penalties, *, config: EMConfig = DEFAULT
) -> tuple[RewardBasis, Gaussian, FitInfo]:
    """Fits a linear basis, or free factors, at given penalties; pure, vmappable over ``key``.

    Called from the host it runs programs that are compiled once for each shape.

    Args:
        key: Only breaks ties in the start; the objective does not depend on it.
        problem: From `make_problem`.
        penalties: In units of φ (the prior precision of one response's φ_j), and the posterior
            scale.
        config: Settings, static.

    Returns:
        The basis for raw embeddings in the gauge where training users have mean 0, the posterior
        of every training user, and how it was reached; ``converged`` says whether the last round
        still gained.

    References:
        arXiv 2503.06358, Eq. 4 at posterior scale 0.
    """
    rotated, rotation = rotate_program(problem)
    return fit_rotated(key, rotated, rotation, as_arrays(penalties), config)


def fit_rotated(
    key: PRNGKey,
    problem: Problem,
    rotation: Float[Array, "input input"] | None,
    penalties: Penalties,
    config: EMConfig,
) -> tuple[RewardBasis, Gaussian, FitInfo]:
    """`fit_block` of a problem that is on its principal axes, from `rotate`."""
    utility = fit_utility(problem, penalties.utility, config)
    state = start_program(key, problem, utility, config)
    state = run_program(state, problem, penalties, config, config.max_steps, config.tolerance)
    state = sharpen_program(state, problem, penalties, config)
    basis, people, info = finish_program(state, problem, rotation, penalties, config)
    if config.population == "mixture":
        several = as_mixture_program(key, state, problem, basis.population)
        basis = basis._replace(population=several)
    kernel = uncertainty.spread_program(state, problem, rotation, penalties)
    return heads.with_spread(basis, kernel, problem.standardizer), people, info
