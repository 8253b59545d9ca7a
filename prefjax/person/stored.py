"""A person as JSON: what was asked and answered, what it was about, and the belief.

    {"format": "prefjax-person-1", "basis": digest, "encoder": fingerprint, "user": name,
     "rule", "seed", "num_questions", "prior", "belief",
     "answers": [{"features", "offset", "label", "asked", "shown"}, …], "asked": {…}, "open": …}

Feature gaps mean something beside the basis that they were computed with, which the digest names.
What was shown is kept beside them, so that another model can compute its own.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from prefjax.io import write_json
from prefjax.person.answers import (
    ChoiceShown,
    LoggedAnswer,
    LoggedChoice,
    Question,
    Response,
    Shown,
    choice_from_json,
    choice_to_json,
    shown_from_json,
    shown_to_json,
)
from prefjax.person.candidates import Places
from prefjax.person.checks import check_population
from prefjax.person.reading import Reader, basis_digest, joined
from prefjax.types import FeatureGap, Gaussian, Mixture, Population, RewardBasis

if TYPE_CHECKING:
    from prefjax.person.host import Person

FORMAT = "prefjax-person-1"
MOST_CHANGE = 0.05
"""Standard deviations of a weight by which a belief that is inferred again may differ."""


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


def gap_of(reader: Reader, shown: Shown) -> FeatureGap:
    """Feature gap and offset of what was shown.

    Args:
        reader: Gives φ and t.
        shown: Two responses, or one.
    """
    pair = [part for part in (shown.first, shown.second) if part is not None]
    are_texts = [isinstance(part, str) for part in pair]
    if any(are_texts) != all(are_texts):
        raise ValueError("of two responses one is a text and the other an embedding")
    if all(are_texts):
        items = reader(pair, [shown.prompt or ""] * len(pair))
    else:
        items = reader(joined(pair, np.stack))
    first, *second = (items.at(place) for place in range(len(pair)))
    return first.gap_to(*second)


def choice_of(
    reader: Reader, shown: ChoiceShown, label: Float[np.ndarray, " shown"]
) -> LoggedChoice:
    """A choice among several as a basis describes it.

    Args:
        reader: Gives φ and t.
        shown: All responses.
        label: Probability that each was chosen.
    """
    responses = list(shown.responses)
    are_texts = [isinstance(part, str) for part in responses]
    if any(are_texts) != all(are_texts):
        raise ValueError("some responses of a choice are texts and others embeddings")
    if all(are_texts):
        items = reader(responses, [shown.prompt or ""] * len(responses))
    else:
        items = reader(joined(responses, np.stack))
    variance = 0.0
    if items.spread is not None:  # the mean over pairs of ‖ψ_a − ψ_b‖²
        spread = np.asarray(items.spread)
        centered = np.square(spread - spread.mean(axis=0)).sum()
        variance = float(2 * centered / (len(spread) - 1))
    features, utility = (
        np.asarray(part, np.float64).tolist() for part in (items.features, items.utility)
    )
    return LoggedChoice(features, utility, np.asarray(label).tolist(), variance, shown)


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


def infer_again(person: StoredPerson, reader: Reader, name: str) -> StoredPerson:
    """The same answers as another model describes them.

    Args:
        person: As it was stored.
        reader: Of the other model.
        name: What the message calls it.

    Raises:
        ValueError: An answer was about a pool of features, which nothing can describe again, or
            about embeddings of another encoder.
    """

    def again(shown: Shown | None, what: str) -> FeatureGap:
        if shown is None:
            raise ValueError(
                f"{name}: {what} was about a pool of features, which another model cannot "
                "describe; only what was asked or observed as texts or embeddings can be inferred "
                "again"
            )
        check_encoder(shown.first, what)
        return gap_of(reader, shown)

    def check_encoder(response: Response, what: str) -> None:
        both = (person.encoder, reader.fingerprint)
        if not isinstance(response, str) and None not in both and both[0] != both[1]:
            raise ValueError(
                f"{name}: {what} was about embeddings of the encoder {both[0]!r}; this model has "
                f"{both[1]!r}, to which they mean something else"
            )

    answers = []
    for place, answer in enumerate(person.answers):
        gap = again(answer.shown, f"answer {place}")
        features = [float(value) for value in gap.features]
        numbers = {"offset": float(gap.offset), "variance": float(gap.variance)}
        answers.append(answer._replace(features=features, **numbers))
    opened = person.open
    if opened is not None:
        opened = opened._replace(gap=again(opened.shown, "the open question"))
    choices = []
    for choice in person.choices:
        check_encoder(choice.shown.responses[0], "a choice among several")
        choices.append(choice_of(reader, choice.shown, np.asarray(choice.label)))
    return person._replace(answers=answers, choices=choices, open=opened)


def check_same_basis(person: StoredPerson, basis: RewardBasis, reader: Reader, name: str) -> None:
    """Refuses a person whose answers mean nothing beside this basis.

    Args:
        person: As it was stored.
        basis: Of the model that is to read it.
        reader: Of that model.
        name: What the message calls it.

    Raises:
        ValueError: Basis or encoder differ; the message names both.
    """
    remedy = "load_person(…, reinfer=True) infers the person again from the answers"
    digest = basis_digest(basis)
    if person.basis != digest:
        raise ValueError(
            f"{name} belongs to a model with another basis ({person.basis[:12]}…; this one is "
            f"{digest[:12]}…); {remedy}"
        )
    if person.encoder != reader.fingerprint and None not in (person.encoder, reader.fingerprint):
        raise ValueError(
            f"{name} belongs to a model of the encoder {person.encoder!r}, this one has "
            f"{reader.fingerprint!r}; {remedy}"
        )


def warn_of_change(person: StoredPerson, belief: Gaussian, name: str) -> None:
    """Says that the answers give another belief than the one that was stored.

    Args:
        person: As it was stored.
        belief: What its answers say now.
        name: What the message calls it.

    Warns:
        UserWarning: They differ by more than rounding, as after another version of the package.
    """
    deviation = np.sqrt(np.diagonal(np.asarray(belief.covariance)))
    off = np.abs(np.asarray(belief.mean) - person.belief.mean) / np.maximum(deviation, 1e-12)
    if off.max(initial=0) > MOST_CHANGE:
        warnings.warn(
            f"{name} was stored with other weights than its answers give now, up to "
            f"{off.max():.2f} standard deviations away: it was inferred in another way, or changed",
            stacklevel=3,
        )


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
