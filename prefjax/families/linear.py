"""Linear rewards over embeddings: the ridge logistic solves that several families share.

    w_k = argmin Σ_r c_kr ℓ(w_k·Δ_r, y_r) + τ/2 ‖w_k − v_k‖²,    Δ = e_a − e_b

for heads k with their own row weights c and centers v. τ is in units of reward, since
embeddings are standardized. Newton steps from v that never raise the objective.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.basis import rows as layout
from prefjax.families.config import Number
from prefjax.types import Array

NUM_STEPS = 12
LONGEST = 1.79  # solves exp(x) − x − 1 = x²: a Newton step that moves no logit further is safe


def embeddings(problem: Problem) -> Float[Array, "response input"]:
    """Standardized embeddings of a problem, which every family reads.

    Raises:
        ValueError: The problem is one of free factors.
    """
    if problem.embeddings is None:
        raise ValueError(
            "families read embeddings and this problem has none; use one-hot rows for responses "
            "without text"
        )
    return problem.embeddings


def gaps(problem: Problem) -> Float[Array, "row input"]:
    """Δ of every slot, padding included."""
    table = embeddings(problem)
    return layout.feature_gap(table, problem.rows).reshape(-1, table.shape[1])


def labels(problem: Problem) -> Float[Array, " row"]:
    """Label of every slot, ½ where there is no weight."""
    return jnp.where(problem.rows.sample_weight > 0, problem.rows.label, 0.5).reshape(-1)


def newton_step(
    point: Float[Array, " factor"],
    features: Float[Array, "pair factor"],
    offset: Float[Array, " pair"],
    label: Float[Array, " pair"],
    sample_weight: Float[Array, " pair"],
    penalty: Float[Array, " factor"],
) -> Float[Array, " factor"]:
    """One damped Newton step on one row of Λ or Φ; never raises F.

    References:
        Bach, arXiv 0910.4627, Proposition 2, as in `prefjax.logistic`.
    """
    probability = jax.nn.sigmoid(features @ point + offset)
    curvature = sample_weight * probability * (1 - probability)
    gradient = features.T @ (sample_weight * (probability - label)) + penalty * point
    hessian = (features * curvature[:, None]).T @ features + jnp.diag(penalty)
    direction = -jnp.linalg.solve(hessian, gradient)
    reach = jnp.max(jnp.abs(features @ direction))
    length = jnp.where(reach <= LONGEST, 1.0, jnp.log1p(reach) / jnp.maximum(reach, LONGEST))
    return point + length * direction


def solve(
    problem: Problem,
    sample_weight: Float[Array, "head row"],
    center: Float[Array, "head input"],
    penalty: Number,
    *,
    start: Float[Array, "head input"] | None = None,
    num_steps: int = NUM_STEPS,
) -> Float[Array, "head input"]:
    """The module's optimum for every head.

    Args:
        problem: What is fitted.
        sample_weight: c.
        center: v.
        penalty: τ.
        start: Where the steps begin; v by default.
        num_steps: Newton steps, static; about six reach the optimum.
    """
    gap, label = gaps(problem), labels(problem)
    precision = jnp.broadcast_to(penalty, gap.shape[1:])
    start = center if start is None else start

    def one(sample_weight, center, start):
        offset = gap @ center

        def step(weights, _):
            return newton_step(weights, gap, offset, label, sample_weight, precision), None

        return center + jax.lax.scan(step, start - center, None, length=num_steps)[0]

    return jax.vmap(one)(sample_weight, center, start)


def population(problem: Problem, penalty: Number) -> Float[Array, " input"]:
    """One reward for everybody, centered at zero."""
    center = jnp.zeros((1, embeddings(problem).shape[1]))
    return solve(problem, problem.rows.sample_weight.reshape(1, -1), center, penalty)[0]
