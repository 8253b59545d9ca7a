"""What a person was shown and what they said, in plain values that can be written as JSON."""

import base64
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32

from prefjax.types import FeatureGap

Response: TypeAlias = str | Float32[np.ndarray, " input"]
"""A response as it was passed: its text, or its embedding."""


class Shown(NamedTuple):
    """Two responses as they were passed, from which φ can be computed again by another model.

    Attributes:
        prompt: Text of the prompt, None where none was given.
        first: First response.
        second: Second response, None for a vote on the first alone.
    """

    prompt: str | None
    first: Response
    second: Response | None

    @property
    def is_pair(self) -> bool:
        """Whether it is two texts."""
        return isinstance(self.first, str) and isinstance(self.second, str)


class Question(NamedTuple):
    """A pair to show: places in the pool that was passed to `Person.ask`.

    Attributes:
        first: Place of the first response; of the pair in a `PairPool`.
        second: Place of the second response, or −1 in a `PairPool`.
        prompt: Which prompt of a pool with several, otherwise 0.
        index: Number of the question in the pool.
        shown: Prompt and texts, None where no texts were passed.
    """

    first: int
    second: int
    prompt: int
    index: int
    shown: Shown | None = None


class LoggedAnswer(NamedTuple):
    """What was observed of one pair.

    Attributes:
        features: φ(first) − φ(second).
        offset: t(first) − t(second).
        label: Probability that the first was preferred.
        asked: The question, or None for a choice made elsewhere.
        shown: What was shown, None where a pool of features was passed.
        variance: Variance of the logit that no answer of the person removes.
    """

    features: list[float]
    offset: float
    label: float
    asked: Question | None
    shown: Shown | None = None
    variance: float = 0.0

    @property
    def gap(self) -> FeatureGap:
        """Features, offset and variance as arrays."""
        numbers = self.features, self.offset, self.variance
        return FeatureGap(*(np.asarray(value, np.float32) for value in numbers))


class ChoiceShown(NamedTuple):
    """Several responses of which one was chosen, as they were passed.

    Attributes:
        prompt: Text of the prompt, None where none was given.
        responses: All that was shown.
    """

    prompt: str | None
    responses: tuple[Response, ...]


class LoggedChoice(NamedTuple):
    """What was observed of one choice among several.

    Attributes:
        features: φ of each response shown.
        offset: t of each.
        label: Probability that each was the chosen one, summing to 1.
        variance: Mean variance of a gap of two rewards that no answer of the person removes.
        shown: What was shown.
    """

    features: list[list[float]]
    offset: list[float]
    label: list[float]
    variance: float
    shown: ChoiceShown


def choice_to_json(choice: LoggedChoice) -> dict[str, Any]:
    """A choice in plain values, responses as `shown_to_json` writes them.

    Args:
        choice: Any.
    """
    prompt, responses = choice.shown
    shown = {"prompt": prompt, "responses": [_to_json(one) for one in responses]}
    return {**choice._asdict(), "shown": shown}


def choice_from_json(value: Any, num_factors: int) -> LoggedChoice:
    """The inverse of `choice_to_json`.

    Args:
        value: The JSON object.
        num_factors: J.

    Raises:
        ValueError: It is not what `choice_to_json` gives.
    """
    numbers = {
        name: np.asarray(value[name], np.float64) for name in ("features", "offset", "label")
    }
    features, offset, label = numbers.values()
    variance = float(value["variance"])
    size = len(offset)
    legal = features.shape == (size, num_factors) and label.shape == (size,) and size > 1
    if not (legal and all(np.isfinite(part).all() for part in numbers.values())):
        raise ValueError(f"a choice has features of shape {features.shape} and {size} offsets")
    if not ((label >= 0).all() and abs(label.sum() - 1) < 1e-4 and 0 <= variance < np.inf):
        raise ValueError(f"a choice has the labels {label.tolist()} and the variance {variance}")
    shown = value["shown"]
    responses = tuple(_from_json(one) for one in shown["responses"])
    if len(responses) != size or not (shown["prompt"] is None or isinstance(shown["prompt"], str)):
        raise ValueError(f"a choice among {size} shows {len(responses)} responses")
    return LoggedChoice(
        features.tolist(),
        offset.tolist(),
        label.tolist(),
        variance,
        ChoiceShown(shown["prompt"], responses),
    )


def shown_to_json(shown: Shown | None) -> dict[str, Any] | None:
    """Texts as they are, embeddings as the base64 of their little-endian float32 bytes."""
    if shown is None:
        return None
    return {
        "prompt": shown.prompt,
        **{name: _to_json(getattr(shown, name)) for name in ("first", "second")},
    }


def shown_from_json(value: Any) -> Shown | None:
    """The inverse of `shown_to_json`.

    Raises:
        ValueError: It is not what `shown_to_json` gives.
    """
    if value is None:
        return None
    prompt, first, second = value["prompt"], value["first"], value["second"]
    if not (prompt is None or isinstance(prompt, str)) or first is None:
        raise ValueError(f"prompt {prompt!r}, first {first!r}")
    response = _from_json(first)
    return Shown(prompt, response, None if second is None else _from_json(second))


def _to_json(response: Response | None) -> Any:
    if response is None or isinstance(response, str):
        return response
    data = np.asarray(response, "<f4").tobytes()
    return {"float32": base64.b64encode(data).decode()}


def _from_json(value: Any) -> Response:
    if isinstance(value, str):
        return value
    return decode_float32(value["float32"])


def decode_float32(text: str) -> Float32[np.ndarray, " input"]:
    """An embedding from the base64 of its little-endian float32 bytes.

    Args:
        text: Standard alphabet, padded; what ``encoding_format="base64"`` of the OpenAI API gives.

    Raises:
        ValueError: It is no base64, or not of whole numbers.
    """
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").copy()
