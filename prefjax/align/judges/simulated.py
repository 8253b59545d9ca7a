"""Judges without a language model: one that a test scripts, and the simulated attribute judge.

The attribute judge is the one of the Attributes world behind the interface of a real one. With
weights w of the persona, the gap ``g = w·(a_shown first − a_shown second)`` of the measured
attributes, sharpness κ, order bias b and a logistic error e that belongs to the persona and the
unordered pair, so that asking again changes nothing, it names the response shown first if

    κ g + e + b > 0,      e(first, second) = −e(second, first).

Its verdicts are of a simulation; they say nothing about real people.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from prefjax.align.judges.answer import read
from prefjax.align.judges.request import Request, Result, Status
from prefjax.data.attributes import ChoiceConfig, Scale, default_scale, raw_scores, saturate

DEFAULT_CHOICE = ChoiceConfig()


class FakeJudge:
    """Answers by a function of the request; for tests.

    Args:
        answer: The text of the answer.

    Attributes:
        num_calls: Requests seen so far.
    """

    def __init__(self, answer: Callable[[Request], str]):
        self._answer, self.num_calls = answer, 0

    def complete(self, requests: Sequence[Request]) -> list[Result]:
        """One result for each request."""
        self.num_calls += len(requests)
        return [read(self._answer(request), request) for request in requests]


class AttributeJudge:
    """The simulated judge of the Attributes world; see the module docstring.

    Args:
        weights: True weights of each persona.
        config: Sharpness and order bias.
        scale: What the attributes are standardized by; by default that of the simulated world.
        seed: Source of the errors.
    """

    def __init__(
        self,
        weights: Mapping[str, Float[np.ndarray, " attribute"]],
        *,
        config: ChoiceConfig = DEFAULT_CHOICE,
        scale: Scale | None = None,
        seed: int = 0,
    ):
        self._weights, self._config, self._seed = weights, config, seed
        self._scale = default_scale() if scale is None else scale
        self._measured: dict[str, Float[np.ndarray, " attribute"]] = {}

    def complete(self, requests: Sequence[Request]) -> list[Result]:
        """One result for each request; ``failed`` without a question or for an unknown persona."""
        self._measure(requests)
        return [self._one(request) for request in requests]

    def _measure(self, requests: Sequence[Request]) -> None:
        shown = (r.question for r in requests if r.question)
        texts = dict.fromkeys(text for question in shown for text in question[2:])
        new = [text for text in texts if text not in self._measured]
        self._measured.update(zip(new, saturate(raw_scores(new), self._scale), strict=True))

    def _one(self, request: Request) -> Result:
        question = request.question
        if question is None:
            return Result(Status.FAILED, text="the simulated judge needs the question itself")
        if question.persona not in self._weights:
            return Result(Status.FAILED, text=f"unknown persona {question.persona!r}")
        gap = self._measured[question.first] - self._measured[question.second]
        logit = self._config.sharpness * float(self._weights[question.persona] @ gap)
        logit += self._error(*question) + self._config.order_bias
        return read(request.choices[0 if logit > 0 else 1], request)

    def _error(self, persona: str, prompt: str, first: str, second: str) -> float:
        pair = sorted((first, second))
        said = repr((self._seed, persona, prompt, *pair)).encode()
        number = int.from_bytes(hashlib.sha256(said).digest()[:8], "big")
        uniform = (number + 0.5) / 2.0**64
        error = float(np.log(uniform) - np.log1p(-uniform))
        return error if first == pair[0] else -error
