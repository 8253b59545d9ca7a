"""PAL-A: people are ideal points between a few prototypes; closer responses are better.

    s = ‖F(e_b) − a_u‖ − ‖F(e_a) − a_u‖,    a_u = Σ_k w_uk P_k,  w_u ∈ Δ^K
    F(e) = We, or with hidden units We + W₂ gelu(W₁ e)

F, the prototypes and everybody's w = softmax(ω) are trained together by Adam with a ridge on F. A
new person's w minimizes Σ ℓ + κ KL(w ‖ w̄), w̄ the mean of the training people, with F and P frozen.
With squared distances and linear F this is PReF with features [f; ‖f‖²] and weights [2a_u; −1].

The published code has the hinge loss (an option here), no prior of w, and F on top of a fine-tuned
language model.

References:
    arXiv 2406.08469, section 3, "PAL-A".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.families.answers import Answers, clean
from prefjax.families.config import POSITIVE, FamilyConfig, Number, choice, integer, make_grid
from prefjax.families.contract import Family
from prefjax.families.descent import adam, inputs, mean_loss, pick, sum_of_squares
from prefjax.families.person import simplex_weights
from prefjax.families.population import draw_by_user, population_mean
from prefjax.families.shapes import Context, Input, Scalar, State
from prefjax.types import Array, PRNGKey

Map: TypeAlias = Mapping[str, Float[Array, "_ _"]]
"""F: ``straight`` is W, ``inward`` W₁, ``outward`` W₂; without hidden units the last are empty."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: Prior precision of one response's coordinates.
        prior: κ, in answers.
        learning_rate: Of Adam.
        num_prototypes: K.
        size: Dimension of the points.
        hidden: Hidden units of F; 0 for a linear map.
        loss: The logistic loss, or the published hinge ``max(0, 1 − (2y−1)s)``.
        num_steps: Of Adam.
    """

    penalty: Number = 1.0
    prior: Number = field(default=1.0, metadata=POSITIVE)
    learning_rate: Number = 0.05
    num_prototypes: int = integer(8)
    size: int = integer(8)
    hidden: int = integer(0, least=0)
    loss: Literal["logistic", "hinge"] = choice("logistic")
    num_steps: int = integer(400)


class Params(NamedTuple):
    """Points and population.

    Attributes:
        map: F.
        prototypes: P.
        weights: w of every training person.
        center: w̄.
    """

    map: Map
    prototypes: Float[Array, "component point"]
    weights: Float[Array, "user component"]
    center: Float[Array, " component"]


def init_map(key: PRNGKey, num_inputs: int, hidden: int, size: int) -> Map:
    """F drawn so that responses at unit scale have coordinates of about unit size."""
    straight, inward, outward = jax.random.split(key, 3)
    return {
        "straight": jax.random.normal(straight, (num_inputs, size)),
        "inward": jax.random.normal(inward, (num_inputs, hidden)),
        "outward": jax.random.normal(outward, (hidden, size)) / jnp.sqrt(max(hidden, 1)),
    }


def init_logits(
    key: PRNGKey, problem: Problem, num_prototypes: int
) -> Float[Array, "user component"]:
    """ω at the start: almost even, and different for every person."""
    return draw_by_user(key, problem, lambda key: 0.1 * jax.random.normal(key, (num_prototypes,)))


def apply_map(params: Map, embedding: Float[Array, "*pairs input"]) -> jax.Array:
    """``We + W₂ gelu(W₁ e)``."""
    curved = jax.nn.gelu(embedding @ params["inward"]) @ params["outward"]
    return jnp.asarray(embedding @ params["straight"] + curved)


def distance(
    point: Float[Array, "*pairs point"], ideal: Float[Array, "*pairs point"]
) -> Float[Array, "*pairs"]:
    """Euclidean, with a root that has a gradient at zero."""
    return jnp.sqrt(jnp.sum(jnp.square(point - ideal), axis=-1) + 1e-12)


def fit(key: PRNGKey, problem: Problem, config: Config) -> Params:
    """F, P and everybody's w by Adam; ``key`` draws where they start."""
    table = inputs(problem)
    map_key, prototype_key, weight_key = jax.random.split(key, 3)
    rows, total = problem.rows, jnp.sum(problem.rows.sample_weight)
    sign = jnp.where(rows.sample_weight > 0, 2 * rows.label - 1, 0.0)

    def loss(params):
        mapping, prototypes, logits = params
        first, second = pick(apply_map(mapping, table), rows)
        ideal = (jax.nn.softmax(logits) @ prototypes)[rows.user][:, None, :]
        ideal = jnp.broadcast_to(ideal, first.shape)
        logit = distance(second, ideal) - distance(first, ideal)
        ridge = 0.5 * config.penalty / total * sum_of_squares(mapping)
        if config.loss == "hinge":
            return jnp.sum(rows.sample_weight * jnp.maximum(0.0, 1 - sign * logit)) / total + ridge
        return mean_loss(logit, rows) + ridge

    mapping, prototypes, logits = adam(
        loss,
        (
            init_map(map_key, table.shape[1], config.hidden, config.size),
            jax.random.normal(prototype_key, (config.num_prototypes, config.size)),
            init_logits(weight_key, problem, config.num_prototypes),
        ),
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
    )
    weight = jax.nn.softmax(logits)
    return Params(mapping, prototypes, weight, population_mean(weight, problem))


def adapt(params: Params, answers: Answers, config: Config) -> State:
    """Weights of a new person on the prototypes."""
    answers = clean(answers)
    first, second = apply_map(params.map, answers.first), apply_map(params.map, answers.second)

    def logits(weight):
        ideal = jnp.broadcast_to(weight @ params.prototypes, first.shape)
        return distance(second, ideal) - distance(first, ideal)

    return simplex_weights(logits, params.center, config.prior, answers)


def logit(params: Params, state: State, first: Input, second: Input, context: Context) -> Scalar:
    """How much farther from the ideal point the second response is."""
    ideal = state @ params.prototypes
    points = apply_map(params.map, second), apply_map(params.map, first)
    return distance(points[0], ideal) - distance(points[1], ideal)


PAL_A = Family(
    "pal-a",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(penalty=(0.3, 3.0, 30.0, 300.0), prior=(0.3, 3.0)),
)
