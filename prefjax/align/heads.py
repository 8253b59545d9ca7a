r"""Heads over the states and tokens of a frozen language model that say where a response goes.

With features φ(y) of a whole response and the model's own policy π0, by linearity of expectation

    V_w(s) = E_π0[w·φ | s] = w·V(s)        for every user w at once.

A small model's state after a token hardly knows how long the response is by now, or which words
stand in it. So the heads read a summary x_t of all states and tokens from the last of the prompt,
s_0 and a_0, to s_t and a_t: the last state, the sum of the states, and the sum of the rows of the
embedding, e_a. With each of these vectors brought to zero mean and unit variance, s̄ and ē,

    x_t = ([s̄_t ; Σ_{i≤t} s̄_i / 100 ; Σ_{i≤t} ē_{a_i} / 100] − c) / d

where c and d are mean and deviation over the states of the samples. Value head, after a token:

    V(x) = μ + σ ∘ (W₂ gelu(W₁ x + b₁) + b₂ + W₃ x)

Advantage head, for a token a that may follow:

    A_j(x, a) = σ_j ⟨U_j x + u_j, P ē_a⟩

μ and σ are mean and deviation of φ over samples; like c and d they are not trained.

References:
    Value-augmented sampling, arXiv 2405.06639.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.types import Array, Params, PRNGKey

_SPAN = 100  # states; brings the sum to about the scale of one state


class Moments(NamedTuple):
    """Mean and deviation of each entry of an array over samples."""

    mean: Float[Array, " feature"]
    deviation: Float[Array, " feature"]


class ValueHead(NamedTuple):
    """V of the module's equation.

    Attributes:
        params: Trained arrays.
        inputs: c and d.
        outputs: μ, where V starts, and σ.
    """

    params: Params
    inputs: Moments
    outputs: Moments


class AdvantageHead(NamedTuple):
    """A of the module's equation.

    Attributes:
        params: ``state``, the U_j; ``constant``, the u_j; and ``token``, P.
        inputs: c and d.
        deviation: σ.
    """

    params: Params
    inputs: Moments
    deviation: Float[Array, " factor"]


def increment(
    hidden: Float[Array, "*axes feature"], embedded: Float[Array, "*axes feature"]
) -> Float[jax.Array, "*axes summand"]:
    """[s̄ ; ē], what a state and the token that led to it add to the sums, which start at 0."""
    return jnp.concatenate([_unit(hidden), _unit(embedded)], axis=-1)


def summary(
    hidden: Float[Array, "*axes feature"], total: Float[Array, "*axes summand"]
) -> Float[jax.Array, "*axes input"]:
    """[s̄_t ; Σ s̄ / 100 ; Σ ē / 100] at states; the sums have them in it."""
    return jnp.concatenate([_unit(hidden), total / _SPAN], axis=-1)


def summarize(
    states: Float[Array, "*axes state feature"], embedded: Float[Array, "*axes state feature"]
) -> Float[jax.Array, "*axes state input"]:
    """``summary`` at every state of whole responses, s_0 and a_0 first.

    Args:
        states: s_t.
        embedded: e_a of the token that led to each.
    """
    return summary(states, jnp.cumsum(increment(states, embedded), axis=-2))


def init_value(key: PRNGKey, inputs: Moments, outputs: Moments, *, width: int = 512) -> ValueHead:
    """A value head that says μ everywhere.

    Args:
        key: Draws the hidden layer.
        inputs: c and d of summaries, d positive.
        outputs: μ and σ of φ, σ positive.
        width: Width of the hidden layer.
    """
    num_inputs, num_factors = len(inputs.mean), len(outputs.mean)
    kernel = jax.random.normal(key, (num_inputs, width)) / math.sqrt(num_inputs)
    params = {
        "in": {"kernel": kernel, "bias": jnp.zeros(width)},
        "skip": jnp.zeros((num_inputs, num_factors)),
        "out": {"kernel": jnp.zeros((width, num_factors)), "bias": jnp.zeros(num_factors)},
    }
    return ValueHead(params, inputs, outputs)


def _wide(x: Array, like: Array) -> jax.Array:
    return jnp.asarray(x).reshape((1,) * (like.ndim - 1) + (-1,))


def _dense(x: Float[Array, "*axes input"], layer: Params) -> Float[jax.Array, "*axes output"]:
    out = x @ layer["kernel"]
    return out + _wide(layer["bias"], out)


def _unit(x: Float[Array, "*axes feature"]) -> Float[jax.Array, "*axes feature"]:
    """Zero mean and unit variance along the last axis, in float32."""
    x = jnp.asarray(x, jnp.float32)
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)


def _standard(x: Float[Array, "*axes input"], inputs: Moments) -> Float[jax.Array, "*axes input"]:
    return (jnp.asarray(x) - _wide(inputs.mean, x)) / _wide(inputs.deviation, x)


def value(head: ValueHead, x: Float[Array, "*axes input"]) -> Float[jax.Array, "*axes factor"]:
    """V at summaries; in the units of φ."""
    x, params = _standard(x, head.inputs), head.params
    hidden = jax.nn.gelu(_dense(x, params["in"]))
    out = _dense(hidden, params["out"]) + x @ params["skip"]
    return _wide(head.outputs.mean, out) + _wide(head.outputs.deviation, out) * out


def init_advantage(
    key: PRNGKey,
    num_features: int,
    inputs: Moments,
    deviation: Float[Array, " factor"],
    *,
    rank: int = 64,
) -> AdvantageHead:
    """An advantage head that says 0 everywhere.

    Args:
        key: Draws P.
        num_features: Width of an embedding.
        inputs: c and d of summaries, d positive.
        deviation: σ, positive.
        rank: Rows of P and of each U_j.
    """
    params = {
        "state": jnp.zeros((len(deviation), rank, len(inputs.mean))),
        "constant": jnp.zeros((len(deviation), rank)),
        "token": jax.random.normal(key, (rank, num_features)) / math.sqrt(num_features),
    }
    return AdvantageHead(params, inputs, jnp.asarray(deviation))


def project_tokens(
    head: AdvantageHead, embedding: Float[Array, "*axes feature"]
) -> Float[jax.Array, "*axes rank"]:
    """P ē of rows of the embedding; once for the whole vocabulary before decoding."""
    return _unit(embedding) @ head.params["token"].T


def advantage(
    head: AdvantageHead,
    x: Float[Array, "*axes input"],
    token: Float[Array, "*axes rank"],
) -> Float[jax.Array, "*axes factor"]:
    """A of one token after each summary; ``token`` are rows of ``project_tokens``."""
    x = _standard(x, head.inputs)
    wanted = jnp.einsum("...d,jrd->...jr", x, head.params["state"])
    wanted = wanted + head.params["constant"].reshape((1,) * (wanted.ndim - 2) + wanted.shape[-2:])
    out = jnp.sum(wanted * token[..., None, :], axis=-1)
    return out * _wide(head.deviation, out)


def steered_advantage(
    head: AdvantageHead,
    x: Float[Array, " input"],
    token: Float[Array, "candidate rank"],
    weights: Float[Array, " factor"],
) -> Float[jax.Array, " candidate"]:
    """w·A of many tokens after one summary: the U_j are mixed first, so all cost one product."""
    x = _standard(x, head.inputs)
    mixed = jnp.einsum("j,jrd,d->r", weights * head.deviation, head.params["state"], x)
    mixed = mixed + (weights * head.deviation) @ head.params["constant"]
    return jnp.asarray(token) @ mixed
