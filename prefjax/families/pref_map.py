"""PReF as published: joint MAP of people and base rewards, a zero-mean ridge for a new person.

    s = λ_u·(φ_a − φ_b) + t_a − t_b,    [φ, t] = eᵀθ
    θ, Λ = argmin Σ_r ℓ(s_r, y_r) + ½ ‖Λ‖² + penalty on θ,    λ̂ = argmin Σ ℓ + β/2 ‖λ‖²

Started at the leading singular vectors of the centered answers. The published code has no t of its
own: the mean of the training users' λ is lost in the zero-mean ridge; here it moves into t, so that
a person without answers is the population. It also starts from a dense SVD repeated on an
imputed matrix (`prefjax.basis.dense_imputation`) and refines an MLP head by Adam.

References:
    arXiv 2503.06358, eq. 4–5, Algorithm 1.
"""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp

from prefjax.basis import EMConfig, Problem, fit_block, heads
from prefjax.families import pref
from prefjax.families.answers import Answers
from prefjax.families.config import POSITIVE, FamilyConfig, Number, choice
from prefjax.families.contract import Family
from prefjax.types import Gaussian, Penalties, PRNGKey, RewardBasis


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: Prior precision of a response's base reward, per unit of λ.
        utility_penalty: The same of the shared utility.
        beta: β of a new person.
        em: J and how a fit runs.
    """

    penalty: Number = field(default=1.0, metadata=POSITIVE)
    utility_penalty: Number = field(default=0.1, metadata=POSITIVE)
    beta: Number = field(default=1.0, metadata=POSITIVE)
    em: EMConfig = choice(EMConfig())


def fit(key: PRNGKey, problem: Problem, config: Config) -> RewardBasis:
    """The basis by joint MAP with the ridge prior, φ and t taken as certain as in the paper.

    ``key`` only breaks ties in the start.
    """
    penalties = Penalties(config.penalty, config.utility_penalty, jnp.float32(0.0))
    problem = problem._replace(standardizer=None)
    basis, _, _ = fit_block(key, problem, penalties, config=config.em)
    eye = jnp.eye(config.em.num_factors)
    population = Gaussian(0 * eye[0], eye / config.beta)
    return basis._replace(params=heads.without_spread(basis.params), population=population)


def adapt(params: RewardBasis, answers: Answers, config: Config) -> Gaussian:
    """λ̂ of eq. 5; the posterior scale 0 of the basis takes it as certain."""
    return pref.adapt_map(params, answers)


def config_grid(config: Config) -> tuple[Config, ...]:
    """Penalty of the base rewards and β."""
    return tuple(
        replace(config, penalty=penalty, utility_penalty=0.1 * penalty, beta=beta)
        for penalty in (1.0, 10.0, 100.0, 1000.0)
        for beta in (1.0, 10.0)
    )


PREF_MAP = Family("pref-map", Config(), fit, adapt, pref.logit, config_grid)
