"""Bradley–Terry among people some of whose answers are flipped.

    P(first) = ε + (1 − 2ε) σ(w·Δ),    ε ∈ [0, ½) learned with w

A confident reward pays a bounded price for a row that contradicts it, ``−log ε``, where
Bradley–Terry pays ``|s|`` and shrinks. The logit returned is that of the probability. Started at
Bradley–Terry and ε = .05, by Adam; the problem is not convex. With ε = 0 it is Bradley–Terry.

References:
    NBPO, arXiv 2006.16716, whose released code was not at hand. The model is older: Bootkrajang and
    Kaban (2012), Label-noise robust logistic regression.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.families import linear
from prefjax.families.answers import Answers
from prefjax.families.config import POSITIVE, FamilyConfig, Number, integer, make_grid
from prefjax.families.contract import Family
from prefjax.families.descent import adam, mean_loss
from prefjax.families.shapes import Context, Input, Scalar
from prefjax.types import Array, PRNGKey

START = 0.05
"""ε at the start."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: Prior precision of one response's reward.
        learning_rate: Of Adam.
        num_steps: Of Adam.
    """

    penalty: Number = field(default=10.0, metadata=POSITIVE)
    learning_rate: Number = 0.05
    num_steps: int = integer(300)


class Params(NamedTuple):
    """w and ε."""

    weights: Float[Array, " input"]
    flip: Scalar


def noisy_logit(score: Float[Array, "*row"], flip: Scalar) -> Float[Array, "*row"]:
    """Log odds of ``ε + (1 − 2ε) σ(s)``, finite for any s.

    Args:
        score: s.
        flip: ε.
    """
    upper = jnp.logaddexp(jnp.log1p(-flip) + jax.nn.log_sigmoid(score), _log(flip, -score))
    lower = jnp.logaddexp(jnp.log1p(-flip) + jax.nn.log_sigmoid(-score), _log(flip, score))
    return upper - lower


def _log(flip, score):
    return jnp.log(jnp.maximum(flip, 1e-30)) + jax.nn.log_sigmoid(score)


def fit(key: PRNGKey, problem: Problem, config: Config) -> Params:
    """W and ε from Bradley–Terry's w; ``key`` is not used."""
    gap, rows = linear.gaps(problem), problem.rows
    total = jnp.sum(rows.sample_weight)

    def flip_of(raw: Scalar) -> Scalar:
        return 0.5 * jax.nn.sigmoid(raw)

    def loss(point: tuple[Float[Array, " input"], Scalar]) -> Scalar:
        weights, raw = point
        logit = noisy_logit((gap @ weights).reshape(rows.label.shape), flip_of(raw))
        ridge = 0.5 * config.penalty / total * jnp.sum(jnp.square(weights))
        return mean_loss(logit, rows) + ridge

    share = 2 * START
    start = linear.population(problem, config.penalty), jnp.log(share / (1 - share))
    settings = {"num_steps": config.num_steps, "learning_rate": config.learning_rate}
    weights, raw = adam(loss, start, **settings)
    return Params(weights, flip_of(raw))


def adapt(params: Params, answers: Answers, config: Config) -> tuple[()]:
    """Nothing is learned of a person."""
    return ()


def logit(
    params: Params, state: tuple[()], first: Input, second: Input, context: Context
) -> Scalar:
    """Log odds of the module's probability."""
    return noisy_logit((first - second) @ params.weights, params.flip)


FLIP_NOISE = Family(
    "flip-noise",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(penalty=(0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)),
)
