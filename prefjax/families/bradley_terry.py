"""Bradley–Terry: one reward for everybody, "classic RLHF".

    s = w·(e_a − e_b),    w = argmin Σ_r ℓ(s_r, y_r) + τ/2 ‖w‖²

Nothing is learned of a person. The convex problem is solved by Newton steps to its optimum; the
published reward models take an epoch of Adam on a whole language model instead.

References:
    Bradley and Terry (1952). Christiano et al. (arXiv 1706.03741), eq. 1.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.families import linear
from prefjax.families.contract import Answers, Family, Number, no_alarms
from prefjax.settings import check_settings
from prefjax.types import Array, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        penalty: τ, the prior precision of one response's reward.
    """

    penalty: Number = 10.0

    def __post_init__(self):
        check_settings(self)


class Params(NamedTuple):
    """w."""

    weights: Float[Array, " input"]


def fit(key: PRNGKey, data: Problem, config: Config) -> Params:
    """The optimum of the module's equation; ``key`` is not used."""
    return Params(linear.population(data, config.penalty))


def adapt(params: Params, answers: Answers, config: Config) -> tuple[()]:
    """Nothing is learned of a person."""
    return ()


def logit(
    params: Params,
    state: tuple[()],
    first: Float[Array, " input"],
    second: Float[Array, " input"],
    context: Float[Array, " context"],
) -> Float[Array, ""]:
    """``w·(e_a − e_b)``."""
    return (first - second) @ params.weights


def trials(config: Config) -> tuple[Config, ...]:
    """Penalties over four decades."""
    return tuple(
        replace(config, penalty=penalty)
        for penalty in (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    )


BRADLEY_TERRY = Family("bradley-terry", Config(), fit, adapt, logit, no_alarms, trials)
