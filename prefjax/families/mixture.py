"""A person as a mixture of a few rewards: the predictive logit and Bayes' rule.

    p = Σ_k π_k σ(s_k),    s = log p − log(1 − p),    log π_k ← log π_k − η Σ ℓ(s_k, y) + const.

With η = 1 the update is Bayes' rule; with another η it is Hedge.

References:
    Freund and Schapire (1997), Hedge; arXiv 2505.24846, section 3.3.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.families.config import Number
from prefjax.numerics import softplus_loss
from prefjax.types import Array


def mixture_logit(
    log_weight: Float[Array, " component"], logits: Float[Array, " component"]
) -> Float[Array, ""]:
    """Log odds of the mixture; weights need not be normalized."""
    chosen = jax.nn.logsumexp(log_weight + jax.nn.log_sigmoid(logits))
    return chosen - jax.nn.logsumexp(log_weight + jax.nn.log_sigmoid(-logits))


def hedge(
    log_weight: Float[Array, " component"],
    logits: Float[Array, "pair component"],
    label: Float[Array, " pair"],
    sample_weight: Float[Array, " pair"],
    rate: Number = 1.0,
) -> Float[Array, " component"]:
    """Normalized log weights after some answers.

    Args:
        log_weight: Before.
        logits: Of every answered pair under every component.
        label: Probability that the first was preferred.
        sample_weight: Weight of each answer.
        rate: η.
    """
    loss = softplus_loss(logits, jnp.broadcast_to(label[:, None], logits.shape))
    return jax.nn.log_softmax(log_weight - rate * (sample_weight @ loss))
