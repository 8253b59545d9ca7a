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
from prefjax.study.config import StudyConfig
from prefjax.study.engine import StudyEngine
from prefjax.study.pages import ConsentPage, ReasonsPage, SurveyPage, TrialPage

_CLEAR = 0.3
"""Weight on the length beyond which a person says that they like short or long answers."""


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


def answer_survey(config: StudyConfig, weights: Float[np.ndarray, " attribute"]) -> dict[str, str]:
    """Answers of a simulated person, by id of the question; nobody is screened out.

    A question ``length`` with the options short, long and neither is answered by the weight on the
    length of a text, any other one by its first option.

    Args:
        config: The study.
        weights: True weights.
    """
    answers = {}
    for question in config.survey:
        texts = [option.text for option in question.options if not option.screen_out]
        if question.id == "length" and len(texts) == 3:
            place = 0 if weights[0] < -_CLEAR else 1 if weights[0] > _CLEAR else 2
            answers[question.id] = texts[place]
        elif texts:
            answers[question.id] = texts[0]
        elif question.required:
            answers[question.id] = "nothing'); DROP TABLE answer;--"
    return answers


def take_part(
    engine: StudyEngine, people: SimulatedPeople, user: int, rng: np.random.Generator
) -> int:
    """A simulated person takes part, without pages.

    Args:
        engine: The study.
        people: The people.
        user: Which of them.
        rng: Source of errors in choosing.

    Returns:
        The participant's number.
    """
    materials, participant = engine.materials, engine.start().participant
    place = {
        (materials.prompts[materials.prompt_index[index]], text): index
        for index, text in enumerate(materials.responses)
    }
    expected = {check.question: check.expected for check in materials.config.attention}
    while True:
        page = engine.next(participant)
        if isinstance(page, ConsentPage):
            engine.consent(participant, materials.config.consent_version)
        elif isinstance(page, SurveyPage):
            engine.survey(participant, answer_survey(materials.config, people.weights[user]))
        elif isinstance(page, ReasonsPage):
            engine.reasons(participant, "")
        elif isinstance(page, TrialPage):
            left, right = (place.get((page.prompt, text), -1) for text in (page.left, page.right))
            choice = expected.get(page.prompt, "A")
            if left >= 0:
                choice = people.choose(rng, user, left, right)
            engine.answer(participant, page.index, choice)
        else:
            return participant
