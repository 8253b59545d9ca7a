"""Linear rewards over embeddings: the ridge logistic solves that several families share.

    w_k = argmin Σ_r c_kr ℓ(w_k·Δ_r, y_r) + τ/2 ‖w_k − v_k‖²,    Δ = e_a − e_b

for heads k with their own row weights c and centers v. τ is in units of reward: it is multiplied by
the scale of the embeddings.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax import logistic
from prefjax.factorization import rows as layout
from prefjax.families.contract import Data, Number
from prefjax.types import Array, GaussianPrior


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
) -> Float[Array, "head input"]:
    """The optimum of the module's equation for every head.

    Args:
        data: What is fitted.
        weight: c.
        center: v.
        penalty: τ.
    """
    gap, label = gaps(data), labels(data)
    precision = penalty * data.scale * jnp.eye(gap.shape[1])

    def one(weight, center):
        return logistic.fit(gap, label, weight, prior=GaussianPrior(center, precision)).weight

    return jax.vmap(one)(weight, center)


def population(data: Data, penalty: Number) -> Float[Array, " input"]:
    """One reward for everybody, centered at zero."""
    center = jnp.zeros((1, data.embeddings.shape[1]))
    return solve(data, data.rows.weight.reshape(1, -1), center, penalty)[0]
