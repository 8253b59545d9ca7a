"""From logits to a token: temperature, top-k, top-p, in this order.

    p ∝ exp(logit / T) over the k largest logits, cut to the smallest set of mass ≥ top_p

T = 0 takes the largest logit. Tokens that tie with the last one kept are kept as well.

References:
    Nucleus sampling, arXiv 1904.09751, section 3.1.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from prefjax.types import Array, PRNGKey


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How tokens are drawn.

    Attributes:
        temperature: T, 0 for the most likely token.
        top_k: Number of tokens to draw from; 0 for all.
        top_p: Mass of the tokens to draw from; 1 for all.

    Raises:
        ValueError: A setting is out of its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must not be negative, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")


DEFAULT = SamplingConfig()


def restrict(logits: Float[Array, " vocab"], config: SamplingConfig) -> Float[Array, " vocab"]:
    """Logits at the temperature, -inf where top-k or top-p leave a token out.

    >>> restrict(jnp.log(jnp.array([0.5, 0.3, 0.2])), SamplingConfig(top_p=0.6)).tolist()[2]
    -inf
    """
    if config.temperature > 0:
        logits = logits / config.temperature
    if 0 < config.top_k < logits.shape[0]:
        least = jax.lax.top_k(logits, config.top_k)[0][-1]
        logits = jnp.where(logits >= least, logits, -jnp.inf)
    if config.top_p < 1:
        falling = jnp.sort(logits, descending=True)
        share = jax.nn.softmax(falling)
        num_kept = jnp.sum(jnp.cumsum(share) - share < config.top_p)
        logits = jnp.where(logits >= falling[num_kept - 1], logits, -jnp.inf)
    return logits


def sample(key: PRNGKey, logits: Float[Array, " vocab"], config: SamplingConfig) -> Int[Array, ""]:
    """Draw a token; kernel for one row."""
    if config.temperature == 0:
        return jnp.argmax(logits).astype(jnp.int32)
    return jax.random.categorical(key, restrict(logits, config)).astype(jnp.int32)
