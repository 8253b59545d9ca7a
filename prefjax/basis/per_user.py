"""Per-user rewards: everybody alone, the baseline that borrows nothing from others.

    s = w_u·(x_a − x_b),    x = Cᵀe,    w_u = argmin Σ_r w_r ℓ(s_r, y_r) + ½ ‖w_u‖²,

with C the leading principal axes of the embeddings, scaled so that the prior N(0, I) on w_u gives
the reward of a response the variance 1/τ across people. With as many components as inputs this is
exactly the ridge logistic regression over the embedding; fewer leave directions out in which the
responses hardly differ, and keep the solve at ``components³`` instead of ``inputs³`` a user.

All users at once, by majorize–minimize steps of `prefjax.basis.em` at temperature 0.

References:
    arXiv 2503.06358, section 5 (baseline without a shared basis).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import em, heads
from prefjax.basis import rows as layout
from prefjax.basis._fit import input_scale
from prefjax.basis.head_fit import HeadFit
from prefjax.basis.heads import HeadConfig
from prefjax.basis.rows import Rows
from prefjax.basis.state import EMConfig, Strength
from prefjax.types import Array, GaussianPrior


def component_head(
    embeddings: Float[Array, "response input"],
    penalty: Float[Array, ""] | float,
    num_components: int,
) -> Float[Array, "input component_and_utility"]:
    """C of the module's equation, with a utility column of zeros."""
    centred = embeddings - embeddings.mean(0, keepdims=True)
    axes = jnp.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :num_components]
    scale = jnp.sqrt(jnp.maximum(input_scale(embeddings) * penalty, 1e-30))
    return jnp.pad(axes / scale, ((0, 0), (0, 1)))


def fit_per_user(
    rows: Rows,
    embeddings: Float[Array, "response input"],
    penalty: Float[Array, ""] | float,
    *,
    num_users: int,
    num_components: int = 32,
    num_steps: int = 40,
) -> HeadFit:
    """Fits every user alone over principal components; pure.

    Args:
        rows: From `prefjax.basis.make_rows`.
        embeddings: One row a response, finite.
        penalty: τ, the prior precision of a response's reward across people.
        num_users: U, static.
        num_components: Components kept, static; at most the number of inputs.
        num_steps: Majorize–minimize steps, static.

    Returns:
        The fit as a linear head with ``num_components`` features and no utility; ``covariance`` is
        the inverse curvature of the majorizer at the optimum.
    """
    num_components = min(num_components, embeddings.shape[1])
    rows = rows._replace(label=jnp.where(rows.sample_weight > 0, rows.label, 0.5))
    kernel = component_head(embeddings, penalty, num_components)
    features, offset = em.split(layout.gap(embeddings @ kernel, rows))
    zero = jnp.zeros(())
    alone = Strength(penalty=zero, utility_penalty=zero, temperature=zero)
    config = EMConfig(num_factors=num_components, user_steps=1)
    state = em.init(jax.random.key(0), rows, kernel[:, :-1], num_users)

    def step(state, _):
        before = em.objective(state, features, offset, rows, alone, config.bound)
        return em.user_step(state, features, offset, rows, alone, config), before

    state, trace = jax.lax.scan(step, state, None, length=num_steps)
    last = em.objective(state, features, offset, rows, alone, config.bound)
    params = {"out": {"kernel": kernel}}
    return HeadFit(
        params=params,
        items=heads.apply(params, embeddings, HeadConfig(num_factors=num_components)),
        weights=state.mean,
        covariance=state.covariance,
        prior=GaussianPrior(mean=jnp.zeros(num_components), precision=jnp.eye(num_components)),
        trace=jnp.append(trace, last),
        num_steps=jnp.asarray(num_steps),
        converged=last - trace[-1] <= config.tolerance * jnp.sum(rows.sample_weight),
    )
