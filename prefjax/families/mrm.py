"""MRM: a start of everybody's weights from which one step on a person's answers goes far.

    s = w·Vᵀ(e_a − e_b),    w = softmax(ω) ∈ Δ^B
    ω_u = ω₀ − η/(κ + Σ_i c_i) Σ_i c_i ∇_ω ℓ(s_i, y_i) at ω₀

with c the weight of an answer. V and ω₀ are learned through the step, by Adam: the answers to a
random part of a person's questions make ω_u, which predicts the others,

    min  Σ_u a_u Σ_t c_t ℓ(s_t(ω_u), y_t) / Σ_u a_u Σ_t c_t + τ/2N Σ_b w₀_b ‖V_b‖²
    a_u = 1 + ρ σ((L_u − L̃)/h),    L_u the mean loss of u,  L̃ its median over the people of a batch

so that the worst half of people counts up to 1 + ρ times; ρ = 0 turns this off. Who answers nothing
is ω₀. It is `prefjax.families.lore` with B = 2, where what is shared is trained for the step
instead of for the optimum of everybody's own w. With η = 0 it is Bradley–Terry, for any ω₀.

The released evaluation moves a weight by at most .0005, so that what is personal there is nearly
what is global; a new person here takes the step of the training. A rate that falls with the number
of answers (κ), the smooth form of a, and the ridge are ours.

References:
    arXiv 2601.18731. Finn et al. (arXiv 1703.03400), learning through a step.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.families import linear
from prefjax.families.answers import Answers, clean
from prefjax.families.config import FamilyConfig, Number, integer, make_grid
from prefjax.families.contract import Family
from prefjax.families.descent import (
    NUM_ORDERS,
    adam,
    divide_answers,
    inputs,
    sample_batch,
    shuffle_rows,
)
from prefjax.families.shapes import Context, Input, Scalar, State
from prefjax.numerics import softplus_loss
from prefjax.types import Array, PRNGKey

SOFTNESS = 0.1
"""h, in nats."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: τ, the prior precision of one response's reward under a basis reward.
        rate: η; at 0 nothing is learned of a person.
        prior: κ, in answers.
        robustness: ρ.
        learning_rate: Of Adam.
        num_basis: B.
        inner_steps: Steps on a person's answers, each from where the last one led.
        context: Longest list of answers in training.
        targets: Most answers that are predicted from it.
        num_steps: Of Adam.
        batch: People a step.
    """

    penalty: Number = 3.0
    rate: Number = 30.0
    prior: Number = 5.0
    robustness: Number = 1.0
    learning_rate: Number = 0.02
    num_basis: int = integer(2)
    inner_steps: int = integer(1)
    context: int = integer(24)
    targets: int = integer(24)
    num_steps: int = integer(600)
    batch: int = integer(32)


class Params(NamedTuple):
    """What is shared.

    Attributes:
        basis: V, of standardized embeddings.
        start: ω₀.
    """

    basis: Float[Array, "input component"]
    start: Float[Array, " component"]


def moved(
    start: Float[Array, " component"],
    features: Float[Array, "pair component"],
    label: Float[Array, " pair"],
    sample_weight: Float[Array, " pair"],
    config: Config,
) -> Float[Array, " component"]:
    """ω after the steps on some answers; exactly ω₀ where all weights are 0.

    Args:
        start: ω₀.
        features: VᵀΔ of every answered pair.
        label: Probability that the first is preferred.
        sample_weight: c.
        config: η, κ and the number of steps.
    """

    def loss(code):
        return sample_weight @ softplus_loss(features @ jax.nn.softmax(code), label)

    rate = config.rate / jnp.maximum(config.prior + jnp.sum(sample_weight), 1e-12)
    code = start
    for _ in range(config.inner_steps):
        code = code - rate * jax.grad(loss)(code)
    return code


def emphasis(
    losses: Float[Array, " person"], count: Float[Array, " person"], robustness: Number
) -> Float[Array, " person"]:
    """a: everybody's weight in the loss of a batch, a constant to its gradient.

    Args:
        losses: Summed loss of everybody's targets, in nats.
        count: Summed weight of these targets.
        robustness: ρ.
    """
    mean = losses / jnp.maximum(count, 1e-12)
    worse = jax.nn.sigmoid((mean - jnp.median(mean)) / SOFTNESS)
    return jax.lax.stop_gradient(1 + robustness * worse)


def fit(key: PRNGKey, problem: Problem, config: Config) -> Params:
    """V and ω₀ through the step, from Bradley–Terry; ``key`` draws the start and what is asked."""
    table, total = inputs(problem), jnp.sum(problem.rows.sample_weight)
    start_key, order_key, step_key = jax.random.split(key, 3)
    index = shuffle_rows(order_key, problem, NUM_ORDERS)

    def one(params, key):
        row_key, size_key = jax.random.split(key)
        rows = sample_batch(row_key, index, problem, table, config.context + config.targets)
        given, target = divide_answers(size_key, rows.sample_weight, config.context)
        features = (rows.first - rows.second) @ params.basis
        code = moved(params.start, features, rows.label, given, config)
        loss = softplus_loss(features @ jax.nn.softmax(code), rows.label)
        return target @ loss, jnp.sum(target)

    def loss(params, key, progress):
        keys = jax.random.split(key, config.batch)
        losses, count = jax.vmap(one, in_axes=(None, 0))(params, keys)
        share = emphasis(losses, count, config.robustness)
        squares = jnp.sum(jnp.square(params.basis), axis=0) @ jax.nn.softmax(params.start)
        ridge = 0.5 * config.penalty / total * squares
        return share @ losses / jnp.maximum(share @ count, 1e-12) + ridge

    shared = linear.population(problem, config.penalty)
    noise = jax.random.normal(start_key, (len(shared), config.num_basis))
    basis = shared[:, None] + noise / jnp.sqrt(len(shared))
    start = Params(basis, jnp.zeros(config.num_basis))
    settings = {"num_steps": config.num_steps, "learning_rate": config.learning_rate}
    return adam(loss, start, key=step_key, **settings)


def adapt(params: Params, answers: Answers, config: Config) -> State:
    """ω of a new person."""
    answers = clean(answers)
    features = (answers.first - answers.second) @ params.basis
    return moved(params.start, features, answers.label, answers.sample_weight, config)


def logit(params: Params, state: State, first: Input, second: Input, context: Context) -> Scalar:
    """``softmax(ω)·Vᵀ(e_a − e_b)``."""
    return (first - second) @ params.basis @ jax.nn.softmax(state)


MRM = Family(
    "mrm",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(rate=(30.0, 0.0), penalty=(1.0, 5.0, 25.0, 100.0)),
)
