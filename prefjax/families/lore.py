"""LoRe: every person is a convex mixture of a few rewards.

    s = w_u·Vᵀ(e_a − e_b) / c,    w_u = softmax(ω_u) ∈ Δ^B
    min  mean_u mean_r ℓ + α mean_b (1 − cos(V_b, v)) + τ/2N ‖V‖²

v is the Bradley–Terry fit. A new person's w minimizes Σ ℓ + κ KL(w ‖ w̄) with V frozen; w̄, the mean
of the training people, is who answers nothing. Weights cannot be negative: unless V holds a reward
and its reverse, nobody can reverse one.

The published code takes v from a reward model trained elsewhere, has no ridge and no prior of w,
draws V and w at random, and stops a new person's w after a fixed number of Adam steps. B = 1 with
α = 0 is Bradley–Terry.

References:
    arXiv 2504.14439, eq. 3–5.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.families import linear
from prefjax.families.answers import Answers, clean
from prefjax.families.config import POSITIVE, FamilyConfig, Number, integer, make_grid
from prefjax.families.contract import Family
from prefjax.families.descent import adam, inputs, mean_loss, pick, sum_of_squares
from prefjax.families.person import simplex_weights
from prefjax.families.population import population_mean
from prefjax.families.shapes import Context, Input, Scalar, State
from prefjax.types import Array, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: τ, the prior precision of one response's reward under a basis reward.
        alignment: α.
        temperature: c.
        prior: κ, in answers.
        learning_rate: Of Adam.
        num_basis: B.
        num_steps: Of Adam.
    """

    penalty: Number = field(default=0.3, metadata=POSITIVE)
    alignment: Number = 0.0
    temperature: Number = field(default=1.0, metadata=POSITIVE)
    prior: Number = field(default=1.0, metadata=POSITIVE)
    learning_rate: Number = 0.1
    num_basis: int = integer(8)
    num_steps: int = integer(200)


class Params(NamedTuple):
    """Basis and population.

    Attributes:
        basis: V, divided by c.
        weights: w of every training person.
        center: w̄.
    """

    basis: Float[Array, "input component"]
    weights: Float[Array, "user component"]
    center: Float[Array, " component"]


def _cosine(columns: Float[Array, "input component"]) -> Float[Array, "component component"]:
    unit = columns / jnp.maximum(jnp.linalg.norm(columns, axis=0, keepdims=True), 1e-12)
    return unit.T @ unit


def fit(key: PRNGKey, problem: Problem, config: Config) -> Params:
    """V and everybody's w by Adam; ``key`` draws where V starts."""
    table = inputs(problem)
    num_users, num_inputs = problem.num_users, table.shape[1]
    reference = linear.population(problem, config.penalty)
    by_user = (
        problem.rows.sample_weight / jnp.maximum(problem.count, 1e-12)[problem.rows.user][:, None]
    )
    by_user = by_user / jnp.maximum(jnp.sum(problem.count > 0), 1)
    total = jnp.sum(problem.rows.sample_weight)

    def loss(params):
        basis, logits = params
        first, second = pick(table @ basis / config.temperature, problem.rows)
        weight = jax.nn.softmax(logits)[problem.rows.user][:, None, :]
        logit = jnp.sum(weight * (first - second), axis=-1)
        both = jnp.concatenate([basis, reference[:, None]], axis=1)
        aligned = jnp.mean(1 - _cosine(both)[-1, :-1])
        ridge = 0.5 * config.penalty / total * sum_of_squares(basis)
        return mean_loss(logit, problem.rows, by_user) + config.alignment * aligned + ridge

    noise = jax.random.normal(key, (num_inputs, config.num_basis))
    start = reference[:, None] + noise / jnp.sqrt(num_inputs)
    basis, logits = adam(
        loss,
        (start, jnp.zeros((num_users, config.num_basis))),
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
    )
    weight = jax.nn.softmax(logits)
    return Params(basis / config.temperature, weight, population_mean(weight, problem))


def adapt(params: Params, answers: Answers, config: Config) -> State:
    """Weights of a new person on the basis."""
    answers = clean(answers)
    features = (answers.first - answers.second) @ params.basis
    return simplex_weights(lambda w: features @ w, params.center, config.prior, answers)


def logit(params: Params, state: State, first: Input, second: Input, context: Context) -> Scalar:
    """``w·Vᵀ(e_a − e_b) / c``."""
    return (first - second) @ params.basis @ state


def diagnostics(params: Params, problem: Problem, config: Config) -> dict[str, jax.Array]:
    """Collapse of the basis: effective rank near 1, or a largest cosine near 1."""
    values = jnp.linalg.svd(params.basis, compute_uv=False)
    share = jnp.square(values) / jnp.maximum(jnp.sum(jnp.square(values)), 1e-30)
    entropy = -jnp.sum(share * jnp.log(jnp.maximum(share, 1e-30)))
    apart = _cosine(params.basis) - 2 * jnp.eye(config.num_basis)
    return {"effective_rank": jnp.exp(entropy), "largest_cosine": jnp.max(apart)}


LORE = Family(
    "lore",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(penalty=(0.03, 0.3, 3.0, 30.0), prior=(0.3, 3.0)),
    diagnostics,
)
