"""Linear rewards over embeddings: the ridge logistic solves that several families share.

    w_k = argmin Σ_r c_kr ℓ(w_k·Δ_r, y_r) + τ/2 ‖w_k − v_k‖²,    Δ = e_a − e_b

for heads k with their own row weights c and centers v. τ is in units of reward: it is multiplied by
the scale of the embeddings. Newton steps from v that never raise the objective.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.factorization import rows as layout
from prefjax.factorization.alternating import newton_step
from prefjax.families.contract import Data, Number
from prefjax.types import Array

NUM_STEPS = 12


def gaps(data: Data) -> Float[Array, "row input"]:
    """Δ of every slot, padding included."""
    return layout.gap(data.embeddings, data.rows).reshape(-1, data.embeddings.shape[1])


def labels(data: Data) -> Float[Array, " row"]:
    """Label of every slot, ½ where there is no weight."""
    return jnp.where(data.rows.weight > 0, data.rows.label, 0.5).reshape(-1)


def solve(
    data: Data,
    weight: Float[Array, "head row"],
    center: Float[Array, "head input"],
    penalty: Number,
    *,
    start: Float[Array, "head input"] | None = None,
    num_steps: int = NUM_STEPS,
) -> Float[Array, "head input"]:
    """The module's optimum for every head.

    Args:
        data: What is fitted.
        weight: c.
        center: v.
        penalty: τ.
        start: Where the steps begin; v by default.
        num_steps: Newton steps, static; about six reach the optimum.
    """
    gap, label = gaps(data), labels(data)
    precision = jnp.broadcast_to(penalty * data.scale, gap.shape[1:])
    start = center if start is None else start

    def one(weight, center, start):
        offset = gap @ center

        def step(moved, _):
            return newton_step(moved, gap, offset, label, weight, precision), None

        return center + jax.lax.scan(step, start - center, None, length=num_steps)[0]

    return jax.vmap(one)(weight, center, start)


def population(data: Data, penalty: Number) -> Float[Array, " input"]:
    """One reward for everybody, centered at zero."""
    center = jnp.zeros((1, data.embeddings.shape[1]))
    return solve(data, data.rows.weight.reshape(1, -1), center, penalty)[0]
