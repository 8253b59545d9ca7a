"""A person as JSON: what was asked and answered, what it was about, and the belief.

    {"format": "prefjax-person-1", "basis": digest, "encoder": fingerprint, "user": name,
     "rule", "seed", "num_questions", "prior", "belief",
     "answers": [{"features", "offset", "label", "asked", "shown"}, …], "asked": {…}, "open": …}

Feature gaps mean something beside the basis that they were computed with, which the digest names.
What was shown is kept beside them, so that another model can compute its own
(`prefjax.person.described`).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from prefjax.io import write_json
from prefjax.person.answers import (
    LoggedAnswer,
    LoggedChoice,
    Question,
    Shown,
    choice_from_json,
    choice_to_json,
    shown_from_json,
    shown_to_json,
)
from prefjax.person.candidates import Places
from prefjax.person.checks import check_population
from prefjax.person.reading import basis_digest
from prefjax.types import FeatureGap, Gaussian, Mixture, Population

if TYPE_CHECKING:
    from prefjax.person.host import Person

FORMAT = "prefjax-person-1"


class OpenQuestion(NamedTuple):
    """A question that waits for its answer, with everything that the answer needs."""

    question: Question
    gap: FeatureGap
    shown: Shown | None


class StoredPerson(NamedTuple):
    """What a file of a person says, checked.

    Attributes:
        user: Name among the training data, None for a new person.
        basis: Digest of the basis that the answers were computed with.
        encoder: Fingerprint of the encoder, None where nobody said.
        rule: How questions are chosen.
        seed: Seed of the rules that draw at random.
        num_questions: Most questions asked.
        prior: What was known before the first answer.
        belief: What the answers said when it was stored.
        answers: The log.
        choices: Choices among several.
        asked: Questions of pools that are not of texts.
        open: The open question.
    """

    user: Any
    basis: str
    encoder: str | None
    rule: str
    seed: int
    num_questions: int | None
    prior: Population
    belief: Gaussian
    answers: list[LoggedAnswer]
    choices: list[LoggedChoice]
    asked: dict[str, list[Places]]
    open: OpenQuestion | None


def answer_to_json(answer: LoggedAnswer) -> dict[str, Any]:
    """One answer in plain values."""
    return {
        "features": answer.features,
        "offset": answer.offset,
        "variance": answer.variance,
        "label": answer.label,
        "asked": _question_to_json(answer.asked),
        "shown": shown_to_json(answer.shown),
    }


def state_to_dict(
    person: "Person", asked: dict[str, list[Places]], opened: OpenQuestion | None
) -> dict[str, Any]:
    """All of a person but the answers, in plain values.

    Args:
        person: Whose belief is written.
        asked: Questions of pools that are not of texts.
        opened: The open question.
    """
    return {
        "format": FORMAT,
        "basis": basis_digest(person.basis),
        "encoder": person.reader.fingerprint,
        "user": person.user,
        "rule": person.rule,
        "seed": person.seed,
        "num_questions": person.num_questions,
        "prior": _population_to_json(person.prior),
        "belief": _gaussian_to_json(person.belief),
        "choices": [choice_to_json(choice) for choice in person.choices],
        "asked": {name: [list(places) for places in some] for name, some in asked.items()},
        "open": opened
        and {
            "features": [float(value) for value in opened.gap.features],
            "offset": float(opened.gap.offset),
            "variance": float(opened.gap.variance),
            "asked": _question_to_json(opened.question),
            "shown": shown_to_json(opened.shown),
        },
    }


def save(path: str | Path, values: dict[str, Any]) -> None:
    """Writes what `to_dict` gave.

    Args:
        path: File that appears whole or not at all.
        values: Plain values.
    """
    write_json(path, values)


def from_dict(values: Any, name: str) -> StoredPerson:
    """Reads what `to_dict` gave.

    Args:
        values: The JSON object.
        name: What the message calls it.

    Raises:
        ValueError: It is no person, is in another format, or holds something that is not finite or
            no label.
    """
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"{name} is no person that this version reads: its format is {found!r}, not {FORMAT!r}"
        )
    try:
        prior = _population_from_json(values["prior"])
        check_population(prior, "the prior")
        num_factors = len(prior.mean)
        opened = None
        if values["open"] is not None:
            answer = _answer_from_json({**values["open"], "label": 0.5}, num_factors)
            if answer.asked is None:
                raise ValueError("the open question has no places")
            opened = OpenQuestion(answer.asked, answer.gap, answer.shown)
        return StoredPerson(
            user=values["user"],
            basis=str(values["basis"]),
            encoder=values["encoder"],
            rule=str(values["rule"]),
            seed=int(values["seed"]),
            num_questions=values["num_questions"],
            prior=prior,
            belief=_gaussian_from_json(values["belief"]),
            answers=[_answer_from_json(one, num_factors) for one in values["answers"]],
            choices=[choice_from_json(one, num_factors) for one in values.get("choices", [])],
            asked={
                str(key): [_places_from_json(places) for places in some]
                for key, some in values["asked"].items()
            },
            open=opened,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{name} is damaged: {reason}") from error


def _gaussian_to_json(gaussian: Gaussian) -> dict[str, Any]:
    return {
        "mean": np.asarray(gaussian.mean).tolist(),
        "covariance": np.asarray(gaussian.covariance).tolist(),
    }


def _gaussian_from_json(value: Any) -> Gaussian:
    return Gaussian(*(np.asarray(value[part], np.float32) for part in ("mean", "covariance")))


def _population_to_json(population: Population) -> dict[str, Any]:
    if isinstance(population, Gaussian):
        return _gaussian_to_json(population)
    log_weight = np.asarray(population.log_weight).tolist()
    return {"log_weight": log_weight, **_gaussian_to_json(population.components)}


def _population_from_json(value: Any) -> Population:
    gaussian = _gaussian_from_json(value)
    if "log_weight" not in value:
        return gaussian
    return Mixture(np.asarray(value["log_weight"], np.float32), gaussian)


def _question_to_json(question: Question | None) -> list[int] | None:
    return question and [question.prompt, question.first, question.second, question.index]


def _places_from_json(value: Any) -> Places:
    prompt, first, second = (int(place) for place in value)
    return prompt, first, second


def _answer_from_json(value: Any, num_factors: int) -> LoggedAnswer:
    features = [float(part) for part in value["features"]]
    offset, label = float(value["offset"]), float(value["label"])
    variance = float(value.get("variance", 0.0))
    if len(features) != num_factors or not np.isfinite([*features, offset, variance]).all():
        raise ValueError(f"an answer has features {features[:3]}… and offset {offset}")
    if variance < 0:
        raise ValueError(f"an answer has the variance {variance}")
    if not 0 <= label <= 1:
        raise ValueError(f"an answer has the label {label}")
    shown, asked = shown_from_json(value["shown"]), None
    if value["asked"] is not None:
        prompt, first, second, index = (int(place) for place in value["asked"])
        texts = shown if shown is not None and isinstance(shown.first, str) else None
        asked = Question(first, second, prompt, index, texts)
    return LoggedAnswer(features, offset, label, asked, shown, variance)
