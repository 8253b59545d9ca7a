"""E and M steps of the fit with the users integrated out; the default.

Model: user u answers row r = (u, a, b) with logit

    z = λ_u·f + t,   f = φ_a − φ_b,  t = t_a − t_b,   [φ_i, t_i] = x_iᵀθ,   λ_u ~ N(0, I),

where x_i is the standardized embedding of response i, or its indicator (free factors: a logistic
matrix factorization). Maximized over θ and q(λ_u) = N(m_u, S_u) is

    Σ_r w_r (y z̄ − E_q softplus(z)) − Σ_u KL(q_u ‖ N(0, I)) − ½ Σ_j τ_j ‖θ_j‖²,

with the row expectations of `prefjax.variational`. N(0, I) fixes the scale of θ, so τ is in units
of "how large is a factor across people"; factors that nobody needs go to zero.

    E: S⁻¹ = I + Σ κ f fᵀ,   m ← m + ρ S (Σ (y − slope) f − m)
    M: one Newton step on θ, solved by conjugate gradients on Σ κ Δx Δxᵀ ⊗ [S+mmᵀ, m; mᵀ, 1] + τ.

The M-step sees rows only through their pair of responses, K_p = Σ_{r of p} κ_r [S+mmᵀ, m; mᵀ, 1]:
one pass over the rows, after which a conjugate gradient step costs as much as there are pairs.
Choices among three or more enter the same sums, ``log Σ exp z`` in the place of softplus; see
`prefjax.basis.choice_slots`.

``posterior_scale`` scales S inside the expectations: 1 is the marginal fit; 0 leaves joint MAP of Λ
and θ with ½‖Λ‖², majorize–minimize steps on the same penalized likelihood. With the Jaakkola bound
(and for MAP) every step is the exact minimum of a majorizer and the objective never decreases, from
choices among three or more for MAP (`prefjax.logistic.softmax_bound`).

References:
    arXiv 2503.06358, eq. 2–4 (joint MAP, which is posterior scale 0).
    Jaakkola and Jordan (2000); Titterington, Wang (2004) for Gaussian variational EM.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax import variational
from prefjax.basis import choice_slots
from prefjax.basis import rows as layout
from prefjax.basis.problem import Problem
from prefjax.basis.rows import Rows
from prefjax.basis.state import EMConfig, EMState
from prefjax.types import Array, Penalties, PRNGKey
from prefjax.variational import Bound, Expectation

SLOTS_AT_ONCE = 8
"""Slots of a pair's rows that one pass over the pairs adds up; the order of the sums stays."""


def embed(
    head: Float[Array, "input feature"], inputs: Float[Array, "response input"] | None
) -> Float[Array, "response feature"]:
    """Rows x_iᵀθ; without embeddings every response has its own row of θ."""
    return head if inputs is None else inputs @ head


def pull_back(
    by_response: Float[Array, "response feature"], problem: Problem, *, squared: bool = False
) -> Float[Array, "input feature"]:
    """Transpose of `embed`, or of the same with squared embeddings."""
    if problem.embeddings is None:
        return by_response
    inputs = problem.embeddings.T if problem.transposed is None else problem.transposed
    return (jnp.square(inputs) if squared else inputs) @ by_response


def split(
    table: Float[Array, "*rows factor_and_utility"],
) -> tuple[Float[Array, "*rows factor"], Float[Array, "*rows"]]:
    """Features and utility columns."""
    return table[..., :-1], table[..., -1]


def embeddings_of(problem: Problem) -> Float[Array, "response input"]:
    """The standardized embeddings of a problem that must have some.

    Raises:
        ValueError: The problem has none.
    """
    if problem.embeddings is None:
        raise ValueError("a head needs embeddings; fit_block fits free factors")
    return problem.embeddings


def from_baseline(table: Float[Array, "row column"]) -> Float[Array, "response column"]:
    """Rows of free factors counted from that of the zero baseline, which is the last."""
    return table[:-1] - table[-1:]


def num_inputs(problem: Problem) -> int:
    """Rows of θ."""
    return problem.num_responses if problem.embeddings is None else problem.embeddings.shape[1]


def init(
    key: PRNGKey, problem: Problem, features: Float[Array, "input factor"], config: EMConfig
) -> EMState:
    """State at given starting features (see `svd.start`), with users at the prior.

    Args:
        key: Breaks the tie between users and between equal factors.
        problem: What is fitted.
        features: θ without its utility column.
        config: Settings, static.
    """
    width, num_factors = features.shape
    jitter = 1e-3 * jax.random.normal(key, (width, num_factors), features.dtype)
    eye = jnp.eye(num_factors, dtype=features.dtype)
    return EMState(
        head=jnp.pad(features + jitter, ((0, 0), (0, 1))),
        mean=jnp.zeros((problem.num_users, num_factors), features.dtype),
        covariance=jnp.broadcast_to(eye, (problem.num_users, num_factors, num_factors)),
        objective=jnp.full((max(config.max_steps, 3) + 1,), jnp.nan, features.dtype),
        gain=jnp.asarray(jnp.inf, features.dtype),
        num_steps=jnp.zeros((), jnp.int32),
    )


