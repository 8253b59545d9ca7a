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

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.families import linear
from prefjax.families.contract import (
    STATIC,
    Answers,
    Family,
    Number,
    clean,
    population_mean,
)
from prefjax.families.descent import adam, inputs, mean_loss, pick
from prefjax.families.person import simplex_weights
from prefjax.settings import check_settings
from prefjax.types import Array, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config:
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

    penalty: Number = 0.3
    alignment: Number = 0.0
    temperature: Number = 1.0
    prior: Number = 1.0
    learning_rate: Number = 0.1
    num_basis: int = field(default=8, metadata=STATIC)
    num_steps: int = field(default=200, metadata=STATIC)

    def __post_init__(self):
        check_settings(self, "num_basis", "num_steps", positive=("temperature",))


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


def fit(key: PRNGKey, data: Problem, config: Config) -> Params:
    """V and everybody's w by Adam; ``key`` draws where V starts."""
    table = inputs(data)
    num_users, num_inputs = len(data.count), table.shape[1]
    reference = linear.population(data, config.penalty)
    by_user = data.rows.sample_weight / jnp.maximum(data.count, 1e-12)[data.rows.user][:, None]
    by_user = by_user / jnp.maximum(jnp.sum(data.count > 0), 1)
    total = jnp.sum(data.rows.sample_weight)

    def loss(params):
        basis, logits = params
        first, second = pick(table @ basis / config.temperature, data.rows)
        weight = jax.nn.softmax(logits)[data.rows.user][:, None, :]
        logit = jnp.sum(weight * (first - second), axis=-1)
        both = jnp.concatenate([basis, reference[:, None]], axis=1)
        aligned = jnp.mean(1 - _cosine(both)[-1, :-1])
        ridge = 0.5 * config.penalty / total * jnp.sum(jnp.square(basis))
        return mean_loss(logit, data.rows, by_user) + config.alignment * aligned + ridge

    noise = jax.random.normal(key, (num_inputs, config.num_basis))
    start = reference[:, None] + noise / jnp.sqrt(num_inputs)
    basis, logits = adam(
        loss,
        (start, jnp.zeros((num_users, config.num_basis))),
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
    )
    weight = jax.nn.softmax(logits)
    return Params(basis / config.temperature, weight, population_mean(weight, data))


def adapt(params: Params, answers: Answers, config: Config) -> Float[Array, " component"]:
    """Weights of a new person on the basis."""
    answers = clean(answers)
    features = (answers.first - answers.second) @ params.basis
    return simplex_weights(lambda w: features @ w, params.center, config.prior, answers)


def logit(
    params: Params,
    state: Float[Array, " component"],
    first: Float[Array, " input"],
    second: Float[Array, " input"],
    context: Float[Array, " context"],
) -> Float[Array, ""]:
    """``w·Vᵀ(e_a − e_b) / c``."""
    return (first - second) @ params.basis @ state


def alarms(params: Params, data: Problem, config: Config) -> dict[str, jax.Array]:
    """Collapse of the basis: effective rank near 1, or a largest cosine near 1."""
    values = jnp.linalg.svd(params.basis, compute_uv=False)
    share = jnp.square(values) / jnp.maximum(jnp.sum(jnp.square(values)), 1e-30)
    entropy = -jnp.sum(share * jnp.log(jnp.maximum(share, 1e-30)))
    apart = _cosine(params.basis) - 2 * jnp.eye(config.num_basis)
    return {"effective_rank": jnp.exp(entropy), "largest_cosine": jnp.max(apart)}


def trials(config: Config) -> tuple[Config, ...]:
    """Penalty of the basis and prior of a person."""
    return tuple(
        replace(config, penalty=penalty, prior=prior)
        for penalty in (0.03, 0.3, 3.0, 30.0)
        for prior in (0.3, 3.0)
    )


LORE = Family("lore", Config(), fit, adapt, logit, alarms, trials)
