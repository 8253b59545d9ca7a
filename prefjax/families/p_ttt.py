"""P-TTT: one gradient step for a new person, in directions that were learned for it.

    s = w·Δ + (Σ_i c_i y_i KΔ_i)·KΔ,    y ∈ [−1, 1],  Δ = e_a − e_b

with c the weight of an answer. From weights 0 in the base rewards φ(e) = Ke, where every logit is
0, one step of length 2 down the logistic loss of the answers leads there: `prefjax.families.pref`
goes on to the optimum, and knows a population. The rate η of the publication is part of K here. w
is Bradley–Terry's; K is learned by Adam so that the step from a random part of a person's answers
predicts the others.

Where embeddings are made of everybody's answers, training people find their own again, K is learned
too long, and new people are worse off for the step. The grid therefore has strong penalties of K,
to be chosen on people who did not make the embeddings; under the last one no step is left.

The publication takes the step in a layer on top of a language model that is trained along; its code
was not at hand.

References:
    arXiv 2609.35109.
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
    sum_of_squares,
)
from prefjax.families.shapes import Context, Input, Scalar, State
from prefjax.numerics import softplus_loss
from prefjax.types import Array, PRNGKey

NO_STEP = 1e8
"""Penalty of K under which it vanishes and a person stays the population."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: Prior precision of one response's shared reward.
        step_penalty: The same of K.
        learning_rate: Of Adam.
        size: Rows of K.
        context: Longest list of answers in training.
        targets: Most answers that are predicted from it.
        num_steps: Of Adam.
        batch: People a step.
    """

    penalty: Number = 10.0
    step_penalty: Number = 1.0
    learning_rate: Number = 0.01
    size: int = integer(8)
    context: int = integer(24)
    targets: int = integer(24)
    num_steps: int = integer(600)
    batch: int = integer(32)


class Params(NamedTuple):
    """w and K, of standardized embeddings."""

    weights: Float[Array, " input"]
    step: Float[Array, "size input"]


def moved(
    step: Float[Array, "size input"],
    first: Float[Array, "pair input"],
    second: Float[Array, "pair input"],
    label: Float[Array, " pair"],
    sample_weight: Float[Array, " pair"],
) -> Float[Array, " size"]:
    """Σ c y KΔ: weights after one step.

    Args:
        step: K.
        first: Embeddings of the first responses.
        second: Embeddings of the second responses.
        label: Probability that the first is preferred.
        sample_weight: c.
    """
    return step @ ((sample_weight * (2 * label - 1)) @ (first - second))


def fit(key: PRNGKey, problem: Problem, config: Config) -> Params:
    """K by Adam beside Bradley–Terry's w; ``key`` draws the start and what is asked."""
    table, total = inputs(problem), jnp.sum(problem.rows.sample_weight)
    shared = linear.population(problem, config.penalty)
    start_key, order_key, step_key = jax.random.split(key, 3)
    index = shuffle_rows(order_key, problem, NUM_ORDERS)

    def one(step, key):
        row_key, size_key = jax.random.split(key)
        rows = sample_batch(row_key, index, problem, table, config.context + config.targets)
        given, target = divide_answers(size_key, rows.sample_weight, config.context)
        weights = moved(step, rows.first, rows.second, rows.label, given)
        gap = rows.first - rows.second
        logit = gap @ shared + (gap @ step.T) @ weights
        return target @ softplus_loss(logit, rows.label), jnp.sum(target)

    def loss(step, key, progress):
        losses, count = jax.vmap(one, in_axes=(None, 0))(step, jax.random.split(key, config.batch))
        squares = sum_of_squares(step)
        return jnp.sum(losses) / jnp.maximum(jnp.sum(count), 1e-12) + (
            0.5 * config.step_penalty / total * squares
        )

    width = table.shape[1]
    start = jax.random.normal(start_key, (config.size, width)) * (0.3 / jnp.sqrt(width))
    settings = {"num_steps": config.num_steps, "learning_rate": config.learning_rate}
    return Params(shared, adam(loss, start, key=step_key, **settings))


def adapt(params: Params, answers: Answers, config: Config) -> State:
    """Weights of a new person after one step; 0 without answers."""
    answers = clean(answers)
    parts = answers.first, answers.second, answers.label, answers.sample_weight
    return moved(params.step, *parts)


def logit(params: Params, state: State, first: Input, second: Input, context: Context) -> Scalar:
    """The module's equation."""
    gap = first - second
    return gap @ params.weights + (params.step @ gap) @ state


P_TTT = Family(
    "p-ttt",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(step_penalty=(1.0, 100.0, 3e3, NO_STEP), penalty=(3.0, 30.0)),
)
