"""Bradley–Terry: one reward for everybody, "classic RLHF".

    s = w·(e_a − e_b),    w = argmin Σ_r ℓ(s_r, y_r) + τ/2 ‖w‖²

Nothing is learned of a person. The convex problem is solved by Newton steps to its optimum; the
published reward models take an epoch of Adam on a whole language model instead.

References:
    Bradley and Terry (1952). Christiano et al. (arXiv 1706.03741), eq. 1.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.families import linear
from prefjax.families.answers import Answers
from prefjax.families.config import POSITIVE, FamilyConfig, Number, make_grid
from prefjax.families.contract import Family
from prefjax.families.shapes import Context, Input, Scalar
from prefjax.types import Array, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: τ, the prior precision of one response's reward.
    """

    penalty: Number = field(default=10.0, metadata=POSITIVE)


class Params(NamedTuple):
    """w."""

    weights: Float[Array, " input"]


def fit(key: PRNGKey, problem: Problem, config: Config) -> Params:
    """The optimum of the module's equation; ``key`` is not used."""
    return Params(linear.population(problem, config.penalty))


def adapt(params: Params, answers: Answers, config: Config) -> tuple[()]:
    """Nothing is learned of a person."""
    return ()


def logit(
    params: Params, state: tuple[()], first: Input, second: Input, context: Context
) -> Scalar:
    """``w·(e_a − e_b)``."""
    return (first - second) @ params.weights


BRADLEY_TERRY = Family(
    "bradley-terry",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(penalty=(0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)),
)
