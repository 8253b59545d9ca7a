"""Containers of the factorization: settings, strengths, the state of a fit and its result."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from jaxtyping import Bool, Float, Int

from prefjax.settings import check_settings
from prefjax.types import Array, GaussianPrior, Items
from prefjax.variational import Bound

Embeddings: TypeAlias = Float[Array, "response input"] | None
"""Embeddings of all responses, or None for free factors (one row of θ for each response)."""


@dataclass(frozen=True)
class EMConfig:
    """Settings of one fit.

    Attributes:
        num_factors: J.
        bound: The row expectation; ``jaakkola`` is closed form, ``quadrature`` exact.
        max_steps: Most E–M rounds.
        tolerance: Stop when a round gains less than this, per unit of row weight.
        user_steps: E-steps a round.
        solve_steps: Conjugate gradient steps in an M-step.
        damping: ρ of the E-step and the first step size of the M-step under ``quadrature``.

    Raises:
        ValueError: If a number of factors or steps is below 1, or another number negative or not
            finite.
    """

    num_factors: int = 6
    bound: Bound = "jaakkola"
    max_steps: int = 60
    tolerance: float = 2e-5
    user_steps: int = 2
    solve_steps: int = 6
    damping: float = 0.7

    def __post_init__(self):
        check_settings(self, "num_factors", "max_steps", "user_steps", "solve_steps")


DEFAULT = EMConfig()


class Strength(NamedTuple):
    """What is learned from held-out answers; arrays, so that one program fits them all.

    Attributes:
        penalty: τ of the factors.
        utility_penalty: τ of the shared utility.
        temperature: 1 integrates users out, 0 is joint MAP.
    """

    penalty: Float[Array, ""]
    utility_penalty: Float[Array, ""]
    temperature: Float[Array, ""]


class EMState(NamedTuple):
    """θ and the posterior of every user."""

    head: Float[Array, "input factor_and_utility"]
    mean: Float[Array, "user factor"]
    covariance: Float[Array, "user factor factor"]
    objective: Float[Array, ""]
    gain: Float[Array, ""]
    num_steps: Int[Array, ""]


class Factorization(NamedTuple):
    """A fitted factorization, in the gauge where training users have mean 0.

    Attributes:
        items: φ and t of every response.
        head: θ, embeddings (or response indicators) → [φ, t].
        weights: Posterior mean of every training user's weights.
        covariance: Their posterior covariance.
        prior: The population, for new users; mean exactly zero.
        objective: The penalized bound, in nats.
        num_steps: Rounds taken.
        converged: Whether the last round gained less than the tolerance.
    """

    items: Items
    head: Float[Array, "input factor_and_utility"]
    weights: Float[Array, "user factor"]
    covariance: Float[Array, "user factor factor"]
    prior: GaussianPrior
    objective: Float[Array, ""]
    num_steps: Int[Array, ""]
    converged: Bool[Array, ""]
