"""Per-user: everybody alone, a ridge logistic regression over the embedding.

    s = w_u·(e_a − e_b),    w_u = argmin Σ_r ℓ(s_r, y_r) + τ/2 ‖w_u − v‖²

From scratch v = 0 and nothing is borrowed from other people: without answers s = 0. Around the
population v is the Bradley–Terry reward of everybody else, the simplest personal model there is.
With fewer answers than inputs the solve is done in the span of the answers, which is exact.

The paper trains its reward network anew on one person's answers, by gradient descent. A ridge has
one minimum, which is found exactly, and its strength is chosen like that of every other family.

References:
    arXiv 2503.06358, section 5 and Fig. 11 (the baseline without a shared basis).
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax import logistic
from prefjax.basis import Problem
from prefjax.families import linear
from prefjax.families.answers import Answers, clean
from prefjax.families.config import POSITIVE, FamilyConfig, Number, choice, make_grid
from prefjax.families.contract import Family
from prefjax.families.shapes import Context, Input, Scalar, State
from prefjax.types import Array, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: τ, the prior precision of one response's reward.
        around: What a person without answers is.
        population_penalty: τ of the population's reward.
    """

    penalty: Number = field(default=1.0, metadata=POSITIVE)
    population_penalty: Number = field(default=10.0, metadata=POSITIVE)
    around: Literal["zero", "population"] = choice("zero")


class Params(NamedTuple):
    """The prior of everybody.

    Attributes:
        center: v.
        precision: τ in units of the embeddings.
    """

    center: Float[Array, " input"]
    precision: Float[Array, ""]


def fit(key: PRNGKey, problem: Problem, config: Config) -> Params:
    """The prior; ``key`` is not used."""
    center = jnp.zeros(linear.embeddings(problem).shape[1])
    if config.around == "population":
        center = linear.population(problem, config.population_penalty)
    return Params(center=center, precision=jnp.asarray(config.penalty))


def adapt(params: Params, answers: Answers, config: Config) -> State:
    """w_u, exactly."""
    answers = clean(answers)
    gap = answers.first - answers.second
    basis, features = None, gap
    if gap.shape[0] < gap.shape[1]:
        basis, triangle = jnp.linalg.qr(gap.T)
        features = triangle.T
    size = features.shape[1]
    moved = logistic.fit(
        features,
        answers.label,
        answers.sample_weight,
        mean=jnp.zeros(size),
        precision=params.precision * jnp.eye(size),
        offset=gap @ params.center,
    ).weights
    return params.center + (moved if basis is None else basis @ moved)


def logit(params: Params, state: State, first: Input, second: Input, context: Context) -> Scalar:
    """``w_u·(e_a − e_b)``."""
    return (first - second) @ state


PER_USER = Family(
    "per-user",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(penalty=(0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)),
)
