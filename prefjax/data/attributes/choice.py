"""How a simulated judge answers: both orders are asked, agreement decides.

With the utility gap g = w·(a_first − a_second), sharpness κ and order bias b (in logits, toward the
response that is shown first), the judge perceives ``z = κg + e`` with one logistic error e per
comparison, as a judge at temperature 0 repeats its mistakes. Asked in the given order the first
response wins if ``z + b > 0``, in the swapped order if ``z − b > 0``. Agreement is label 1 or 0,
disagreement ½:

    P(1) = σ(κg − b),   P(0) = σ(−κg − b),   P(½) = 1 − P(1) − P(0).

References:
    arXiv 2503.06358, section 5 (answers in both orders, disagreement is a tie).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.types import Array, PRNGKey


@dataclass(frozen=True)
class ChoiceConfig:
    """Noise of the simulated answers.

    Attributes:
        sharpness: κ, logits per unit of utility.
        order_bias: b ≥ 0, logits in favor of the response shown first.
    """

    sharpness: float = 1.5
    order_bias: float = 0.5


def label_probabilities(
    utility_gap: Float[Array, "*pairs"], config: ChoiceConfig = ChoiceConfig()
) -> Float[jax.Array, "3 *pairs"]:
    """Probabilities of the labels 0, ½ and 1.

    Args:
        utility_gap: g.
        config: Noise of the answers.

    Returns:
        Three probabilities that sum to 1.
    """
    logit = config.sharpness * jnp.asarray(utility_gap)
    wins = jax.nn.sigmoid(logit - config.order_bias)
    loses = jax.nn.sigmoid(-logit - config.order_bias)
    return jnp.stack([loses, 1.0 - wins - loses, wins])


def expected_label(
    utility_gap: Float[Array, "*pairs"], config: ChoiceConfig = ChoiceConfig()
) -> Float[jax.Array, "*pairs"]:
    """Mean label, P(1) + ½ P(½).

    Args:
        utility_gap: g.
        config: Noise of the answers.

    Returns:
        The expectation of :func:`choose`.
    """
    loses, _, wins = label_probabilities(utility_gap, config)
    return 0.5 + 0.5 * (wins - loses)


def choose(
    key: PRNGKey, utility_gap: Float[Array, "*pairs"], config: ChoiceConfig = ChoiceConfig()
) -> Float[jax.Array, "*pairs"]:
    """Draw labels; can be jitted and called inside ``lax.scan``.

    Args:
        key: Source of the noise.
        utility_gap: g.
        config: Noise of the answers.

    Returns:
        Labels in {0, ½, 1}.
    """
    logit = config.sharpness * jnp.asarray(utility_gap)
    perceived = logit + jax.random.logistic(key, logit.shape, logit.dtype)
    wins = jnp.stack([perceived + config.order_bias > 0, perceived - config.order_bias > 0])
    return wins.astype(logit.dtype).mean(axis=0)
