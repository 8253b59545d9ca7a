r"""A quadratic upper bound of log Σ exp z, in closed form under Gaussian rewards.

Built up one response after the other. Let ``B = L + Q / 2`` bound ``log Σ_{k<j} exp z_k``, with L
affine and Q ≥ 0 a sum of squares. Then, softplus being increasing,

    log Σ_{k≤j} exp z_k  ≤  L + Q/2 + softplus(z_j − L − Q/2)  ≤  L + Q/2 + softplus(x),
    x = z_j − L,

and with the bound of Jaakkola and Jordan on the last term, written around x̄ = E x,

    softplus(x) ≤ c + g (x − x̄) + κ/2 (x − x̄)²,
    ξ = √(x̄² + Var x),  κ = tanh(ξ/2) / (2ξ),  g = ½ + κ x̄,

the next bound is ``L + c + g (x − x̄)`` and ``Q + κ (x − x̄)²``. Of two shown this is the bound of
`prefjax.variational.jaakkola`. With rewards that are known it is tangent: value and gradient are
those of log Σ exp z, so that steps computed from it never decrease a likelihood. With uncertain
ones every ξ is the best for its own response, the others given; for three and more these need not
be the best together, so that there a fit may lose a little from one round to the next.

References:
    Jebara and Choromanska, "Majorization for CRFs and latent likelihoods" (2012), Algorithm 1: the
    same recursion with rewards that are known. Jaakkola and Jordan (2000).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from prefjax import variational
from prefjax.logistic.softmax_expectation import ChoiceExpectation
from prefjax.types import Array


def bound(
    mean: Float[Array, "shown *choice"],
    covariance: Float[Array, "shown shown *choice"] | None,
    mask: Bool[Array, "shown *choice"],
) -> ChoiceExpectation:
    """The bound in the place of the expectations of `prefjax.logistic.softmax_expectation.expect`.

    Args:
        mean: Expected reward of each response.
        covariance: That of the rewards; None where they are known.
        mask: False marks padding, which must stand behind what is shown.

    Returns:
        The expected bound, its gradient in the means, which sums to 1, and its curvature.

    >>> known = bound(jnp.array([0.0, 1.0, 2.0]), None, jnp.ones(3, bool))
    >>> [round(float(p), 4) for p in known.probability]  # the softmax
    [0.09, 0.2447, 0.6652]
    """
    mean, mask = jnp.asarray(mean), jnp.asarray(mask)
    size, lead = len(mean), (1,) * (mean.ndim - 1)
    eye = jnp.eye(size, dtype=mean.dtype)

    def add(carry, place):
        level, rest, share, curvature = carry
        away = eye[place].reshape(-1, *lead) - share
        variance = jnp.zeros_like(level)
        if covariance is not None:
            variance = jnp.einsum("i...,ij...,j...->...", away, covariance, away)
        row = variational.jaakkola(mean[place] - level, variance)
        spread = row.curvature * variance / 2
        shown = mask[place].astype(mean.dtype)
        carry = (
            level + shown * (row.value - spread),
            rest + shown * spread,
            share + (shown * row.slope)[None] * away,
            curvature + (shown * row.curvature)[None, None] * away[:, None] * away[None],
        )
        return carry, None

    first = jnp.broadcast_to(eye[0].reshape(-1, *lead), mean.shape)
    zeros = jnp.zeros((size, *mean.shape), mean.dtype)
    start = mean[0], jnp.zeros_like(mean[0]), first, zeros
    (level, rest, share, curvature), _ = jax.lax.scan(add, start, jnp.arange(1, size))
    return ChoiceExpectation(level + rest, share, curvature)
