"""What answers were about, as a model describes it: for a new answer, and for stored ones.

Responses become features beside the basis of a reader. A stored person belongs to one basis and one
encoder; another model refuses them by name, or describes everything that was shown again.
"""

import warnings

import numpy as np
from jaxtyping import Float

from prefjax.person.answers import ChoiceShown, LoggedChoice, Response, Shown
from prefjax.person.reading import Reader, basis_digest, joined
from prefjax.person.stored import StoredPerson
from prefjax.types import FeatureGap, Gaussian, RewardBasis

MOST_CHANGE = 0.05
"""Standard deviations of a weight by which a belief that is inferred again may differ."""


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
