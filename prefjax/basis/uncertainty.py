"""How uncertain a fitted head is: the variance of a reward that no answer of one person removes.

At the end of a fit the curvature of the penalized likelihood in θ, diagonal in the principal axes d
of the inputs (or in the responses, where factors are free), leaves each entry of θ, by what it is
multiplied with in a reward, the variance

    φ_dj: r_j / (r_j h_d + τ),    t_d: 1 / (h_d + τ_t),    h_d = Σ_rows w E[σ'(z)] (x_a − x_b)_d²,

where r_j, the eigenvalues of the mean of m mᵀ over the training users, is the part of factor j that
their answers tell: only of λ_j that is known does a row teach φ_j, and only such a factor enters
rewards (E λ_j² = r_j, so that a factor of which nothing is known adds nothing; correlations between
axes are left out). The reward gap of two responses is then uncertain by

    ‖ψ_a − ψ_b‖²,    ψ = x L,    L Lᵀ = diag(Σ_j r_j / (r_j h + τ) + 1 / (h + τ_t)),

beside the variance fᵀSf of the person's weights. L is a map like the head's, so that it is saved,
folded and applied as the head is; of more than `MOST_COLUMNS` inputs it is a random projection,
under which squared distances stay within some 18 % of themselves (Johnson and Lindenstrauss).

Without a personal factor r = 0 and what is left is the uncertainty of the shared utility, which is
never 0.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import control, em
from prefjax.basis import rows as layout
from prefjax.basis.problem import Problem
from prefjax.basis.state import EMState
from prefjax.types import Array, Penalties

MOST_COLUMNS = 64
"""Columns of L."""


def input_variance(
    state: EMState, problem: Problem, penalties: Penalties
) -> Float[jax.Array, " input"]:
    """The diagonal of L Lᵀ in the module's equation.

    Args:
        state: The last one of a fit.
        problem: What was fitted, on the principal axes of its inputs.
        penalties: Of the fit.
    """
    rows = problem.rows
    features, offset = em.split(layout.feature_gap(em.embed(state.head, problem.embeddings), rows))
    scale = jnp.asarray(penalties.posterior_scale)
    posterior = state.mean, state.covariance
    row = em.expectation(features, offset, *posterior, rows, scale, "quadrature")
    told = _told(layout.sum_by_pair((rows.sample_weight * row.curvature)[..., None], rows), problem)
    share = layout.user_shares(rows, problem.num_users)
    known = (share[:, None] * state.mean).T @ state.mean
    known = jnp.clip(jnp.linalg.eigvalsh(known), 0.0, 1.0)[None, :]
    factors = jnp.sum(known / (known * told[:, None] + penalties.factor), axis=1)
    return factors + 1 / (told + penalties.utility)


def _told(curvature: Float[Array, "pair one"], problem: Problem) -> Float[jax.Array, " input"]:
    """H of every input, one after the other: a table of pairs by inputs may not fit."""
    if problem.embeddings is None:
        count = problem.num_responses
        return layout.sum_pairs_by_response(curvature, problem.rows, count, signed=False)[:, 0]

    def one(column: Float[Array, " response"]) -> Float[Array, ""]:
        gap = layout.pair_gap(column[:, None], problem.rows)
        return jnp.sum(curvature * jnp.square(gap))

    return jax.lax.map(one, jnp.asarray(problem.embeddings).T)


def spread(
    state: EMState,
    problem: Problem,
    rotation: Float[Array, "input input"] | None,
    penalties: Penalties,
) -> Float[jax.Array, "input column"]:
    """L of the module's equation, for inputs before their rotation.

    Args:
        state: The last one of a fit.
        problem: What was fitted, on the principal axes of its inputs.
        rotation: To those axes; None where there is none.
        penalties: Of the fit.
    """
    deviation = jnp.sqrt(input_variance(state, problem, penalties))
    width = len(deviation)
    if width <= MOST_COLUMNS:
        table = jnp.diag(deviation)
    else:
        signs = jax.random.rademacher(jax.random.key(0), (width, MOST_COLUMNS), deviation.dtype)
        table = deviation[:, None] * signs / jnp.sqrt(float(MOST_COLUMNS))
    return table if rotation is None else jnp.asarray(rotation) @ table


spread_program = control.program(spread, light=True)
