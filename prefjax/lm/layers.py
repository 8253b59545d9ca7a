"""One block of a decoder, as functions of arrays.

    h = x + O · attention(norm(x)),    y = h + D · (silu(G · norm(h)) ⊙ (U · norm(h)))

norm(x) = gain ⊙ x / √(mean(x²) + ε). Attention is grouped-query with rotary positions:
softmax(R(q) · R(k) / √dim + mask) · v, where ``num_heads / num_kv_heads`` queries share a key.
Norms, angles and the softmax are computed in float32 whatever the dtype of the parameters.

References:
    Llama, arXiv 2302.13971, section 2.2; Qwen2, arXiv 2407.10671, section 2 (biases); Qwen3, arXiv
    2505.09388, section 2 (norm of the heads); RoFormer, arXiv 2104.09864, Eq. 34.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax.lm.config import QwenConfig, RopeScaling
from prefjax.parallel import platform
from prefjax.types import Array, Params


class Rotary(NamedTuple):
    """Cosine and sine of the angle of each position and frequency, float32."""

    cos: Float[Array, "batch token frequency"]
    sin: Float[Array, "batch token frequency"]


class KeyValue(NamedTuple):
    """Keys (rotated) and values of one layer."""

    key: Float[Array, "batch kv_head slot dim"]
    value: Float[Array, "batch kv_head slot dim"]


def rms_norm(
    x: Float[Array, "*axes feature"], gain: Float[Array, " feature"], eps: float
) -> Float[Array, "*axes feature"]:
    """``gain ⊙ x / √(mean(x²) + ε)``, statistics in float32, the gain in the dtype of x."""
    wide = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + eps)
    return (wide * inverse).astype(x.dtype) * jnp.expand_dims(gain, range(x.ndim - 1))


def linear(
    x: Float[Array, "*axes input"], weights: Float[Array, "output input"]
) -> Float[Array, "*axes output"]:
    """``W x`` with the weight stored ``(out, in)``."""
    return jax.lax.dot_general(x, weights, (((x.ndim - 1,), (1,)), ((), ())))


def rotary(positions: Int[Array, "batch token"], config: QwenConfig) -> Rotary:
    """Angles ``position · θ^(-2i/dim)`` of the positions, as cosine and sine."""
    exponent = jnp.arange(0, config.head_dim, 2, dtype=jnp.float32) / config.head_dim
    frequency = scale_frequencies(1.0 / config.rope_theta**exponent, config.rope_scaling)
    angle = positions.astype(jnp.float32)[:, :, None] * frequency[None, None, :]
    return Rotary(jnp.cos(angle), jnp.sin(angle))


def scale_frequencies(
    frequency: Float[Array, " frequency"], scaling: RopeScaling | None
) -> Float[Array, " frequency"]:
    """Frequencies as ``RopeScaling`` stretches them."""
    if scaling is None:
        return frequency
    if scaling.kind == "linear":
        return frequency / scaling.factor
    turns = scaling.original_length * frequency / (2 * jnp.pi)
    low, high = scaling.low_frequency, scaling.high_frequency
    share = jnp.clip((turns - low) / (high - low), 0.0, 1.0)
    return frequency * (share + (1 - share) / scaling.factor)


def rotate(
    x: Float[Array, "batch token head dim"], angles: Rotary
) -> Float[Array, "batch token head dim"]:
    """Features i and i + dim/2 of each head, rotated by the angle of their position."""
    cos, sin = angles.cos[:, :, None, :], angles.sin[:, :, None, :]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)


def attend(
    query: Float[Array, "batch token head dim"],
    past: KeyValue,
    mask: Bool[Array, "batch token slot"],
) -> Float[Array, "batch token head_dim"]:
    """Grouped-query attention; each query must be allowed at least one slot."""
    batch, token, heads, dim = query.shape
    groups = past.key.shape[1]
    key, value = past.key.swapaxes(1, 2), past.value.swapaxes(1, 2)
    if _has_cudnn(query, num_slots=past.key.shape[2]):
        attended = jax.nn.dot_product_attention(
            query, key, value, mask=mask[:, None], implementation="cudnn"
        )
        return attended.reshape(batch, token, heads * dim)
    # Queries that share a key stand as further tokens: on a CPU the sums of a row are then the same
    # on any number of devices, which those over heads are not.
    query = query.reshape(batch, token, groups, heads // groups, dim).swapaxes(2, 3)
    query = query.reshape(batch, token * (heads // groups), groups, dim)
    attended = jax.nn.dot_product_attention(
        query,
        key,
        value,
        mask=jnp.repeat(mask, heads // groups, axis=1)[:, None],
        implementation="xla",
    )
    attended = attended.reshape(batch, token, heads // groups, groups, dim).swapaxes(2, 3)
    return attended.reshape(batch, token, heads * dim)


def _has_cudnn(query: Float[Array, "batch token head dim"], num_slots: int) -> bool:
    """Whether cuDNN has a fused kernel for these shapes, with a mask and gradients.

    JAX does not choose it by itself, and raises where there is none.
    """
    half = query.dtype in (jnp.bfloat16, jnp.float16)
    fits = query.shape[3] <= 128 and query.shape[3] % 8 == query.shape[1] % 2 == num_slots % 2 == 0
    return half and fits and platform() == "cuda"


def project(
    x: Float[Array, "batch token feature"], layer: Params, angles: Rotary, config: QwenConfig
) -> tuple[Float[Array, "batch token head dim"], KeyValue]:
    """Rotated queries, rotated keys and values of the new tokens."""
    batch, token, _ = x.shape

    def heads(name: str) -> Array:
        y = linear(x, layer[name])
        if f"{name}_bias" in layer:
            y = y + layer[f"{name}_bias"][None, None]
        y = y.reshape(batch, token, -1, config.head_dim)
        if f"{name}_norm" in layer:
            y = rms_norm(y, layer[f"{name}_norm"], config.norm_eps)
        return y

    key = rotate(heads("key"), angles).swapaxes(1, 2)
    return rotate(heads("query"), angles), KeyValue(key, heads("value").swapaxes(1, 2))


def feed_forward(
    x: Float[Array, "batch token feature"], layer: Params
) -> Float[Array, "batch token feature"]:
    """``D · (silu(G x) ⊙ (U x))``."""
    return linear(jax.nn.silu(linear(x, layer["gate"])) * linear(x, layer["up"]), layer["down"])
