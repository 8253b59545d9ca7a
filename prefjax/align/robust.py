"""Robust preference selection: answer for several directions near a user's, choose by the user's.

A generator that follows a direction w may fail where few examples pointed that way. So K
directions are drawn from the posterior of w, each is answered, and the answers are ranked by the
estimate ŵ:

    w_0 = ŵ,  w_k ~ N(ŵ, C),        chosen = argmax_k ŵ·φ(y_k) + t(y_k),  y_k ~ π_{w_k}

ŵ itself is among the directions, so the reward under ŵ is never below that of its own answer.

References:
    Robust preference selection, arXiv 2510.20498, with the posterior in place of a cone of angles.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from prefjax.types import Array, Gaussian, PRNGKey


def sample_directions(
    key: PRNGKey, belief: Gaussian, *, num: int
) -> Float[jax.Array, "direction factor"]:
    """ŵ and ``num − 1`` draws from N(ŵ, C), each at the length of ŵ; kernel for one user.

    The length of a draw would say how strongly to steer, which is not in question here.

    Args:
        key: Random key.
        belief: ŵ and C of the user.
        num: Number of directions, at least 1.
    """
    weights = jnp.asarray(belief.mean)
    value, vector = jnp.linalg.eigh(belief.covariance)
    noise = jax.random.normal(key, (num - 1, len(weights)), weights.dtype)
    drawn = weights[None] + (noise * jnp.sqrt(jnp.maximum(value, 0))[None]) @ vector.T
    length = jnp.linalg.norm(drawn, axis=1, keepdims=True)
    drawn = drawn * jnp.linalg.norm(weights) / jnp.where(length > 0, length, 1.0)
    return jnp.concatenate([weights[None], drawn])


def select(
    weights: Float[Array, " factor"],
    features: Float[Array, "direction factor"],
    utility: Float[Array, " direction"],
) -> Int[jax.Array, ""]:
    """Index of the answer that is best under ŵ; that for ŵ itself comes first and wins ties.

    Args:
        weights: ŵ of the user.
        features: φ of the answer to each direction.
        utility: t of the answer to each direction.
    """
    return jnp.argmax(features @ weights + utility)
