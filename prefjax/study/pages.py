"""What a participant sees next: one of a few pages, which the state on the server decides."""

from typing import NamedTuple, TypeAlias


class ConsentPage(NamedTuple):
    """Nothing was agreed to yet."""


class SurveyPage(NamedTuple):
    """The questions before the trials."""


class TrialPage(NamedTuple):
    """A trial; what kind and which arm is not said.

    Attributes:
        index: Its place among all trials.
        prompt: The question.
        left: Text under A.
        right: Text under B.
        is_practice: Whether it is practice.
        number: Which of the trials that count, from 1.
        total: How many there are.
    """

    index: int
    prompt: str
    left: str
    right: str
    is_practice: bool
    number: int
    total: int


class ReasonsPage(NamedTuple):
    """What the person looked for, in free words."""


class EndPage(NamedTuple):
    """The end.

    Attributes:
        end: ``"complete"``, ``"screened_out"`` or ``"withdrawn"``.
        code: To be given back where the person came from.
    """

    end: str
    code: str


Page: TypeAlias = ConsentPage | SurveyPage | TrialPage | ReasonsPage | EndPage
