"""PAL-B: a person's ideal direction depends on the prompt; responses along it are better.

    s = τ (cos(F(e_a), a_u(x)) − cos(F(e_b), a_u(x))),    a_u(x) = Σ_k w_uk g_k(h(x)),  w_u ∈ Δ^K

F as in `prefjax.families.pal_a`; g_k are heads of one network with a hidden layer over the prompt,
and constants where there is no prompt. τ = exp κ ≤ 100, from 1/.07 on. Trained by Adam; a new
person's w has the prior κ KL(w ‖ w̄).

The published code has a network g_k for each k, the hinge loss and no prior of w.

References:
    arXiv 2406.08469, section 3, "PAL-B".
"""

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.families.contract import (
    STATIC,
    Answers,
    Family,
    Number,
    clean,
    no_alarms,
    population_mean,
)
from prefjax.families.descent import adam, inputs, mean_loss, pick
from prefjax.families.pal_a import Map, apply_map, start_map
from prefjax.families.person import simplex_weights
from prefjax.settings import check_settings
from prefjax.types import Array, PRNGKey

MAX_LOG_TEMPERATURE = math.log(100.0)
START_LOG_TEMPERATURE = math.log(1 / 0.07)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        penalty: Ridge of τ times the directions, in rows.
        prior: Strength of w's prior, in answers.
        learning_rate: Of Adam.
        num_prototypes: K.
        size: Dimension of the directions.
        hidden: Hidden units of F; 0 for a linear map.
        context_hidden: Hidden units over the prompt.
        num_steps: Of Adam.
    """

    penalty: Number = 1000.0
    prior: Number = 1.0
    learning_rate: Number = 0.03
    num_prototypes: int = field(default=8, metadata=STATIC)
    size: int = field(default=8, metadata=STATIC)
    hidden: int = field(default=0, metadata=STATIC)
    context_hidden: int = field(default=8, metadata=STATIC)
    num_steps: int = field(default=200, metadata=STATIC)

    def __post_init__(self):
        check_settings(self, "num_prototypes", "size", "context_hidden", "num_steps")


class Heads(NamedTuple):
    """g: ``gelu(h·inward + shift)·outward + constant``, K directions at once."""

    inward: Float[Array, "context hidden"]
    shift: Float[Array, " hidden"]
    outward: Float[Array, "hidden component point"]
    constant: Float[Array, "component point"]


class Params(NamedTuple):
    """Map, heads, temperature and population.

    Attributes:
        map: F.
        heads: g.
        log_temperature: log τ.
        weights: w of every training person.
        center: w̄.
    """

    map: Map
    heads: Heads
    log_temperature: Float[Array, ""]
    weights: Float[Array, "user component"]
    center: Float[Array, " component"]


def bend(heads: Heads, context: Float[Array, "*pairs context"]) -> Float[Array, "*pairs hidden"]:
    """Hidden units over the prompt, which all g_k share."""
    moved = context @ heads.inward
    return jax.nn.gelu(moved + jnp.broadcast_to(heads.shift, moved.shape))


def ideal(
    heads: Heads, weights: Float[Array, " component"], hidden: Float[Array, "*pairs hidden"]
) -> Float[Array, "*pairs point"]:
    """a_u(x) of one person, the heads mixed before they read the hidden units of a prompt."""
    out = hidden @ jnp.tensordot(weights, heads.outward, ([0], [1]))
    return out + jnp.broadcast_to(weights @ heads.constant, out.shape)


def cosine(
    point: Float[Array, "*pairs point"], ideal: Float[Array, "*pairs point"]
) -> Float[Array, "*pairs"]:
    """Cosine of the angle; 0 where either is zero."""
    squares = jnp.sum(jnp.square(point), axis=-1) * jnp.sum(jnp.square(ideal), axis=-1)
    return jnp.sum(point * ideal, axis=-1) * jax.lax.rsqrt(squares + 1e-12)


def temperature(log_temperature: Float[Array, ""]) -> Float[Array, ""]:
    """τ, at most 100."""
    return jnp.exp(jnp.minimum(log_temperature, MAX_LOG_TEMPERATURE))


def fit(key: PRNGKey, data: Problem, config: Config) -> Params:
    """Everything by Adam; ``key`` draws where it starts."""
    table, rows = inputs(data), data.rows
    map_key, inward_key, outward_key, constant_key, weight_key = jax.random.split(key, 5)
    size = jnp.mean(jnp.sum(jnp.square(data.context), axis=1))
    root = jnp.sqrt(jnp.maximum(size, 1e-12))
    context = jnp.pad(data.context / root, ((0, 1), (0, 0)))
    shape, hidden = (config.num_prototypes, config.size), config.context_hidden
    total = jnp.sum(rows.sample_weight)

    def loss(params):
        mapping, heads, log_temperature, logits = params
        first, second = pick(apply_map(mapping, table), rows)
        prompts = pick(bend(heads, context), rows)[0]
        weight = jax.nn.softmax(logits)[rows.user]
        aim = jax.vmap(ideal, in_axes=(None, 0, 0))(heads, weight, prompts)
        tau = temperature(log_temperature)
        logit = tau * (cosine(first, aim) - cosine(second, aim))
        ridge = 0.5 * config.penalty / total * jnp.square(tau)
        return mean_loss(logit, rows) + ridge

    heads = Heads(
        inward=jax.random.normal(inward_key, (context.shape[1], hidden)),
        shift=jnp.zeros(hidden),
        outward=jax.random.normal(outward_key, (hidden, *shape)) / jnp.sqrt(hidden),
        constant=jax.random.normal(constant_key, shape),
    )
    mapping, heads, log_temperature, logits = adam(
        loss,
        (
            start_map(map_key, table.shape[1], config.hidden, config.size),
            heads,
            jnp.asarray(START_LOG_TEMPERATURE),
            0.1 * jax.random.normal(weight_key, (len(data.count), config.num_prototypes)),
        ),
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
    )
    weight = jax.nn.softmax(logits)
    return Params(
        map=mapping,
        heads=heads._replace(inward=heads.inward / root),
        log_temperature=log_temperature,
        weights=weight,
        center=population_mean(weight, data),
    )


def adapt(params: Params, answers: Answers, config: Config) -> Float[Array, " component"]:
    """Weights of a new person on the directions."""
    answers = clean(answers)
    first, second = apply_map(params.map, answers.first), apply_map(params.map, answers.second)
    prompts = bend(params.heads, answers.context)
    tau = temperature(params.log_temperature)

    def logits(weight):
        aim = ideal(params.heads, weight, prompts)
        return tau * (cosine(first, aim) - cosine(second, aim))

    return simplex_weights(logits, params.center, config.prior, answers)


def logit(
    params: Params,
    state: Float[Array, " component"],
    first: Float[Array, " input"],
    second: Float[Array, " input"],
    context: Float[Array, " context"],
) -> Float[Array, ""]:
    """τ times how much better the first response is aligned with the ideal direction."""
    aim = ideal(params.heads, state, bend(params.heads, context))
    near = cosine(apply_map(params.map, first), aim)
    near = near - cosine(apply_map(params.map, second), aim)
    return temperature(params.log_temperature) * near


def trials(config: Config) -> tuple[Config, ...]:
    """Learning rate, ridge of the temperature and prior of a person."""
    return tuple(
        replace(config, learning_rate=rate, penalty=penalty, prior=prior)
        for rate in (0.1, 0.03)
        for penalty in (100.0, 1000.0)
        for prior in (0.3, 3.0)
    )


PAL_B = Family("pal-b", Config(), fit, adapt, logit, no_alarms, trials)
