"""PReF, the default: the people are integrated out and the strengths are learned.

    s = λ_u·(φ_a − φ_b) + t_a − t_b,    [φ, t] = eᵀθ,    λ_u ~ N(0, Σ)

θ maximizes the marginal likelihood (or the joint one, where held-out training users say that people
answer with little noise) under penalties learned from held-out training users. A new person is the
MAP under the population prior, with its Laplace covariance: the logit is moderated by how uncertain
it is, without answers as after them.

Held-out training users are new to the fit, not to embeddings that were made from everybody's
answers: there they find their own answers again and the learned penalty is too weak. The trials
are therefore given penalties, to be chosen on people who did not make the embeddings.

The published method is `prefjax.families.pref_map`.

References:
    arXiv 2503.06358, eq. 1–5; `prefjax.basis.penalties` for what is learned and how.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax import logistic
from prefjax.basis import (
    EMConfig,
    Factorization,
    LearnConfig,
    Strength,
    fit_block,
    search_penalties,
)
from prefjax.basis import fit as fit_default
from prefjax.families.contract import (
    STATIC,
    Answers,
    Data,
    Family,
    Number,
    clean,
    no_alarms,
)
from prefjax.numerics import positive_inverse
from prefjax.person.laplace import moderated_logit
from prefjax.settings import check_settings
from prefjax.types import Array, GaussianPrior, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        penalty: τ of the factors at temperature 1; None learns it with the temperature.
        em: J and how a fit runs.
        learn: Candidate strengths.
    """

    penalty: Number | None = None
    em: EMConfig = field(default=EMConfig(), metadata=STATIC)
    learn: LearnConfig = field(default=LearnConfig(), metadata=STATIC)

    def __post_init__(self):
        check_settings(self)


class Params(NamedTuple):
    """Base rewards and the population.

    Attributes:
        head: θ, the last column gives t.
        prior: Of a new person's λ.
    """

    head: Float[Array, "input factor_and_utility"]
    prior: GaussianPrior


class Belief(NamedTuple):
    """What is known of one person.

    Attributes:
        weights: λ, the MAP.
        covariance: H⁻¹ there.
    """

    weights: Float[Array, " factor"]
    covariance: Float[Array, "factor factor"]


def to_params(fitted: Factorization) -> Params:
    """What is needed of a fit to predict."""
    return Params(head=fitted.head, prior=fitted.prior)


def fit(key: PRNGKey, data: Data, config: Config) -> Params:
    """θ and the prior, strengths learned; ``key`` draws the held-out training users."""
    shape = {"num_users": len(data.count), "num_responses": len(data.embeddings)}
    if config.penalty is None:
        fitted, _ = fit_default(
            key,
            data.rows,
            data.embeddings,
            unit=data.unit,
            config=config.em,
            learn_config=config.learn,
            **shape,
        )
        return to_params(fitted)
    search_key, fit_key = jax.random.split(key)
    found = search_penalties(
        search_key,
        data.rows,
        data.embeddings,
        unit=data.unit,
        config=config.em,
        learn_config=replace(config.learn, penalties=(1.0,), temperatures=(1.0,)),
        **shape,
    )
    strength = Strength(
        jnp.float32(config.penalty), found.strength.utility_penalty[0], jnp.ones(())
    )
    fitted = fit_block(fit_key, data.rows, data.embeddings, strength, config=config.em, **shape)
    return to_params(fitted)


def adapt(params: Params, answers: Answers, config: Config) -> Belief:
    """λ, the MAP under the prior, and how far it may be off."""
    answers = clean(answers)
    described = (answers.first - answers.second) @ params.head
    fitted = logistic.fit(
        described[:, :-1],
        answers.label,
        answers.sample_weight,
        prior=params.prior,
        offset=described[:, -1],
    )
    return Belief(fitted.weights, positive_inverse(fitted.hessian))


def logit(
    params: Params,
    state: Belief,
    first: Float[Array, " input"],
    second: Float[Array, " input"],
    context: Float[Array, " context"],
) -> Float[Array, ""]:
    """``m / √(1 + πv/8)``, ``m = λ·f + t_a − t_b``, ``v = fᵀH⁻¹f``, ``f = φ_a − φ_b``."""
    described = (first - second) @ params.head
    features = described[:-1]
    mean = features @ state.weights + described[-1]
    return moderated_logit(mean, features @ state.covariance @ features)


def trials(config: Config) -> tuple[Config, ...]:
    """Eight given penalties, the last of which leave hardly anything personal."""
    given = (4.0, 12.0, 36.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
    return tuple(replace(config, penalty=penalty) for penalty in given)


PREF = Family("pref", Config(), fit, adapt, logit, no_alarms, trials)
