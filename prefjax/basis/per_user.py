"""Per-user rewards: everybody alone, the baseline that borrows nothing from others.

    s = w_u·(x_a − x_b),    x = Cᵀe,    w_u = argmin Σ_r w_r ℓ(s_r, y_r) + ½ ‖w_u‖²,

with C the leading principal axes of the embeddings, scaled so that the prior N(0, I) on w_u gives
the reward of a response the variance 1/τ across people. With as many components as inputs this is
exactly the ridge logistic regression over the embedding; fewer leave directions out in which the
responses hardly differ, and keep the solve at ``components³`` instead of ``inputs³`` a user.

All users at once, by majorize–minimize steps of `prefjax.basis.em` at posterior scale 0.

References:
    arXiv 2503.06358, section 5 (baseline without a shared basis).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import em, heads
from prefjax.basis import rows as layout
from prefjax.basis.problem import Problem, for_all_users
from prefjax.basis.state import EMConfig
from prefjax.types import Array, FitInfo, Gaussian, Penalties, RewardBasis


def component_head(
    inputs: Float[Array, "response input"],
    penalty: Float[Array, ""] | float,
    num_components: int,
) -> Float[Array, "input component_and_utility"]:
    """C of the module's equation, with a utility column of zeros."""
    axes = jnp.linalg.eigh(inputs.T @ inputs)[1][:, ::-1][:, :num_components]
    return jnp.pad(axes / jnp.sqrt(jnp.maximum(penalty, 1e-30)), ((0, 0), (0, 1)))


def fit_per_user(
    problem: Problem,
    penalty: Float[Array, ""] | float,
    *,
    num_components: int = 32,
    num_steps: int = 40,
) -> tuple[RewardBasis, Gaussian, FitInfo]:
    """Fits every user alone over principal components; pure.

    Args:
        problem: From `make_problem`, with embeddings.
        penalty: τ, the prior precision of a response's reward across people.
        num_components: Components of the embeddings, static; at most the number of inputs.
        num_steps: Majorize–minimize steps, static.

    Returns:
        A linear basis of ``num_components`` features and no utility with the population N(0, I);
        people whose covariance is the inverse curvature of the majorizer at the optimum; and how
        it was reached.
    """
    inputs = em.embeddings_of(problem)
    num_components = min(num_components, inputs.shape[1])
    rows = problem.rows
    kernel = component_head(inputs, penalty, num_components)
    features, offset = em.split(layout.feature_gap(inputs @ kernel, rows))
    zero = jnp.zeros(())
    alone = Penalties(factor=zero, utility=zero, posterior_scale=zero)
    config = EMConfig(num_factors=num_components, user_steps=1)
    state = em.init(jax.random.key(0), problem, kernel[:, :-1], config)
    state = state._replace(head=kernel)

    def step(state, _):
        before = em.objective(state, features, offset, rows, alone, config.bound)
        return em.user_step(state, features, offset, rows, alone, config), before

    state, objective = jax.lax.scan(step, state, None, length=num_steps)
    last = em.objective(state, features, offset, rows, alone, config.bound)
    population = Gaussian(jnp.zeros(num_components), jnp.eye(num_components))
    basis = RewardBasis(heads.linear_params(kernel), population, jnp.ones(()))
    info = FitInfo(
        converged=last - objective[-1] <= config.tolerance * jnp.sum(rows.sample_weight),
        num_steps=jnp.asarray(num_steps),
        objective=jnp.append(objective, last),
        penalties=alone._replace(factor=jnp.asarray(penalty, jnp.float32)),
    )
    people = for_all_users(problem, Gaussian(state.mean, state.covariance), population.covariance)
    return heads.to_raw(basis, problem.standardizer), people, info
