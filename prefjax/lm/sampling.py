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

    The vocabulary is not sorted: top-p looks at the k logits that top-k leaves, or, without top-k,
    bisects for the least logit that is kept.

    >>> restrict(jnp.log(jnp.array([0.5, 0.3, 0.2])), SamplingConfig(top_p=0.6)).tolist()[2]
    -inf
    """
    if config.temperature > 0:
        logits = logits / config.temperature
    if 0 < config.top_k < logits.shape[0]:
        falling = jax.lax.top_k(logits, config.top_k)[0]
        least = falling[-1]
        logits = jnp.where(logits >= least, logits, -jnp.inf)
        if config.top_p < 1:
            # Tokens that tie with the last one kept are no part of its list, but of the mass.
            share = jnp.exp(falling - jax.nn.logsumexp(logits))
            num_kept = jnp.sum(jnp.cumsum(share) - share < config.top_p)
            logits = jnp.where(logits >= falling[num_kept - 1], logits, -jnp.inf)
    elif config.top_p < 1:
        least = _least_kept(logits, config.top_p)
        logits = jnp.where(logits >= least, logits, -jnp.inf)
    return logits


def _least_kept(logits: Float[Array, " vocab"], top_p: float) -> Float[jax.Array, ""]:
    """The largest number so that the logits from it on have ``top_p`` of the mass.

    Bisects over the bits of a float: with the sign turned, they are in the order of the numbers.
    """
    logits = jnp.asarray(logits, jnp.float32)
    share = jax.nn.softmax(logits)

    def number(bits: Int[Array, ""]) -> Float[jax.Array, ""]:
        bits = jnp.where(bits < 0, bits ^ jnp.int32(0x7FFFFFFF), bits)
        return jax.lax.bitcast_convert_type(bits, jnp.float32)

    def halve(_, ends):
        low, high = ends
        middle = (low >> 1) + (high >> 1) + (low & high & 1)  # their sum may not fit
        enough = jnp.sum(jnp.where(logits >= number(middle), share, 0.0)) >= top_p
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    bits = jax.lax.bitcast_convert_type(jnp.stack([jnp.float32(-jnp.inf), logits.max()]), jnp.int32)
    low, largest = jnp.where(bits < 0, bits ^ jnp.int32(0x7FFFFFFF), bits)
    low, _ = jax.lax.fori_loop(0, 32, halve, (low, largest + 1))
    return number(low)


def sample(key: PRNGKey, logits: Float[Array, " vocab"], config: SamplingConfig) -> Int[Array, ""]:
    """Draw a token; kernel for one row."""
    if config.temperature == 0:
        return jnp.argmax(logits).astype(jnp.int32)
    return jax.random.categorical(key, restrict(logits, config)).astype(jnp.int32)
