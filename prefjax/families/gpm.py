"""GPM: preferences that need not be transitive, with gates for a person.

    v(e) = A [e; 1] ∈ R^{2m},    s = Σ_j g_j (v_{a,2j} v_{b,2j+1} − v_{a,2j+1} v_{b,2j}) / τ

A plane in which the second coordinate is constant is a Bradley–Terry reward; others can make
cycles. The gates g of a person are ours, N(1, 1/γ) in training and around the training people's
mean for a new one, for whom s is linear in g: a ridge logistic regression, solved exactly. A and
everybody's gates are trained together by Adam; the constant input lets a plane become a reward, and
gives votes against the zero baseline a logit.

The published code has one s for everybody, scales planes by a softmax of the prompt, divides v by
its norm and trains a language model.

References:
    arXiv 2410.02197, eq. 5–8.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax import logistic
from prefjax.basis import Problem
from prefjax.families.answers import Answers, clean
from prefjax.families.config import POSITIVE, FamilyConfig, Number, integer, make_grid
from prefjax.families.contract import Family
from prefjax.families.descent import adam, inputs, mean_loss, pick, sum_of_squares
from prefjax.families.population import population_mean
from prefjax.families.shapes import Context, Input, Scalar, State
from prefjax.types import Array, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: Prior precision of one response's coordinates.
        gate_penalty: γ.
        temperature: τ.
        learning_rate: Of Adam.
        num_planes: m.
        num_steps: Of Adam.
    """

    penalty: Number = 100.0
    gate_penalty: Number = field(default=0.3, metadata=POSITIVE)
    temperature: Number = field(default=1.0, metadata=POSITIVE)
    learning_rate: Number = 0.05
    num_planes: int = integer(6)
    num_steps: int = integer(300)


class Params(NamedTuple):
    """Map, gates and population.

    Attributes:
        kernel: A without its last column, divided by √τ.
        bias: The last column of A, divided by √τ.
        center: Mean gates of the training people.
        gates: Gates of every training person.
    """

    kernel: Float[Array, "input coordinate"]
    bias: Float[Array, " coordinate"]
    center: Float[Array, " plane"]
    gates: Float[Array, "user plane"]


def signed_areas(
    first: Float[Array, "*pairs coordinate"], second: Float[Array, "*pairs coordinate"]
) -> Float[Array, "*pairs plane"]:
    """The signed area that both vectors span in every plane: ``v_aᵀ R v_b`` by blocks."""
    return first[..., 0::2] * second[..., 1::2] - first[..., 1::2] * second[..., 0::2]


def fit(key: PRNGKey, problem: Problem, config: Config) -> Params:
    """A and everybody's gates; ``key`` draws where A starts."""
    table = inputs(problem)
    num_users, num_inputs, size = problem.num_users, table.shape[1], 2 * config.num_planes
    total = jnp.sum(problem.rows.sample_weight)
    root = jnp.sqrt(config.temperature)

    def loss(params):
        kernel, bias, gates = params
        first, second = pick((table @ kernel + bias[None]) / root, problem.rows)
        areas = signed_areas(first, second)
        logit = jnp.sum(gates[problem.rows.user][:, None, :] * areas, axis=-1)
        ridge = config.penalty * sum_of_squares(kernel)
        ridge = ridge + config.gate_penalty * sum_of_squares(gates - 1)
        return mean_loss(logit, problem.rows) + 0.5 * ridge / total

    towards_one = jnp.tile(jnp.asarray([0.0, 1.0]), config.num_planes)
    start = jax.random.normal(key, (num_inputs, size)) / jnp.sqrt(num_inputs)
    kernel, bias, gates = adam(
        loss,
        (start, towards_one, jnp.ones((num_users, config.num_planes))),
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
    )
    kernel = kernel / root
    return Params(kernel, bias / root, population_mean(gates, problem), gates)


def _coordinates(params: Params, embedding: Float[Array, "*pairs input"]) -> jax.Array:
    linear = jnp.asarray(embedding @ params.kernel)
    return linear + jnp.broadcast_to(params.bias, linear.shape)


def adapt(params: Params, answers: Answers, config: Config) -> State:
    """Gates of a new person, exactly."""
    answers = clean(answers)
    areas = signed_areas(_coordinates(params, answers.first), _coordinates(params, answers.second))
    precision = config.gate_penalty * jnp.eye(len(params.center))
    return logistic.fit(
        areas, answers.label, answers.sample_weight, mean=params.center, precision=precision
    ).weights


def logit(params: Params, state: State, first: Input, second: Input, context: Context) -> Scalar:
    """``Σ_j g_j`` times the signed area in plane j."""
    return signed_areas(_coordinates(params, first), _coordinates(params, second)) @ state


GPM = Family(
    "gpm",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(penalty=(1.0, 10.0, 100.0, 1000.0), gate_penalty=(0.3, 1.0)),
)
