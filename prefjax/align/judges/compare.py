"""Pairwise comparison by a judge, in both orders: agreement decides, disagreement is a tie.

Each question is asked twice, with its responses in the given and in the swapped order. A response
that is named in both wins (1 or 0), otherwise the question is a tie (½). An invalid answer, one
that names no choice or several, is asked for once more, with the choices spelled out; a question of
which an order has no answer then is left out and counted.

References:
    PReF, arXiv 2503.06358, section 5 (both orders, disagreement is a tie).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from prefjax.align.judges.request import Judge, Question, Request, Result, Status

_FIELD = re.compile("{(" + "|".join(Question._fields) + ")}")


@dataclass(frozen=True)
class Template:
    """How a question is put to a judge.

    ``{persona}``, ``{prompt}``, ``{first}`` and ``{second}`` are replaced in both texts; all other
    braces stay as they are, so that a template may show JSON.

    Attributes:
        system: System text, usually with ``{persona}``.
        text: User's text with ``{first}`` and ``{second}``, usually with ``{prompt}``.
        choices: The exact answers for the response shown first and second.

    Raises:
        ValueError: If the text shows only one of the responses, or the choices are not two that
            differ in more than case and surrounding space.
    """

    system: str
    text: str
    choices: tuple[str, str]

    def __post_init__(self):
        for name in ("{first}", "{second}"):
            if name not in self.text:
                raise ValueError(f"The text of a template must show {name}; got {self.text!r:.80}.")
        distinct = {choice.strip().casefold() for choice in self.choices}
        if len(self.choices) != 2 or len(distinct) != 2 or "" in distinct:
            raise ValueError(f"A template needs two different choices, got {self.choices!r}.")

    def render(self, question: Question) -> Request:
        """The request for a question, its responses shown in the given order.

        Args:
            question: What is asked.

        Raises:
            TypeError: If a field of the question is not a text.
        """
        for name, value in question._asdict().items():
            if not isinstance(value, str):
                raise TypeError(f"The {name} of a question must be a text, got {value!r:.60}.")
        system, text = (
            _FIELD.sub(lambda field: getattr(question, field[1]), one)
            for one in (self.system, self.text)
        )
        return Request(system, text, self.choices, question)


ATTRIBUTES = Template(
    system="You prefer {persona} responses.",
    text=(
        "Two responses to the same message follow. Say which of them you prefer.\n\n"
        "Message:\n{prompt}\n\nResponse (a):\n{first}\n\nResponse (b):\n{second}\n\n"
        "Answer with `Output (a)` or `Output (b)` and nothing else."
    ),
    choices=("Output (a)", "Output (b)"),
)
"""For personas such as ``polite and concise``."""

PROFILE = Template(
    system=(
        "You judge on behalf of the person described here, by their taste and not by your own.\n\n"
        "{persona}"
    ),
    text=(
        "Which of two replies would this person rather get?\n\nTheir message:\n{prompt}\n\n"
        "Reply A:\n{first}\n\nReply B:\n{second}\n\n"
        "End your answer with the verdict [[A]] or [[B]]."
    ),
    choices=("[[A]]", "[[B]]"),
)
"""For personas that are described by a profile."""


class Verdicts(NamedTuple):
    """What a judge said of many questions.

    Attributes:
        win: 1 where the first response won, 0 where the second did, ½ for a tie, NaN if left out.
        choice: In the given and in the swapped order: 0 for the response shown first, 1 for the
            one shown second, −1 without a valid answer.
        results: The final result of each order of each question.
        num_invalid: Requests whose first answer was invalid.
    """

    win: Float[np.ndarray, " question"]
    choice: Int[np.ndarray, "question 2"]
    results: list[tuple[Result, Result]]
    num_invalid: int


class Quality(NamedTuple):
    """How far a judge can be trusted; rates without a case are NaN.

    Attributes:
        num_questions: Questions asked.
        num_excluded: Questions without two valid answers.
        invalid_rate: Share of requests whose first answer was invalid.
        refused_rate: Share of requests that were refused.
        failed_rate: Share of requests that failed.
        inconsistency: Share of valid questions in which the two orders disagree.
        position_bias: Share of valid answers for the response shown first, minus ½.
        input_tokens: Tokens read for answers that were not cached, the last asking of each.
        output_tokens: Tokens written for them.
    """

    num_questions: int
    num_excluded: int
    invalid_rate: float
    refused_rate: float
    failed_rate: float
    inconsistency: float
    position_bias: float
    input_tokens: int
    output_tokens: int


def compare(
    judge: Judge, questions: Sequence[Question], template: Template = ATTRIBUTES
) -> Verdicts:
    """Ask a judge every question in both orders.

    Args:
        judge: Who is asked.
        questions: What is asked.
        template: How it is put.

    Raises:
        TypeError: If a field of a question is not a text; the question is named.
        RuntimeError: If the judge breaks its contract: one result for each request, which is ok
            exactly if it names one of the choices.
    """
    requests = []
    for index, question in enumerate(questions):
        swapped = question._replace(first=question.second, second=question.first)
        try:
            requests += [template.render(question), template.render(swapped)]
        except TypeError as error:
            raise TypeError(f"Question {index}: {error}") from error
    results = _complete(judge, requests)
    invalid = [i for i, result in enumerate(results) if result.status == Status.INVALID]
    again = [_insist(requests[i]) for i in invalid]
    for i, result in zip(invalid, _complete(judge, again), strict=True):
        results[i] = result
    choice = np.array([-1 if r.choice is None else r.choice for r in results], np.int64)
    choice = choice.reshape(-1, 2)
    # The first response is shown first in the given order and second in the swapped one.
    first_named = np.stack([choice[:, 0] == 0, choice[:, 1] == 1], axis=1)
    win = np.where((choice >= 0).all(axis=1), first_named.mean(axis=1), np.nan)
    pairs = list(zip(results[0::2], results[1::2], strict=True))
    return Verdicts(win, choice, pairs, len(invalid))


def quality(verdicts: Verdicts) -> Quality:
    """Rates of invalid answers, of disagreement between the orders, and of position bias."""
    flat = [result for pair in verdicts.results for result in pair]
    paid = [result for result in flat if not result.cached]
    valid = ~np.isnan(verdicts.win)
    named = verdicts.choice[verdicts.choice >= 0]

    def rate(values) -> float:
        return float(np.mean(values)) if len(values) else float("nan")

    return Quality(
        num_questions=len(valid),
        num_excluded=int(np.sum(~valid)),
        invalid_rate=verdicts.num_invalid / len(flat) if flat else float("nan"),
        refused_rate=rate([result.status == Status.REFUSED for result in flat]),
        failed_rate=rate([result.status == Status.FAILED for result in flat]),
        inconsistency=rate(verdicts.win[valid] == 0.5),
        position_bias=rate(named == 0) - 0.5,
        input_tokens=sum(result.input_tokens for result in paid),
        output_tokens=sum(result.output_tokens for result in paid),
    )


def _insist(request: Request) -> Request:
    choices = " or ".join(f"`{choice}`" for choice in request.choices)
    return request._replace(text=f"{request.text}\n\nYour whole answer must be {choices}.")


def _complete(judge: Judge, requests: Sequence[Request]) -> list[Result]:
    if not requests:
        return []
    results = list(judge.complete(requests))
    if len(results) != len(requests):
        raise RuntimeError(
            f"The judge {type(judge).__name__} gave {len(results)} results for {len(requests)} "
            "requests; it must give one for each, in order."
        )
    for index, (request, result) in enumerate(zip(requests, results, strict=True)):
        valid = range(len(request.choices)) if result.status == Status.OK else (None,)
        if result.choice not in valid:
            raise RuntimeError(
                f"The judge {type(judge).__name__} gave choice {result.choice!r} with status "
                f"{result.status} for request {index}; ok takes an index below "
                f"{len(request.choices)}, every other status None."
            )
    return results
