"""Settings and state of the fit of a basis."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float, Int

from prefjax.settings import check_settings
from prefjax.types import Array
from prefjax.variational import Bound


@dataclass(frozen=True)
class EMConfig:
    """Settings of one fit.

    Attributes:
        num_factors: J.
        bound: The row expectation; ``jaakkola`` is closed form, ``quadrature`` exact.
        max_steps: Most E–M rounds.
        tolerance: Stop when a round gains less than this, in nats per unit of row weight.
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


class EMState(NamedTuple):
    """Between two rounds: θ and the posterior of every user.

    Attributes:
        head: θ, inputs (or response indicators) → [φ, t].
        mean: m of every user.
        covariance: S of every user.
        objective: The penalized bound before each round, NaN for rounds not taken.
        gain: How far the last round raised it.
        num_steps: Rounds taken.
    """

    head: Float[Array, "input factor_and_utility"]
    mean: Float[Array, "user factor"]
    covariance: Float[Array, "user factor factor"]
    objective: Float[Array, " round"]
    gain: Float[Array, ""]
    num_steps: Int[Array, ""]
