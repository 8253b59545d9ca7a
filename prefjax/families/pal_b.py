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
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.families.answers import Answers, clean
from prefjax.families.config import POSITIVE, FamilyConfig, Number, integer, make_grid
from prefjax.families.contract import Family
from prefjax.families.descent import adam, inputs, mean_loss, pick, standardize_context
from prefjax.families.pal_a import Map, apply_map, init_logits, init_map
from prefjax.families.person import simplex_weights
from prefjax.families.population import population_mean
from prefjax.families.shapes import Context, Input, Scalar, State
from prefjax.types import Array, PRNGKey

MAX_LOG_TEMPERATURE = math.log(100.0)
INIT_LOG_TEMPERATURE = math.log(1 / 0.07)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: Ridge of τ times the directions, in rows.
        prior: κ of w's prior, in answers.
        learning_rate: Of Adam.
        num_prototypes: K.
        size: Dimension of the directions.
        hidden: Hidden units of F; 0 for a linear map.
        context_hidden: Hidden units over the prompt.
        num_steps: Of Adam.
    """

    penalty: Number = 1000.0
    prior: Number = field(default=1.0, metadata=POSITIVE)
    learning_rate: Number = 0.03
    num_prototypes: int = integer(8)
    size: int = integer(8)
    hidden: int = integer(0, least=0)
    context_hidden: int = integer(8)
    num_steps: int = integer(200)


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


def hidden_units(
    heads: Heads, context: Float[Array, "*pairs context"]
) -> Float[Array, "*pairs hidden"]:
    """Hidden units over the prompt, which all g_k share."""
    linear = context @ heads.inward
    return jax.nn.gelu(linear + jnp.broadcast_to(heads.shift, linear.shape))


def ideal_direction(
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


def fit(key: PRNGKey, problem: Problem, config: Config) -> Params:
    """Everything by Adam; ``key`` draws where it starts."""
    table, rows = inputs(problem), problem.rows
    map_key, inward_key, outward_key, constant_key, weight_key = jax.random.split(key, 5)
    contexts, center, scale = standardize_context(problem)
    context = jnp.pad(contexts, ((0, 1), (0, 0)))
    shape, hidden = (config.num_prototypes, config.size), config.context_hidden
    total = jnp.sum(rows.sample_weight)

    def loss(params):
        mapping, heads, log_temperature, logits = params
        first, second = pick(apply_map(mapping, table), rows)
        prompts = pick(hidden_units(heads, context), rows)[0]
        weight = jax.nn.softmax(logits)[rows.user]
        aim = jax.vmap(ideal_direction, in_axes=(None, 0, 0))(heads, weight, prompts)
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
            init_map(map_key, table.shape[1], config.hidden, config.size),
            heads,
            jnp.asarray(INIT_LOG_TEMPERATURE),
            init_logits(weight_key, problem, config.num_prototypes),
        ),
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
    )
    weight = jax.nn.softmax(logits)
    inward = heads.inward / scale
    return Params(
        map=mapping,
        heads=heads._replace(inward=inward, shift=heads.shift - center @ inward),
        log_temperature=log_temperature,
        weights=weight,
        center=population_mean(weight, problem),
    )


def adapt(params: Params, answers: Answers, config: Config) -> State:
    """Weights of a new person on the directions."""
    answers = clean(answers)
    first, second = apply_map(params.map, answers.first), apply_map(params.map, answers.second)
    prompts = hidden_units(params.heads, answers.context)
    tau = temperature(params.log_temperature)

    def logits(weight):
        aim = ideal_direction(params.heads, weight, prompts)
        return tau * (cosine(first, aim) - cosine(second, aim))

    return simplex_weights(logits, params.center, config.prior, answers)


def logit(params: Params, state: State, first: Input, second: Input, context: Context) -> Scalar:
    """τ times how much better the first response is aligned with the ideal direction."""
    aim = ideal_direction(params.heads, state, hidden_units(params.heads, context))
    near = cosine(apply_map(params.map, first), aim)
    near = near - cosine(apply_map(params.map, second), aim)
    return temperature(params.log_temperature) * near


PAL_B = Family(
    "pal-b",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(learning_rate=(0.1, 0.03), penalty=(100.0, 1000.0), prior=(0.3, 3.0)),
)
