"""Where a fit starts: the leading singular directions of what the population model leaves over.

With residuals ``r = y − σ(t)`` of the shared utility the matrix ``A[u, input] = Σ_r∈u w r Δx``
(users × inputs) is never formed; its leading right singular vectors come from subspace iteration
with the two products ``A θ`` and ``Aᵀ λ``. `dense_imputation` is the start of the published code,
kept for parity: impute ½, take a dense SVD, impute again, ten times.

References:
    arXiv 2503.06358, Algorithm 1. Halko, Martinsson and Tropp (arXiv 0909.4061), Algorithm 4.4.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax.basis import choice_slots, em
from prefjax.basis import rows as layout
from prefjax.basis.problem import Problem
from prefjax.basis.state import EMConfig, EMState
from prefjax.types import Array, PRNGKey

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
    key: PRNGKey, problem: Problem, residual: Float[Array, "chunk slot"], num_factors: int
) -> tuple[Float[Array, "input factor"], Float[Array, " factor"]]:
    """Leading right singular vectors and singular values of A, by subspace iteration.

    Args:
        key: Draws where the iteration begins.
        problem: What is fitted.
        residual: w (y − σ(t)) of every slot, 0 for padding.
        num_factors: Number of directions, static.
    """
    rows, inputs = problem.rows, problem.embeddings
    num_inputs = em.num_inputs(problem)
    width = min(num_factors + OVERSAMPLING, num_inputs)
    basis = orthonormal(jax.random.normal(key, (num_inputs, width)))

    def by_user(directions):
        gap = layout.feature_gap(em.embed(directions, inputs), rows)
        summed = jnp.sum(residual[..., None] * gap, axis=1)
        return layout.sum_by_user(summed, rows, problem.num_users)

    def by_input(weights):
        values = residual[..., None] * weights[rows.user][:, None, :]
        return em.pull_back(layout.sum_by_response(values, rows, problem.num_responses), problem)

    def iterate(basis, _):
        return orthonormal(by_input(by_user(basis))), None

    basis, _ = jax.lax.scan(iterate, basis, None, length=NUM_POWER_STEPS)
    projected = by_user(basis)
    values, right = jnp.linalg.eigh(projected.T @ projected)
    values, directions = jnp.sqrt(jnp.maximum(values[::-1], 0)), basis @ right[:, ::-1]
    missing = max(num_factors - directions.shape[1], 0)
    return (
        jnp.pad(directions, ((0, 0), (0, missing)))[:, :num_factors],
        jnp.pad(values, (0, missing))[:num_factors],
    )


def start(
    key: PRNGKey, problem: Problem, utility: Float[Array, " input"], config: EMConfig
) -> EMState:
    """State with a given utility and features along the singular directions of what it leaves.

    The features are scaled so that the mean variance of a row's logit across people is 1, shared
    out in proportion to the squared singular values.

    Args:
        key: Begins the subspace iteration and breaks ties.
        problem: What is fitted.
        utility: θ of the shared utility, from `fit_utility`.
        config: Settings, static.
    """
    direction_key, init_key = jax.random.split(key)
    rows = problem.rows
    offset = layout.feature_gap(em.embed(utility[:, None], problem.embeddings), rows)[..., 0]
    expected = jax.nn.sigmoid(offset)
    if rows.choices is not None:
        expected = choice_slots.slope(expected, offset, rows.choices)
    residual = rows.sample_weight * (rows.label - expected)
    directions, values = singular_directions(direction_key, problem, residual, config.num_factors)
    features = directions * values[None]
    gap = layout.feature_gap(em.embed(features, problem.embeddings), rows)
    total = jnp.sum(rows.sample_weight)
    variance = jnp.sum(rows.sample_weight[..., None] * jnp.square(gap)) / total
    features = features / jnp.sqrt(variance + 1e-12)
    state = em.init(init_key, problem, features, config)
    return state._replace(head=jnp.asarray(state.head).at[:, -1].set(utility))


def dense_imputation(
    matrix: Float[np.ndarray, "user item"], num_factors: int, num_repeats: int = 10
) -> tuple[Float[np.ndarray, "user factor"], Float[np.ndarray, "item factor"]]:
    """The published start: impute ½, then repeat a dense SVD on the re-imputed matrix.

    Args:
        matrix: Labels in [0, 1]; NaN where a user did not answer.
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
        weights, features = left[:, :num_factors] * root, right[:num_factors].T * root
        filled = np.where(observed, matrix, weights @ features.T)
    return weights, features
