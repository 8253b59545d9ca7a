"""Personal temperature: one reward for everybody, and how sharply each person, or judge, chooses.

    s = e^{b_u} w·Δ,    b_u ~ N(m, v)

w is Bradley–Terry's. m and v are learned from all people (expectation–maximization on a grid of b,
so that nothing is approximated but the integral), and a new person's b is its mean given the
answers: the scale of a judge who said little is the pooled one. The order of responses is
Bradley–Terry's by construction; only log loss and calibration can gain. With v = 0 and m = 0 it is
Bradley–Terry.

References:
    PEBS, personal temperatures of reward models; its code was not at hand.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.basis import rows as layout
from prefjax.families import linear
from prefjax.families.answers import Answers, clean
from prefjax.families.config import POSITIVE, FamilyConfig, Number, make_grid
from prefjax.families.contract import Family
from prefjax.families.shapes import Context, Input, Scalar
from prefjax.numerics import softplus_loss
from prefjax.types import Array, PRNGKey

GRID = np.linspace(-3.0, 3.0, 41)
"""b between which posteriors are summed; e³ is 20."""
NUM_ROUNDS = 40
LEAST_VARIANCE = 1e-3


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: Prior precision of one response's reward.
    """

    penalty: Number = field(default=10.0, metadata=POSITIVE)


class Params(NamedTuple):
    """w, m and v."""

    weights: Float[Array, " input"]
    mean: Scalar
    variance: Scalar


def posterior(
    loss: Float[Array, "*user node"], mean: Scalar, variance: Scalar
) -> Float[Array, "*user node"]:
    """Probability of each b of the grid.

    Args:
        loss: Of what a person said, at each b, in nats.
        mean: m.
        variance: v.
    """
    prior = jnp.square(jnp.asarray(GRID, loss.dtype) - mean) / (2 * variance)
    lead = (1,) * (loss.ndim - 1)
    return jax.nn.softmax(-loss - prior.reshape(*lead, -1), axis=-1)


def fit(key: PRNGKey, problem: Problem, config: Config) -> Params:
    """w, then m and v; ``key`` is not used."""
    weights = linear.population(problem, config.penalty)
    rows = problem.rows
    logit = layout.feature_gap(linear.embeddings(problem) @ weights[:, None], rows)[..., 0]
    label = jnp.where(rows.sample_weight > 0, rows.label, 0.5)

    def at(node: Scalar) -> Float[Array, " user"]:
        loss = jnp.sum(rows.sample_weight * softplus_loss(jnp.exp(node) * logit, label), axis=1)
        return layout.sum_by_user(loss, rows, problem.num_users)

    losses = jax.lax.map(at, jnp.asarray(GRID, logit.dtype)).T
    share = layout.user_shares(rows, problem.num_users)

    def round_of(_, prior):
        belief = share @ posterior(losses, *prior)
        mean = belief @ GRID
        return mean, jnp.maximum(belief @ jnp.square(GRID - mean), LEAST_VARIANCE)

    start = jnp.zeros((), logit.dtype), jnp.full((), 0.25, logit.dtype)
    return Params(weights, *jax.lax.fori_loop(0, NUM_ROUNDS, round_of, start))


def adapt(params: Params, answers: Answers, config: Config) -> Scalar:
    """Exponential of the mean of b given the answers; of m without."""
    answers = clean(answers)
    logit = (answers.first - answers.second) @ params.weights
    scaled = jnp.exp(jnp.asarray(GRID, logit.dtype))[:, None] * logit[None, :]
    label = jnp.broadcast_to(answers.label, scaled.shape)
    loss = softplus_loss(scaled, label) @ answers.sample_weight
    belief = posterior(loss, params.mean, params.variance) @ GRID
    return jnp.exp(jnp.where(jnp.any(answers.sample_weight > 0), belief, params.mean))


def logit(params: Params, state: Scalar, first: Input, second: Input, context: Context) -> Scalar:
    """``e^b w·(e_a − e_b)``."""
    return state * ((first - second) @ params.weights)


TEMPERATURE = Family(
    "temperature",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(penalty=(0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)),
)
