"""PReF, the default: the people are integrated out and the penalties are learned.

    s = λ_u·(φ_a − φ_b) + t_a − t_b,    [φ, t] = eᵀθ,    λ_u ~ N(0, Σ)

θ maximizes the marginal likelihood (or the joint one, where held-out training users say that people
answer with little noise) under penalties learned from held-out training users. A new person is the
variational Gaussian under the population prior: the logit is moderated by how uncertain it is,
without answers as after them.

Held-out training users are new to the fit, not to embeddings that were made from everybody's
answers: there they find their own answers again and the learned penalty is too weak. The grid
therefore has given penalties, to be chosen on people who did not make the embeddings.

The published method is `prefjax.families.pref_map`.

References:
    arXiv 2503.06358, eq. 1–5; `prefjax.basis.penalties` for what is learned and how.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from prefjax import logistic
from prefjax.basis import EMConfig, Problem, SearchConfig, apply, fit_block, search_utility
from prefjax.basis import fit as fit_default
from prefjax.families.answers import Answers, clean
from prefjax.families.config import POSITIVE, FamilyConfig, Number, choice, make_grid
from prefjax.families.contract import Family
from prefjax.families.shapes import Context, Input, Scalar
from prefjax.logistic import GaussianConfig, Solver
from prefjax.numerics import positive_inverse
from prefjax.person.inference import infer, predict
from prefjax.types import Gaussian, Penalties, PRNGKey, RewardBasis


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: τ of the factors at posterior scale 1; None learns it with the posterior scale.
        em: J and how a fit runs.
        search: Candidate penalties.
        solver: Posterior of a new person; a `NewtonConfig` is the MAP with its curvature.
    """

    penalty: Number | None = field(default=None, metadata=POSITIVE)
    em: EMConfig = choice(EMConfig())
    search: SearchConfig = choice(SearchConfig())
    solver: Solver = choice(GaussianConfig())  # noqa: RUF009 (frozen)


def fit(key: PRNGKey, problem: Problem, config: Config) -> RewardBasis:
    """The basis with penalties learned; ``key`` draws the held-out training users.

    Args:
        key: Seed of the held-out draws and of the start.
        problem: What is fitted; the basis is one of its standardized embeddings.
        config: Settings.
    """
    problem = problem._replace(standardizer=None)
    if config.penalty is None:
        basis, _, _ = fit_default(key, problem, config=config.em, search_config=config.search)
        return basis
    utility = search_utility(key, problem, config=config.em, search_config=config.search)
    penalties = Penalties(config.penalty, utility, jnp.float32(1.0))
    basis, _, _ = fit_block(key, problem, penalties, config=config.em)
    return basis


def adapt(params: RewardBasis, answers: Answers, config: Config) -> Gaussian:
    """N(m, S), what the answers say under the population."""
    return _adapt(params, answers, config.solver)


def adapt_map(params: RewardBasis, answers: Answers) -> Gaussian:
    """N(λ̂, H⁻¹), the MAP under the population and its curvature."""
    return _adapt(params, answers, logistic.DEFAULT)


def _adapt(params: RewardBasis, answers: Answers, solver: Solver) -> Gaussian:
    answers = clean(answers)
    gap = apply(params.params, answers.first).gap_to(apply(params.params, answers.second))
    settings = {"posterior_scale": params.posterior_scale, "config": solver}
    prior = params.population
    fitted = infer(gap, answers.label, answers.sample_weight, prior=prior, **settings)
    return Gaussian(fitted.weights, positive_inverse(fitted.hessian))


def logit(
    params: RewardBasis, state: Gaussian, first: Input, second: Input, context: Context
) -> Scalar:
    """``m / √(1 + πsv/8)``, ``m = λ·f + t_a − t_b``, ``v = fᵀSf``, s the posterior scale."""
    gap = apply(params.params, first).gap_to(apply(params.params, second))
    return predict(state, gap, params.posterior_scale)


PREF = Family(
    "pref",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(penalty=(4.0, 12.0, 36.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)),
)
