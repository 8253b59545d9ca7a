"""Settings and state of the fit of a basis."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

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
        exact_steps: Most rounds with exact expectations after those of a ``jaakkola`` bound, which
            makes posteriors and the population too narrow; none with hidden layers. With them
            held-out people of Polis lose .005 nats less after 5 answers, and 95 % intervals of
            worlds planted from it cover .94 instead of .89.
        max_steps: Most E–M rounds, those included.
        tolerance: Stop when a round gains less than this, in nats per unit of row weight.
        user_steps: E-steps a round.
        solve_steps: Conjugate gradient steps in an M-step.
        damping: ρ of the E-step and the first step size of the M-step under ``quadrature``.
        population: ``gaussian``, or ``mixture`` for one of up to eight Gaussians
            (`prefjax.basis.mixture`).

    Raises:
        ValueError: If a number of factors or steps is below 1, another number negative or not
            finite, or the population is neither.
    """

    num_factors: int = 8
    bound: Bound = "jaakkola"
    exact_steps: int = 60
    max_steps: int = 120
    tolerance: float = 2e-5
    user_steps: int = 2
    solve_steps: int = 6
    damping: float = 0.7
    population: Literal["gaussian", "mixture"] = "gaussian"

    def __post_init__(self):
        if self.population not in ("gaussian", "mixture"):
            raise ValueError(f"population must be 'gaussian' or 'mixture', got {self.population!r}")
        check_settings(self, "num_factors", "max_steps", "user_steps", "solve_steps")


DEFAULT = EMConfig()

NUM_PARTS = 4
"""Folds that the users are cut into; one of them is held out at a time."""
MOST_DIVISIONS = 8
"""Divisions of a held-out user's answers beyond which averaging more of them changes no choice."""


@dataclass(frozen=True)
class SearchConfig:
    """The candidates and how they are compared.

    Attributes:
        factor_penalties: Candidate penalties on φ, weak to strong; each fit starts from the one
            before.
        utility_penalties: Candidate penalties on t, weak to strong.
        posterior_scales: Candidate posterior scales; 1 marginal, 0 joint MAP.
        num_folds: Folds of a quarter of the users that are held out in turn, 1 to 4; None takes
            what ``row_budget`` allows.
        num_divisions: Divisions of a held-out user's answers that are averaged; None likewise.
        row_budget: Rows × folds that a search may fit to, and rows × divisions that it may predict;
            at least one of each. The default leaves 20,000 rows and more at one fold.
        held_out_answers: Part of a held-out user's answers, or of the groups in them, that is
            predicted from the others.
        most_answers: How many of the others are given, on average, by a held-out user who has more:
            about as many as new users will give.
        path_steps: Most E–M rounds at each candidate.
        path_tolerance: Gain of a round, in nats per unit of row weight, below which a candidate
            counts as fitted; coarser than that of the final fit.
        without_answers: Part of the loss by which is chosen that is the loss before the first
            answer.
        standard_errors: How many standard errors of the best loss count as "cannot be told".
        joint_standard_errors: By how many joint MAP must beat the marginal fit to be taken.
    """

    factor_penalties: tuple[float, ...] = (0.5, 1.5, 4.0, 12.0, 36.0, 100.0, 300.0, 1000.0)
    utility_penalties: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    posterior_scales: tuple[float, ...] = (1.0, 0.0)
    num_folds: int | None = None
    num_divisions: int | None = None
    row_budget: int = 20_000
    held_out_answers: float = 0.4
    most_answers: float = 10.0
    path_steps: int = 25
    path_tolerance: float = 1e-4
    without_answers: float = 0.25
    standard_errors: float = 0.5
    joint_standard_errors: float = 1.0

    def __post_init__(self):
        if self.num_folds is not None and not 1 <= self.num_folds <= NUM_PARTS:
            raise ValueError(f"num_folds must lie in [1, {NUM_PARTS}], got {self.num_folds}")
        if not 0 <= self.without_answers <= 1:
            raise ValueError(f"without_answers must lie in [0, 1], got {self.without_answers}")

    def effort(self, num_rows: int) -> tuple[int, int]:
        """Folds and divisions for a number of rows."""
        allowed = max(1, self.row_budget // max(num_rows, 1))
        folds, divisions = min(NUM_PARTS, allowed), min(MOST_DIVISIONS, allowed)
        return (
            folds if self.num_folds is None else self.num_folds,
            divisions if self.num_divisions is None else self.num_divisions,
        )


SEARCH_DEFAULT = SearchConfig()


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
