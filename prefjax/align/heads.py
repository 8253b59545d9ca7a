r"""Heads over the frozen states of a language model that say where a response is heading.

With features φ(y) of a whole response and the model's own policy π0, by linearity of expectation

    V_w(s) = E_π0[w·φ | s] = w·V(s)        for every user w at once.

Value head, at the state h after a token:

    V(h) = μ + σ ∘ (W₂ gelu(W₁ LN(h) + b₁) + b₂)

Advantage head, for a token a that may follow a state h, with its row e_a of the embedding and both
brought to unit scale (h̄, ē):

    A_j(h, a) = σ_j ⟨U_j h̄, P ē_a⟩

μ and σ are mean and deviation of φ over samples; they are not trained.

References:
    Value-augmented sampling, arXiv 2405.06639.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.types import Array, Params, PRNGKey


class ValueHead(NamedTuple):
    """V of the module's equation.

    Attributes:
        params: Trained arrays.
        mean: μ, where V starts.
        deviation: σ, unit of the trained part.
    """

    params: Params
    mean: Float[Array, " factor"]
    deviation: Float[Array, " factor"]


class AdvantageHead(NamedTuple):
    """A of the module's equation.

    Attributes:
        params: ``state``, the U_j, and ``token``, P.
        deviation: σ.
    """

    params: Params
    deviation: Float[Array, " factor"]


def init_value(
    key: PRNGKey,
    num_inputs: int,
    mean: Float[Array, " factor"],
    deviation: Float[Array, " factor"],
    *,
    width: int = 512,
) -> ValueHead:
    """A value head that says μ everywhere.

    Args:
        key: Draws the hidden layer.
        num_inputs: d, width of a state.
        mean: μ.
        deviation: σ, positive.
        width: Width of the hidden layer.
    """
    kernel = jax.random.normal(key, (num_inputs, width)) / math.sqrt(num_inputs)
    params = {
        "gain": jnp.ones(num_inputs),
        "bias": jnp.zeros(num_inputs),
        "in": {"kernel": kernel, "bias": jnp.zeros(width)},
        "out": {"kernel": jnp.zeros((width, len(mean))), "bias": jnp.zeros(len(mean))},
    }
    return ValueHead(params, jnp.asarray(mean), jnp.asarray(deviation))


def _dense(x: Float[Array, "*axes input"], layer: Params) -> Float[jax.Array, "*axes output"]:
    out = x @ layer["kernel"]
    return out + layer["bias"].reshape((1,) * (out.ndim - 1) + (-1,))


def _unit(x: Float[Array, "*axes feature"]) -> Float[jax.Array, "*axes feature"]:
    """Zero mean and unit variance along the last axis, in float32."""
    x = jnp.asarray(x, jnp.float32)
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)


def value(
    head: ValueHead, hidden: Float[Array, "*axes feature"]
) -> Float[jax.Array, "*axes factor"]:
    """V at states; in the units of φ."""
    params, wide = head.params, (1,) * (hidden.ndim - 1) + (-1,)
    x = _unit(hidden) * params["gain"].reshape(wide) + params["bias"].reshape(wide)
    out = _dense(jax.nn.gelu(_dense(x, params["in"])), params["out"])
    mean, deviation = (jnp.asarray(array).reshape(wide) for array in head[1:])
    return mean + deviation * out


def init_advantage(
    key: PRNGKey, num_inputs: int, deviation: Float[Array, " factor"], *, rank: int = 64
) -> AdvantageHead:
    """An advantage head that says 0 everywhere.

    Args:
        key: Draws P.
        num_inputs: d, width of a state and of an embedding.
        deviation: σ, positive.
        rank: Rows of P and of each U_j.
    """
    params = {
        "state": jnp.zeros((len(deviation), rank, num_inputs)),
        "token": jax.random.normal(key, (rank, num_inputs)) / math.sqrt(num_inputs),
    }
    return AdvantageHead(params, jnp.asarray(deviation))


def project_tokens(
    head: AdvantageHead, embedding: Float[Array, "*axes feature"]
) -> Float[jax.Array, "*axes rank"]:
    """P ē of rows of the embedding; once for the whole vocabulary before decoding."""
    return _unit(embedding) @ head.params["token"].T


def advantage(
    head: AdvantageHead,
    hidden: Float[Array, "*axes feature"],
    token: Float[Array, "*axes rank"],
) -> Float[jax.Array, "*axes factor"]:
    """A of one token after each state; ``token`` are rows of ``project_tokens``."""
    projected = jnp.einsum("...d,jrd->...jr", _unit(hidden), head.params["state"])
    out = jnp.sum(projected * token[..., None, :], axis=-1)
    return out * jnp.asarray(head.deviation).reshape((1,) * (out.ndim - 1) + (-1,))


def steered_advantage(
    head: AdvantageHead,
    hidden: Float[Array, " feature"],
    token: Float[Array, "candidate rank"],
    weight: Float[Array, " factor"],
) -> Float[jax.Array, " candidate"]:
    """w·A of many tokens after one state: the U_j are mixed first, so all cost one product."""
    mixed = jnp.einsum("j,jrd,d->r", weight * head.deviation, head.params["state"], _unit(hidden))
    return jnp.asarray(token) @ mixed
