"""Fits the factorization with the users integrated out; the default.

Model: user u answers row r = (u, a, b) with logit

    z = λ_u·f + t,   f = φ_a − φ_b,  t = t_a − t_b,   [φ_i, t_i] = e_iᵀθ,   λ_u ~ N(0, I),

where e_i is the embedding of response i, or its indicator (free factors, the `factorization` of the
name). Maximized over θ and q(λ_u) = N(m_u, S_u) is

    Σ_r w_r (y z̄ − E_q softplus(z)) − Σ_u KL(q_u ‖ N(0, I)) − ½ Σ_j τ_j ‖θ_j‖²,

with the row expectations of `prefjax.variational`. N(0, I) fixes the scale of θ, so τ is in units
of "how large is a factor across people"; factors that nobody needs go to zero.

    E: S⁻¹ = I + Σ κ f fᵀ,   m ← m + ρ S (Σ (y − slope) f − m)
    M: one Newton step on θ, solved by conjugate gradients on Σ κ Δe Δeᵀ ⊗ [S+mmᵀ, m; mᵀ, 1] + τ.

``temperature`` scales S inside the expectations: 1 is the marginal fit; 0 leaves joint MAP of Λ and
θ with ½‖Λ‖², majorize–minimize steps on the same penalized likelihood. With the Jaakkola bound (and
for MAP) every step is the exact minimum of a majorizer and the objective never decreases.

References:
    arXiv 2503.06358, eq. 2–4 (joint MAP, which is temperature 0).
    Jaakkola and Jordan (2000); Titterington, Wang (2004) for Gaussian variational EM.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax import variational
from prefjax.basis import rows as layout
from prefjax.basis.rows import Rows
from prefjax.basis.state import Embeddings, EMConfig, EMState, Strength
from prefjax.types import Array, PRNGKey
from prefjax.variational import Bound, Expectation


def embed(
    head: Float[Array, "input feature"], embeddings: Embeddings
) -> Float[Array, "response feature"]:
    """Rows e_iᵀθ; without embeddings every response has its own row of θ."""
    return head if embeddings is None else embeddings @ head


def pull_back(
    by_response: Float[Array, "response feature"], embeddings: Embeddings
) -> Float[Array, "input feature"]:
    """Transpose of `embed`."""
    return by_response if embeddings is None else embeddings.T @ by_response


def init(
    key: PRNGKey,
    rows: Rows,
    features: Float[Array, "input factor"],
    num_users: int,
) -> EMState:
    """State at given starting features (see `svd.start`), with users near the prior.

    Args:
        key: Breaks the tie between users and between equal factors.
        rows: The comparisons.
        features: θ without its utility column.
        num_users: U.
    """
    num_inputs, num_factors = features.shape
    jitter = 1e-3 * jax.random.normal(key, (num_inputs, num_factors), features.dtype)
    eye = jnp.eye(num_factors, dtype=features.dtype)
    return EMState(
        head=jnp.concatenate(
            [features + jitter, jnp.zeros((num_inputs, 1), features.dtype)], axis=1
        ),
        mean=jnp.zeros((num_users, num_factors), features.dtype),
        covariance=jnp.broadcast_to(eye, (num_users, num_factors, num_factors)),
        objective=jnp.asarray(-jnp.inf, features.dtype),
        gain=jnp.asarray(jnp.inf, features.dtype),
        num_steps=jnp.zeros((), jnp.int32),
    )


def expectation(
    features: Float[Array, "chunk slot factor"],
    offset: Float[Array, "chunk slot"],
    mean: Float[Array, "user factor"],
    covariance: Float[Array, "user factor factor"],
    rows: Rows,
    temperature: Float[Array, ""],
    bound: Bound,
) -> Expectation:
    """Row expectations under the users' posteriors."""
    location = jnp.einsum("csj,cj->cs", features, mean[rows.user]) + offset
    spread = jnp.einsum("csi,cij->csj", features, covariance[rows.user])
    variance = temperature * jnp.einsum("csj,csj->cs", spread, features)
    return variational.expect(location, variance, bound)


def expected_loss(
    state: EMState,
    features: Float[Array, "chunk slot factor"],
    offset: Float[Array, "chunk slot"],
    rows: Rows,
    temperature: Float[Array, ""],
    bound: Bound,
) -> Float[Array, ""]:
    """Σ w (E softplus(z) − y z̄) over all rows, in nats."""
    row = expectation(features, offset, state.mean, state.covariance, rows, temperature, bound)
    location = jnp.einsum("csj,cj->cs", features, state.mean[rows.user]) + offset
    return jnp.sum(rows.sample_weight * (row.value - rows.label * location))


def user_step(
    state: EMState,
    features: Float[Array, "chunk slot factor"],
    offset: Float[Array, "chunk slot"],
    rows: Rows,
    strength: Strength,
    config: EMConfig,
) -> EMState:
    """E-step: q(λ_u) of every user given the items."""
    num_users, num_factors = state.mean.shape
    eye = jnp.eye(num_factors, dtype=state.mean.dtype)
    rate = 1.0 if config.bound == "jaakkola" else config.damping
    mean, covariance = state.mean, state.covariance
    for _ in range(config.user_steps):
        row = expectation(
            features, offset, mean, covariance, rows, strength.temperature, config.bound
        )
        weighted = (rows.sample_weight * row.curvature)[..., None] * features
        curvature = jnp.einsum("csi,csj->cij", weighted, features)
        slope = jnp.einsum("cs,csj->cj", rows.sample_weight * (rows.label - row.slope), features)
        precision = layout.sum_by_user(curvature, rows, num_users) + eye[None]
        covariance = jnp.linalg.inv(precision)
        gradient = layout.sum_by_user(slope, rows, num_users) - mean
        mean = mean + rate * jnp.einsum("uij,uj->ui", covariance, gradient)
    return state._replace(mean=mean, covariance=covariance)


