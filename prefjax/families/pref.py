"""PReF, the default: the people are integrated out and the strengths are learned.

    s = λ_u·(φ_a − φ_b) + t_a − t_b,    [φ, t] = eᵀθ,    λ_u ~ N(0, Σ)

θ maximizes the marginal likelihood (or the joint one, where held-out training users say that people
answer with little noise) under penalties learned from held-out training users. A new person is the
MAP under the population prior; without answers the shared utility t is all there is.

The published method is `prefjax.families.pref_map`.

References:
    arXiv 2503.06358, eq. 1–5; `prefjax.factorization.learn` for what is learned and how.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax import logistic
from prefjax.factorization import EMConfig, Factorization, LearnConfig, fit_learned
from prefjax.families.contract import STATIC, Answers, Data, Family, clean, no_alarms
from prefjax.types import Array, GaussianPrior, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        em: J and how a fit runs.
        learn: Candidate strengths.
    """

    em: EMConfig = field(default=EMConfig(), metadata=STATIC)
    learn: LearnConfig = field(default=LearnConfig(), metadata=STATIC)


class Params(NamedTuple):
    """Base rewards and the population.

    Attributes:
        head: θ, the last column gives t.
        prior: Of a new person's λ.
    """

    head: Float[Array, "input factor_and_utility"]
    prior: GaussianPrior


def to_params(fitted: Factorization) -> Params:
    """What is needed of a fit to predict."""
    return Params(head=fitted.head, prior=fitted.prior)


def fit(key: PRNGKey, data: Data, config: Config) -> Params:
    """θ and the prior, strengths learned; ``key`` draws the held-out training users."""
    fitted, _ = fit_learned(
        key,
        data.rows,
        data.embeddings,
        num_users=len(data.count),
        num_responses=len(data.embeddings),
        config=config.em,
        learn_config=config.learn,
    )
    return to_params(fitted)


def adapt(params: Params, answers: Answers, config: Config) -> Float[Array, " factor"]:
    """λ, the MAP under the prior."""
    answers = clean(answers)
    described = (answers.first - answers.second) @ params.head
    return logistic.fit(
        described[:, :-1],
        answers.label,
        answers.weight,
        prior=params.prior,
        offset=described[:, -1],
    ).weight


def logit(
    params: Params,
    state: Float[Array, " factor"],
    first: Float[Array, " input"],
    second: Float[Array, " input"],
    context: Float[Array, " context"],
) -> Float[Array, ""]:
    """``λ·(φ_a − φ_b) + t_a − t_b``."""
    return (first - second) @ params.head @ jnp.append(state, 1.0)


def trials(config: Config) -> tuple[Config, ...]:
    """One: the strengths are learned inside the fit, from training users alone."""
    return (config,)


PREF = Family("pref", Config(), fit, adapt, logit, no_alarms, trials)