def expectation(
    features: Float[Array, "chunk slot factor"],
    offset: Float[Array, "chunk slot"],
    mean: Float[Array, "user factor"],
    covariance: Float[Array, "user factor factor"],
    rows: Rows,
    posterior_scale: Float[Array, ""],
    bound: Bound,
) -> Expectation:
    """Row expectations under the users' posteriors."""
    location = jnp.einsum("csj,cj->cs", features, mean[rows.user]) + offset
    spread = jnp.einsum("csi,cij->csj", features, covariance[rows.user])
    variance = posterior_scale * jnp.sum(spread * features, axis=-1)
    row = variational.expect(location, variance, bound)
    if rows.choices is None:
        return row
    return choice_slots.expectation(
        row, features, location, covariance, rows.choices, posterior_scale, bound
    )


def user_step(
    state: EMState,
    features: Float[Array, "chunk slot factor"],
    offset: Float[Array, "chunk slot"],
    rows: Rows,
    penalties: Penalties,
    config: EMConfig,
    num_steps: int | None = None,
) -> EMState:
    """E-step: q(λ_u) of every user given the features of the rows; by default as configured."""
    num_users, num_factors = state.mean.shape
    if not num_factors:
        return state
    eye = jnp.eye(num_factors, dtype=state.mean.dtype)
    rate = 1.0 if config.bound == "jaakkola" else config.damping

    def repeat(_, belief):
        mean, covariance = belief
        row = expectation(
            features, offset, mean, covariance, rows, penalties.posterior_scale, config.bound
        )
        weighted = (rows.sample_weight * row.curvature)[..., None] * features
        # A sum of products is one pass; a batched product would call a library for every chunk.
        curvature = jnp.sum(weighted[..., :, None] * features[..., None, :], axis=1)
        residual = rows.sample_weight * (rows.label - row.slope)
        slope = jnp.sum(residual[..., None] * features, axis=1)
        covariance = jnp.linalg.inv(layout.sum_by_user(curvature, rows, num_users) + eye[None])
        gradient = layout.sum_by_user(slope, rows, num_users) - mean
        return mean + rate * jnp.einsum("uij,uj->ui", covariance, gradient), covariance

    steps = config.user_steps if num_steps is None else num_steps
    mean, covariance = jax.lax.fori_loop(0, steps, repeat, (state.mean, state.covariance))
    return state._replace(mean=mean, covariance=covariance)


def second_moment(
    state: EMState, posterior_scale: Float[Array, ""]
) -> Float[Array, "user factor_and_utility factor_and_utility"]:
    """E of [λ; 1][λ; 1]ᵀ for every user."""
    outer = state.mean[:, :, None] * state.mean[:, None, :]
    one = jnp.ones((state.mean.shape[0], 1, 1), state.mean.dtype)
    scaled = posterior_scale * state.covariance
    top = jnp.concatenate([scaled + outer, state.mean[:, :, None]], axis=2)
    bottom = jnp.concatenate([state.mean[:, None, :], one], axis=2)
    return jnp.concatenate([top, bottom], axis=1)


