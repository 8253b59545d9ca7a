"""What the survey says: of the prior, and of who cannot take part."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from prefjax.study.config import StudyConfig
from prefjax.study.errors import RefusedError

LONGEST_TEXT = 4000
"""Characters of a free text that are kept."""


class Survey(NamedTuple):
    """A survey that was read.

    Attributes:
        answers: Text by id of the question.
        prior_mean: Mean of the person's prior.
        is_screened_out: Whether the person cannot take part.
    """

    answers: dict[str, str]
    prior_mean: Float[np.ndarray, " factor"]
    is_screened_out: bool


def read_survey(
    config: StudyConfig, mean: Float[np.ndarray, " factor"], answers: Mapping[str, str]
) -> Survey:
    """Reads the answers to a survey.

    Args:
        config: The study.
        mean: Mean of the population.
        answers: Text by id of the question.

    Raises:
        RefusedError: An answer is missing or is none of the options.
    """
    kept, is_out = {}, False
    for question in config.survey:
        text = clean(answers.get(question.id, ""))
        if not text:
            if question.required:
                raise RefusedError(f"Please answer: {question.text}")
            continue
        if question.options:
            option = next((one for one in question.options if one.text == text), None)
            if option is None:
                raise RefusedError(f"That is none of the answers to: {question.text}")
            is_out |= option.screen_out
            if option.prior_shift is not None:
                mean = mean + np.array(option.prior_shift, np.float32)
        kept[question.id] = text
    return Survey(kept, mean, is_out)


def clean(text: str) -> str:
    r"""A text as it is kept: of bounded length, without what Parquet and SQLite do not take.

    >>> clean(" a\0b ")
    'ab'
    """
    text = text.replace("\0", "").encode("utf-8", "ignore").decode("utf-8")
    return text.strip()[:LONGEST_TEXT]
