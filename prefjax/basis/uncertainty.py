"""How uncertain a fitted head is: the variance of a reward that no answer of one person removes.

At the end of a fit the curvature of the penalized likelihood in θ, diagonal in the principal axes d
of the inputs (or in the responses, where factors are free), gives each entry of θ the mean square
by which the truth differs from it,

    e²(θ̂; i, τ) = 1 / (i + τ̃) + (θ̂ (τ − τ̃) / (i + τ̃))²,
    φ_dj: i = r_j h_d,    t_d: i = h_d,    h_d = Σ_rows w E[σ'(z)] (x_a − x_b)_d².

Only of λ_j that is known does a row teach φ_j: r_j are the eigenvalues of the mean of m mᵀ over the
training users, and the factors are turned to its axes. τ is the penalty of the fit, which was
chosen for predictions and may be far stronger than what entries of θ are like. τ̃ ≤ τ is the prior
precision that they tell themselves: with ``θ̃ = θ̂ (i + τ) / (i + τ̃)``, what they would be under
it, the fixed point of ``1/τ̃ = mean_d (θ̃_d² + 1/(i_d + τ̃))``; the second term is (θ̃ − θ̂)². The
reward gap of two responses is then uncertain by

    ‖ψ_a − ψ_b‖²,    ψ = x L,    L Lᵀ = diag(Σ_j g_j q_j e²(φ_dj) + e²(t_d)),

beside the variance fᵀSf of the person's weights, where q_j = E λ_j² and g_j = min(1, 4 r_j / q_j)
leaves out factors of which answers tell nothing, so that J may be too large. Correlations between
axes are left out. L is a map like the head's, so that it is saved, folded and applied as the head
is; of more than `MOST_COLUMNS` inputs it is a random projection, under which squared distances stay
within some 18 % of themselves (Johnson and Lindenstrauss).

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
TOLD_IN_FULL = 4.0
"""1 / the part of E λ_j² from which on a factor counts in full."""
NUM_STEPS = 30
"""Steps to the fixed point of τ̃."""


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
    known, turn = jnp.linalg.eigh((share[:, None] * state.mean).T @ state.mean)
    known = jnp.maximum(known, 0.0)
    square = known + jnp.diagonal(turn.T @ jnp.tensordot(share, state.covariance, 1) @ turn)
    factors, utility = em.split(state.head)
    error = _square_error(factors @ turn, known[None] * told[:, None], penalties.factor)
    counted = jnp.minimum(square, TOLD_IN_FULL * known)
    shared = _square_error(utility[:, None], told[:, None], penalties.utility)
    return error @ counted + shared[:, 0]


def _square_error(
    theta: Float[Array, "input column"],
    information: Float[Array, "input column"],
    penalty: Float[Array, ""],
) -> Float[jax.Array, "input column"]:
    """``e²`` of the module's equation; inputs of which nobody said anything have the prior's."""
    seen = information > 1e-6 * jnp.max(information, axis=0, keepdims=True)
    count = jnp.maximum(jnp.sum(seen, axis=0), 1)

    pulled = theta * (information + penalty)

    def evidence(_, precision):
        variance = 1 / (information + precision[None])
        size = jnp.square(variance * pulled) + variance
        return jnp.minimum(penalty, count / jnp.sum(jnp.where(seen, size, 0.0), axis=0))

    start = jnp.full(theta.shape[1], penalty, theta.dtype)
    precision = jax.lax.fori_loop(0, NUM_STEPS, evidence, start)
    precision = jnp.where(jnp.any(seen, axis=0), precision, start)[None]
    shrunk = theta * (penalty - precision) / (information + precision)
    return jnp.asarray(1 / (information + precision) + jnp.square(shrunk))


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
    if problem.baseline is not None:
        return jnp.asarray(em.from_baseline(table))
    return table if rotation is None else jnp.asarray(rotation) @ table


spread_program = control.program(spread, light=True)