def _pair_curvature(
    moment: Float[Array, "user column column"], curvature: Float[Array, "chunk slot"], rows: Rows
) -> Float[Array, "pair column column"]:
    """K of every pair, the sum of κ E[λ; 1][λ; 1]ᵀ over the rows that show it."""
    upper = np.triu_indices(moment.shape[-1])
    place = np.zeros(moment.shape[1:], int)
    place[upper] = np.arange(len(upper[0]))
    pairs, packed = rows.pairs, moment[:, *upper]
    user = rows.user[pairs.slot // rows.label.shape[1]]
    weight = curvature.reshape(-1)[pairs.slot] * pairs.in_slot

    # Slot by slot: a sum over gathered rows reads them entry by entry on a CPU.
    def add(slot, total):
        return total + weight[:, slot, None] * packed[user[:, slot]]

    total = jnp.zeros((len(user), packed.shape[1]), packed.dtype)
    total = jax.lax.fori_loop(0, user.shape[1], add, total, unroll=SLOTS_AT_ONCE)
    total = jax.ops.segment_sum(total, pairs.pair, len(pairs.first), indices_are_sorted=True)
    return total[:, np.maximum(place, place.T)]


def column_penalties(penalties: Penalties, num_factors: int) -> Float[Array, " factor_and_utility"]:
    """τ of each column of θ."""
    return jnp.concatenate(
        [jnp.full((num_factors,), penalties.factor), jnp.asarray(penalties.utility)[None]]
    )


def expected_loss(
    state: EMState,
    head: Float[Array, "input factor_and_utility"],
    problem: Problem,
    posterior_scale: Float[Array, ""],
    bound: Bound,
) -> Float[Array, ""]:
    """Σ w (E softplus(z) − y z̄) over all rows at another head, in nats."""
    features, offset = split(layout.feature_gap(embed(head, problem.embeddings), problem.rows))
    return _row_loss(state, features, offset, problem.rows, posterior_scale, bound)


def _row_loss(state, features, offset, rows, posterior_scale, bound):
    row = expectation(features, offset, state.mean, state.covariance, rows, posterior_scale, bound)
    location = jnp.einsum("csj,cj->cs", features, state.mean[rows.user]) + offset
    return jnp.sum(rows.sample_weight * (row.value - rows.label * location))


def head_step(state: EMState, problem: Problem, penalties: Penalties, config: EMConfig) -> EMState:
    """M-step: one Newton step on θ by preconditioned conjugate gradients."""
    rows, inputs, scale = problem.rows, problem.embeddings, penalties.posterior_scale
    tau = column_penalties(penalties, state.mean.shape[1])
    features, offset = split(layout.feature_gap(embed(state.head, inputs), rows))
    row = expectation(features, offset, state.mean, state.covariance, rows, scale, config.bound)
    curvature = rows.sample_weight * row.curvature
    residual = rows.sample_weight * (row.slope - rows.label)
    spread = jnp.einsum("csi,cij->csj", features, state.covariance[rows.user])
    by_factor = residual[..., None] * state.mean[rows.user][:, None, :]
    by_factor = by_factor + (scale * curvature)[..., None] * spread
    by_row = jnp.concatenate([by_factor, residual[..., None]], axis=-1)
    moment = second_moment(state, scale)
    pair_curvature = _pair_curvature(moment, curvature, rows)

    def to_head(by_pair):
        by_response = layout.sum_pairs_by_response(by_pair, rows, problem.num_responses)
        return pull_back(by_response, problem)

    gradient = to_head(layout.sum_by_pair(by_row, rows)) + state.head * tau[None]

    def hvp(direction):
        moved = layout.pair_gap(embed(direction, inputs), rows)
        return to_head(jnp.einsum("pi,pij->pj", moved, pair_curvature)) + direction * tau[None]

    # The corner of K_p is Σ κ: the curvature of the utility.
    hessian_diag = layout.sum_pairs_by_response(
        pair_curvature[:, -1, -1:], rows, problem.num_responses, signed=False
    )
    hessian_diag = pull_back(hessian_diag, problem, squared=True)
    share = layout.user_shares(rows, problem.num_users)
    average = jnp.tensordot(share, moment, 1)
    inverse = jnp.linalg.inv(hessian_diag[:, :, None] * average[None] + jnp.diag(tau)[None])
    step, _ = jax.scipy.sparse.linalg.cg(
        hvp,
        -gradient,
        maxiter=config.solve_steps,
        M=lambda x: jnp.einsum("iab,ib->ia", inverse, x),
    )
    if config.bound == "jaakkola":
        return state._replace(head=state.head + step)

    def loss(rate):
        head = state.head + rate * step
        data = expected_loss(state, head, problem, scale, config.bound)
        return data + 0.5 * jnp.sum(tau[None] * jnp.square(head))

    rates = jnp.asarray([0.0, 0.25 * config.damping, config.damping, 1.0], state.head.dtype)
    losses = jax.lax.map(loss, rates)
    return state._replace(head=state.head + rates[jnp.argmin(losses)] * step)


def objective(
    state: EMState,
    features: Float[Array, "chunk slot factor"],
    offset: Float[Array, "chunk slot"],
    rows: Rows,
    penalties: Penalties,
    bound: Bound,
) -> Float[Array, ""]:
    """The penalized bound of the module's docstring, in nats."""
    num_factors = state.mean.shape[1]
    data = _row_loss(state, features, offset, rows, penalties.posterior_scale, bound)
    divergence = jnp.zeros(())
    if num_factors:
        _, logdet = jnp.linalg.slogdet(state.covariance)
        trace = jnp.trace(state.covariance, axis1=1, axis2=2)
        entropy = penalties.posterior_scale * (trace - num_factors - logdet)
        divergence = 0.5 * jnp.sum(entropy + jnp.square(state.mean).sum(1))
    tau = column_penalties(penalties, num_factors)
    return -data - divergence - 0.5 * jnp.sum(tau[None] * jnp.square(state.head))


def step(state: EMState, problem: Problem, penalties: Penalties, config: EMConfig) -> EMState:
    """One E–M round."""
    rows = problem.rows
    features, offset = split(layout.feature_gap(embed(state.head, problem.embeddings), rows))
    before = objective(state, features, offset, rows, penalties, config.bound)
    last = jnp.where(state.num_steps > 0, state.objective[state.num_steps - 1], -jnp.inf)
    state = user_step(state, features, offset, rows, penalties, config)
    state = head_step(state, problem, penalties, config)
    return state._replace(
        objective=jnp.asarray(state.objective).at[state.num_steps].set(before),
        gain=before - last,
        num_steps=state.num_steps + 1,
    )
