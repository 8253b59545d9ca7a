"""Where a fit starts: the leading singular directions of what the population model leaves over.

The population utility t is fitted first. With residuals ``r = y − σ(t)`` the matrix
``A[u, input] = Σ_r∈u w r Δe`` (users × inputs) is never formed; its leading right singular vectors
come from subspace iteration with the two products ``A θ`` and ``Aᵀ λ``. `dense_imputation` is the
start of the published code, kept for parity: impute ½, take a dense SVD, impute again, ten times.

References:
    arXiv 2503.06358, Algorithm 1. Halko, Martinsson and Tropp (arXiv 0909.4061), Algorithm 4.4.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax.basis import em
from prefjax.basis import rows as layout
from prefjax.basis.rows import Rows
from prefjax.basis.state import Embeddings, EMConfig, EMState, Strength
from prefjax.types import Array, PRNGKey

NUM_POPULATION_STEPS = 4
NUM_POWER_STEPS = 12
OVERSAMPLING = 4


def orthonormal(columns: Float[Array, "input factor"]) -> Float[Array, "input factor"]:
    """Orthonormal basis of few long columns; twice by their Gram matrix, which keeps float32 exact.

    A QR of a tall matrix does the same and is many times slower on a busy machine.
    """
    for _ in range(2):
        values, vectors = jnp.linalg.eigh(columns.T @ columns)
        floor = jnp.finfo(columns.dtype).eps * values[-1] + jnp.finfo(columns.dtype).tiny
        columns = columns @ (vectors / jnp.sqrt(jnp.maximum(values, floor))[None])
    return columns


def singular_directions(
    key: PRNGKey,
    rows: Rows,
    residual: Float[Array, "chunk slot"],
    embeddings: Embeddings,
    num_factors: int,
    num_users: int,
    num_responses: int,
) -> tuple[Float[Array, "input factor"], Float[Array, " factor"]]:
    """Leading right singular vectors and singular values of A, by subspace iteration."""
    num_inputs = num_responses if embeddings is None else embeddings.shape[1]
    width = min(num_factors + OVERSAMPLING, num_inputs)
    basis = orthonormal(jax.random.normal(key, (num_inputs, width)))

    def by_user(directions):
        gap = layout.gap(em.embed(directions, embeddings), rows)
        return layout.sum_by_user(jnp.einsum("cs,csj->cj", residual, gap), rows, num_users)

    def by_input(weights):
        values = residual[..., None] * weights[rows.user][:, None, :]
        return em.pull_back(layout.sum_by_response(values, rows, num_responses), embeddings)

    def turn(basis, _):
        return orthonormal(by_input(by_user(basis))), None

    basis, _ = jax.lax.scan(turn, basis, None, length=NUM_POWER_STEPS)
    projected = by_user(basis)
    values, right = jnp.linalg.eigh(projected.T @ projected)
    values, directions = jnp.sqrt(jnp.maximum(values[::-1], 0)), basis @ right[:, ::-1]
    missing = max(num_factors - directions.shape[1], 0)
    return (
        jnp.pad(directions, ((0, 0), (0, missing)))[:, :num_factors],
        jnp.pad(values, (0, missing))[:num_factors],
    )


def start(
    key: PRNGKey,
    rows: Rows,
    embeddings: Embeddings,
    strength: Strength,
    num_users: int,
    num_responses: int,
    config: EMConfig,
) -> EMState:
    """State with the population utility fitted and features along the singular directions.

    The features are scaled so that the mean variance of a row's logit across people is 1, shared
    out in proportion to the squared singular values.
    """
    direction_key, init_key = jax.random.split(key)
    num_inputs = num_responses if embeddings is None else embeddings.shape[1]
    blank = em.init(init_key, rows, jnp.zeros((num_inputs, config.num_factors)), num_users)
    blank = blank._replace(head=jnp.zeros_like(blank.head))
    nobody = strength._replace(temperature=jnp.zeros_like(strength.temperature))

    def improve(state, _):
        return em.head_step(state, embeddings, rows, num_responses, nobody, config), None

    state, _ = jax.lax.scan(improve, blank, None, length=NUM_POPULATION_STEPS)
    _, offset = em.split(layout.gap(em.embed(state.head, embeddings), rows))
    residual = rows.sample_weight * (rows.label - jax.nn.sigmoid(offset))
    directions, values = singular_directions(
        direction_key, rows, residual, embeddings, config.num_factors, num_users, num_responses
    )
    features = directions * values[None]
    gap = layout.gap(em.embed(features, embeddings), rows)
    variance = jnp.sum(rows.sample_weight[..., None] * jnp.square(gap)) / jnp.sum(
        rows.sample_weight
    )
    features = features / jnp.sqrt(variance + 1e-12)
    begun = em.init(init_key, rows, features, num_users)
    utility = state.head[:, -1:]
    return begun._replace(head=jnp.asarray(begun.head).at[:, -1:].set(utility))


def dense_imputation(
    matrix: Float[np.ndarray, "user item"], num_factors: int, num_repeats: int = 10
) -> tuple[Float[np.ndarray, "user factor"], Float[np.ndarray, "item factor"]]:
    """The published start: impute ½, then repeat a dense SVD on the re-imputed matrix.

    Args:
        matrix: Labels in [0, 1]; NaN where nobody answered.
        num_factors: J.
        num_repeats: Dense decompositions.

    Returns:
        ``U√Σ`` and ``V√Σ``.
    """
    observed = ~np.isnan(matrix)
    filled = np.where(observed, matrix, 0.5)
    for _ in range(num_repeats):
        left, values, right = np.linalg.svd(filled, full_matrices=False)
        root = np.sqrt(values[:num_factors])
        weight, features = left[:, :num_factors] * root, right[:num_factors].T * root
        filled = np.where(observed, matrix, weight @ features.T)
    return weight, features
