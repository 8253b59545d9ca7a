"""Fits of a basis at given penalties: utility, start, E–M rounds until nothing is gained, gauge.

`prefjax.basis.penalties` finds the penalties from held-out answers and ends here.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax.basis import control, em, heads, svd
from prefjax.basis import rows as layout
from prefjax.basis.problem import Problem
from prefjax.basis.state import DEFAULT, EMConfig, EMState
from prefjax.types import Array, FitInfo, Gaussian, Penalties, PRNGKey, RewardBasis

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
    center = share @ state.mean
    features, utility = em.split(state.head)
    head = jnp.concatenate([features, (utility + features @ center)[:, None]], axis=1)
    mean = jnp.where(present[:, None], state.mean - center[None], 0.0)
    covariance = (share[:, None] * mean).T @ mean + jnp.tensordot(share, state.covariance, 1)
    covariance = covariance + JITTER * jnp.eye(mean.shape[1], dtype=mean.dtype)
    covariance = (covariance + covariance.T) / 2
    own = jnp.where(present[:, None, None], state.covariance, covariance[None])
    return head, Gaussian(jnp.zeros_like(center), covariance), Gaussian(mean, own)


def finish(
    state: EMState, problem: Problem, penalties: Penalties, config: EMConfig
) -> tuple[RewardBasis, Gaussian, FitInfo]:
    """The result from the last state, for raw embeddings."""
    head, people_at_large, people = population(state, problem)
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


utility_start_program = control.program(utility_start, static_argnames=("config",), light=True)
start_program = control.program(svd.start, static_argnames=("config",), light=True)
run_program = control.program(em.run, static_argnames=("config",))
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
    return run_program(state, problem, penalties, config, config.max_steps).head[:, 0]


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
    penalties = as_arrays(penalties)
    utility = fit_utility(problem, penalties.utility, config)
    state = start_program(key, problem, utility, config)
    state = run_program(state, problem, penalties, config, config.max_steps)
    return finish_program(state, problem, penalties, config)