def second_moment(
    state: EMState, temperature: Float[Array, ""]
) -> Float[Array, "user factor_and_utility factor_and_utility"]:
    """E of [λ; 1][λ; 1]ᵀ for every user."""
    outer = state.mean[:, :, None] * state.mean[:, None, :]
    one = jnp.ones((state.mean.shape[0], 1, 1), state.mean.dtype)
    top = jnp.concatenate([temperature * state.covariance + outer, state.mean[:, :, None]], axis=2)
    bottom = jnp.concatenate([state.mean[:, None, :], one], axis=2)
    return jnp.concatenate([top, bottom], axis=1)


def penalties(strength: Strength, num_factors: int) -> Float[Array, " factor_and_utility"]:
    """τ of each column of θ."""
    return jnp.concatenate(
        [jnp.full((num_factors,), strength.penalty), strength.utility_penalty[None]]
    )


def split(
    table: Float[Array, "*rows factor_and_utility"],
) -> tuple[Float[Array, "*rows factor"], Float[Array, "*rows"]]:
    """Features and utility columns."""
    return table[..., :-1], table[..., -1]


def head_step(
    state: EMState,
    embeddings: Embeddings,
    rows: Rows,
    num_responses: int,
    strength: Strength,
    config: EMConfig,
) -> EMState:
    """M-step: one Newton step on θ by preconditioned conjugate gradients."""
    tau = penalties(strength, state.mean.shape[1])
    moment = second_moment(state, strength.temperature)[rows.user]
    features, offset = split(layout.gap(embed(state.head, embeddings), rows))
    row = expectation(
        features, offset, state.mean, state.covariance, rows, strength.temperature, config.bound
    )
    curvature = rows.sample_weight * row.curvature
    residual = rows.sample_weight * (row.slope - rows.label)
    spread = jnp.einsum("csi,cij->csj", features, state.covariance[rows.user])
    toward = residual[..., None] * state.mean[rows.user][:, None, :]
    toward = toward + (strength.temperature * curvature)[..., None] * spread

    def to_head(values):
        return pull_back(layout.sum_by_response(values, rows, num_responses), embeddings)

    gradient = to_head(jnp.concatenate([toward, residual[..., None]], axis=-1))
    gradient = gradient + state.head * tau[None]

    def curve(direction):
        moved = layout.gap(embed(direction, embeddings), rows)
        bent = curvature[..., None] * jnp.einsum("csi,cij->csj", moved, moment)
        return to_head(bent) + direction * tau[None]

    mass = layout.sum_by_response(curvature[..., None], rows, num_responses, signed=False)
    mass = pull_back(mass, None if embeddings is None else jnp.square(embeddings))
    share = layout.user_shares(rows, len(state.mean))
    average = jnp.tensordot(share, second_moment(state, strength.temperature), 1)
    block = mass[:, :, None] * average[None] + jnp.diag(tau)[None]
    inverse = jnp.linalg.inv(block)
    step, _ = jax.scipy.sparse.linalg.cg(
        curve,
        -gradient,
        maxiter=config.solve_steps,
        M=lambda x: jnp.einsum("iab,ib->ia", inverse, x),
    )
    if config.bound == "jaakkola":
        return state._replace(head=state.head + step)

    def loss(rate):
        head = state.head + rate * step
        features, offset = split(layout.gap(embed(head, embeddings), rows))
        data = expected_loss(state, features, offset, rows, strength.temperature, config.bound)
        return data + 0.5 * jnp.sum(tau[None] * jnp.square(head))

    rates = jnp.asarray([0.0, 0.25 * config.damping, config.damping, 1.0], state.head.dtype)
    losses = jax.lax.map(loss, rates)
    return state._replace(head=state.head + rates[jnp.argmin(losses)] * step)


def objective(
    state: EMState,
    features: Float[Array, "chunk slot factor"],
    offset: Float[Array, "chunk slot"],
    rows: Rows,
    strength: Strength,
    bound: Bound,
) -> Float[Array, ""]:
    """The penalized bound of the module's docstring, in nats."""
    data = expected_loss(state, features, offset, rows, strength.temperature, bound)
    _, logdet = jnp.linalg.slogdet(state.covariance)
    trace = jnp.trace(state.covariance, axis1=1, axis2=2)
    entropy = strength.temperature * (trace - state.mean.shape[1] - logdet)
    divergence = 0.5 * jnp.sum(entropy + jnp.square(state.mean).sum(1))
    tau = penalties(strength, state.mean.shape[1])
    return -data - divergence - 0.5 * jnp.sum(tau[None] * jnp.square(state.head))


def step(
    state: EMState,
    embeddings: Embeddings,
    rows: Rows,
    num_responses: int,
    strength: Strength,
    config: EMConfig,
) -> EMState:
    """One E–M round."""
    features, offset = split(layout.gap(embed(state.head, embeddings), rows))
    before = objective(state, features, offset, rows, strength, config.bound)
    state = user_step(state, features, offset, rows, strength, config)
    state = head_step(state, embeddings, rows, num_responses, strength, config)
    return state._replace(
        objective=before, gain=before - state.objective, num_steps=state.num_steps + 1
    )
