"""What a judge is asked and what it may answer.

A judge reads a system text and a question and names one of a few exact choices. It answers every
request with one of four outcomes:

    ok        it named a choice
    invalid   it answered, but named none of the choices, or several
    refused   it declined to answer
    failed    no answer was had: the judge is down, too slow, or talks nonsense

An error never becomes an answer: only ``ok`` carries a choice.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

from prefjax.encoders import check_texts


class Status(StrEnum):
    """Outcome of a request."""

    OK = "ok"
    INVALID = "invalid"
    REFUSED = "refused"
    FAILED = "failed"


class Question(NamedTuple):
    """Which of two responses would this person rather have?

    Attributes:
        persona: Who is asked, such as a pair of traits or the name of a simulated user.
        prompt: What the responses answer.
        first: The one response.
        second: The other.
    """

    persona: str
    prompt: str
    first: str
    second: str


class Request(NamedTuple):
    """One call to a judge.

    Attributes:
        system: The system text.
        text: The user's text.
        choices: The exact answers that count, one of which the answer must name and no other;
            empty where the answer is a text of the judge's own.
        question: The question in the order in which the text shows it; what simulated judges read.
    """

    system: str
    text: str
    choices: tuple[str, ...]
    question: Question | None = None


class Result(NamedTuple):
    """The outcome of one request.

    Attributes:
        status: How it ended.
        choice: Index into the choices of the request if the status is ok and there are choices,
            otherwise None.
        text: The answer, or why there is none.
        input_tokens: Tokens read, as the judge counts them.
        output_tokens: Tokens written.
        cached: Whether the answer comes from a cache and cost nothing now.
    """

    status: Status
    choice: int | None = None
    text: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached: bool = False


@runtime_checkable
class Judge(Protocol):
    """Whatever answers requests."""

    def complete(self, requests: Sequence[Request]) -> list[Result]:
        """One result for each request, in their order."""
        ...


def fault_of(request: Request) -> str | None:
    """Why a request cannot be put to any judge, None if it can."""
    try:
        check_texts([request.system, request.text])
    except (TypeError, ValueError) as error:
        return f"the request is no text: {error}"
    return None


def repaired(text: str) -> str:
    """A text with each half character in it replaced by U+FFFD, so that it can be stored."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
