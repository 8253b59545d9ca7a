"""How a crowd prefers the responses of a pool, by any family: the input of the minimax winner.

    P_ab = Σ_u w_u σ(s_u(a, b)),    P_ab + P_ba = 1

Rewards order a pool by one number a response; the logits of a family need not (`gpm` has cycles,
and so has a crowd that is counted by majorities), which `prefjax.align.minimax` is for.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax.families.contract import Family
from prefjax.types import Array


@partial(jax.jit, static_argnames="family")
def _chances(family, params, states, pool, context):
    def of_person(state):
        def chance(first, second):
            return jax.nn.sigmoid(family.logit(params, state, first, second, context))

        return jax.vmap(lambda first: jax.vmap(partial(chance, first))(pool))(pool)

    return jax.lax.map(of_person, states)


def pool_preferences(
    family: Family,
    params: Any,
    states: Any,
    pool: Float[Array, "response input"],
    *,
    context: Float[Array, " context"] | None = None,
    sample_weight: Float[Array, " user"] | None = None,
) -> Float[np.ndarray, "response response"]:
    """The probability that each response of a pool is preferred to each other, over people.

    Args:
        family: Whose params and states they are.
        params: From its ``fit``.
        states: From its ``adapt``, with a leading user axis; one person is a crowd of one.
        pool: Standardized embeddings of the responses to one prompt.
        context: Embedding of the prompt, none by default.
        sample_weight: Weight of each person, equal by default.

    Returns:
        P of the module, exactly ``1 − Pᵀ``, for `prefjax.align.minimax.minimax_winner`.

    Raises:
        ValueError: Weights are negative, not finite or all 0, or not one for each person.
    """
    context = jnp.zeros(0) if context is None else jnp.asarray(context)
    num_users = len(jax.tree.leaves(states)[0])
    weight = np.ones(num_users) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if weight.shape != (num_users,) or not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError(f"{num_users} people need as many weights, finite and not negative")
    if not weight.sum() > 0:
        raise ValueError("the weights of all people are 0")
    table = np.asarray(_chances(family, params, states, jnp.asarray(pool), context), np.float64)
    mean = np.tensordot(weight / weight.sum(), table, 1)
    return 0.5 * (1 + mean - mean.T)
