"""Pairwise comparison by a judge, in both orders: agreement decides, disagreement is a tie.

Each question is asked twice, with its responses in the given and in the swapped order. A response
that is named in both wins (1 or 0), otherwise the question is a tie (½). An invalid answer is
asked for once more, with the choices spelled out; a question of which an order has no answer then
is left out and counted.

References:
    PReF, arXiv 2503.06358, section 5 (both orders, disagreement is a tie).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from prefjax.align.judges.request import Judge, Question, Request, Result, Status


@dataclass(frozen=True)
class Template:
    """How a question is put to a judge.

    Attributes:
        system: System text; ``{persona}`` is replaced.
        text: User's text; ``{prompt}``, ``{first}`` and ``{second}`` are replaced.
        choices: The exact answers for the response shown first and second.
    """

    system: str
    text: str
    choices: tuple[str, str]

    def render(self, question: Question) -> Request:
        """The request for a question, its responses shown in the given order."""
        fields = question._asdict()
        return Request(
            self.system.format(**fields), self.text.format(**fields), self.choices, question
        )


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
        RuntimeError: If the judge breaks its contract of one result for each request.
    """
    requests = []
    for question in questions:
        swapped = question._replace(first=question.second, second=question.first)
        requests += [template.render(question), template.render(swapped)]
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
    return results
