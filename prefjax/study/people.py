"""Simulated participants: true weights on the seven attributes, read off the texts.

With the utility ``u = w·a`` of a text, a person perceives ``z = κ(u_left − u_right) + e`` with a
logistic error e and presses A if ``z > τ``, B if ``z < −τ`` and "no preference" between:

    P(A) = σ(κg − τ),   P(B) = σ(−κg − τ),   P(N) = 1 − P(A) − P(B).

These are people of the simulated Attributes world (`prefjax.data.attributes`); results with them
say nothing about real ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from prefjax.data.attributes import WorldConfig, gaussian_users, measure


@dataclass(frozen=True)
class PeopleConfig:
    """How simulated people choose.

    Attributes:
        sharpness: κ, logits per unit of utility.
        tie: τ ≥ 0, the half width of "no preference" in logits.
        common_taste: Weight that everybody has in addition, by attribute.
    """

    sharpness: float = 1.5
    tie: float = 0.25
    common_taste: tuple[float, ...] = WorldConfig().common_taste


@dataclass(frozen=True, eq=False)
class SimulatedPeople:
    """People and what they think of every response.

    Attributes:
        weights: True weights, the common taste included.
        utility: Of every response to every person.
        config: How they choose.
    """

    weights: Float[np.ndarray, "user attribute"]
    utility: Float[np.ndarray, "user response"]
    config: PeopleConfig

    def choose(self, rng: np.random.Generator, user: int, left: int, right: int) -> str:
        """The button that a person presses.

        Args:
            rng: Source of the error.
            user: The person.
            left: Response on the left.
            right: Response on the right.
        """
        gap = self.utility[user, left] - self.utility[user, right]
        perceived = self.config.sharpness * gap + rng.logistic()
        if abs(perceived) <= self.config.tie:
            return "N"
        return "A" if perceived > 0 else "B"

    def expected_win(self, gap: Float[np.ndarray, "*trials"]) -> Float[np.ndarray, "*trials"]:
        """Expected win, ties ½, of a response over another whose utility is lower by ``gap``."""
        logit = self.config.sharpness * gap
        wins, loses = (1 / (1 + np.exp(-(sign * logit - self.config.tie))) for sign in (1.0, -1.0))
        return 0.5 + 0.5 * (wins - loses)


def make_people(
    num_people: int,
    responses: Sequence[str],
    rng: np.random.Generator,
    config: PeopleConfig = PeopleConfig(),
) -> SimulatedPeople:
    """Draws people with continuous weights, ``w ~ N(common taste, (2/7) I)``.

    Args:
        num_people: How many.
        responses: Every text that they may be shown.
        rng: Source of the weights.
        config: How they choose.
    """
    weights = gaussian_users(num_people, rng)[0] + np.array(config.common_taste)[None]
    return SimulatedPeople(weights, weights @ measure(responses).T, config)
