"""What a model is fitted to, in one form, from whatever was passed."""

import sys
import warnings
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from prefjax.data import Dataset, observations_of, read, weigh_choices
from prefjax.data.names import report_near_equal
from prefjax.data.validate import validate_embeddings
from prefjax.encoders import Encoder, encode_responses, fit_encoder, get_encoder
from prefjax.model.encoder import ModelEncoder
from prefjax.types import BASELINE, Array, Choices, Comparisons

DEFAULT_ENCODER = "hashed"
LARGE = 2**29
"""Bytes of people and rows from which minibatches are the better way. At J = 8 that is 6.7 million
comparisons; `benchmarks.fit` takes 11.7 s for 113,100 on two cores, hence ten minutes for these."""
SAME = 1e-3
"""Largest relative difference between an embedding as it was fitted and as it is served."""


class Training(NamedTuple):
    """Everything that enters a fit.

    Attributes:
        comparisons: Users counted from 0; the pairs of one choice weigh as much as the choice.
        observations: The same people's choices as they are fitted: choices among several where
            there are some, else the comparisons.
        embeddings: One row a response.
        users: What the users were called.
        group: Group of each response, None where people share responses.
        encoder: How texts are read, None where only embeddings are.
    """

    comparisons: Comparisons
    observations: Comparisons | Choices
    embeddings: Float[np.ndarray, "response input"]
    users: tuple[Any, ...]
    group: Int[Array, " response"] | None
    encoder: ModelEncoder | None


def prepare(
    data: Any,
    embeddings: Float[Array, "response input"] | None,
    *,
    encoder: str | Encoder | None,
    num_users: int | None,
    group: Int[Array, " _"] | None,
    progress: bool | None = None,
) -> Training:
    """Whatever was passed to `prefjax.fit`, in one form; arguments as there.

    Raises:
        ValueError: Arguments do not belong together, or embeddings of another encoder were passed.
    """
    if isinstance(data, Comparisons):
        if embeddings is None:
            raise ValueError("comparisons need embeddings; a data set brings its own texts")
        comparisons, users = _number_users(data, num_users)
        made = None if encoder is None else _named(encoder)
        if made is not None:
            made.check_embeddings(embeddings)
        table = validate_embeddings(np.asarray(embeddings)).values
        return Training(comparisons, comparisons, table, users, group, made)
    if num_users is not None:
        raise ValueError("num_users is for comparisons; a data set knows its users")
    dataset = read(data)
    made = _of_dataset(dataset, DEFAULT_ENCODER if encoder is None else encoder)
    if embeddings is None:
        embeddings = encode_responses(made.encoder, dataset, progress=_shown(progress))
    else:
        made.check_embeddings(embeddings)
    if len(embeddings) != dataset.num_responses:
        raise ValueError(
            f"{len(embeddings)} embeddings for the {dataset.num_responses} responses of "
            f"{dataset.name!r}; there must be one each, in their order"
        )
    _check_served(made, dataset, embeddings)
    if group is None and len(np.unique(dataset.group)) > 1:
        group = dataset.group
    table = validate_embeddings(np.asarray(embeddings)).values
    said = weigh_choices(dataset), observations_of(dataset)
    return Training(*said, table, dataset.users, group, made)


def _shown(progress: bool | None) -> bool:
    """Whether bars are shown; None asks whether there is a terminal."""
    return sys.stderr.isatty() if progress is None else progress


def check_size(num_rows: int, num_users: int, num_factors: int) -> None:
    """Says where a fit in memory ends and training by minibatches begins.

    Args:
        num_rows: Comparisons.
        num_users: Users.
        num_factors: J.

    Warns:
        UserWarning: People and rows take more than ``LARGE`` bytes.
    """
    # Mean, covariance and two copies of it for each user; features and twelve numbers for each row.
    size = 4 * (num_users * (num_factors + 3 * num_factors**2) + num_rows * (num_factors + 12))
    if size > LARGE:
        warnings.warn(
            f"{num_rows:,} comparisons of {num_users:,} people take {size / 2**30:.1f} GiB, and "
            "every round reads all of them: python -m prefjax.train fits the same model by "
            "minibatches, on all devices, and goes on after it was stopped",
            stacklevel=3,
        )


def _named(encoder: str | Encoder) -> ModelEncoder:
    """The record of an encoder that is named or passed."""
    if isinstance(encoder, str):
        return ModelEncoder.of(get_encoder(encoder), encoder)
    return ModelEncoder.of(encoder)


def _of_dataset(dataset: Dataset, encoder: str | Encoder) -> ModelEncoder:
    """The same, where a named hashed encoder is fitted to the texts that somebody compared."""
    if not isinstance(encoder, str):
        return ModelEncoder.of(encoder)
    rows = dataset.comparisons
    compared = np.unique(np.concatenate([rows.first, rows.second[rows.second != BASELINE]]))
    texts = [dataset.responses[index] for index in compared]
    return ModelEncoder.of(fit_encoder(get_encoder(encoder), texts), encoder)


def _check_served(
    encoder: ModelEncoder, dataset: Dataset, embeddings: Float[Array, "response input"]
) -> None:
    """Makes sure that texts will be read as they were for the fit.

    Raises:
        ValueError: The first or the last response has another embedding.
    """
    for response in {0, dataset.num_responses - 1}:
        prompt = dataset.prompts[int(dataset.prompt_index[response])]
        found = np.asarray(encoder.read([dataset.responses[response]], [prompt]))[0]
        expected = np.asarray(embeddings[response])
        same = found.shape == expected.shape
        if not same or np.linalg.norm(found - expected) > SAME * np.linalg.norm(expected) + 1e-6:
            raise ValueError(
                f"the encoder {encoder.fingerprint!r} gives response {response} another embedding "
                "than the one to be fitted: the embeddings are of another encoder, in another "
                "order, or made with or without the prompt"
            )


def _number_users(
    comparisons: Comparisons, num_users: int | None
) -> tuple[Comparisons, tuple[Any, ...]]:
    """Users counted from 0, and what they were called."""
    user = np.asarray(comparisons.user)
    if num_users is not None:
        return comparisons, tuple(range(num_users))
    if user.dtype.kind == "f" and not np.array_equal(user, np.trunc(user)):
        raise ValueError("comparisons.user must hold names or whole numbers, not fractions")
    if user.ndim != 1:
        raise ValueError(f"comparisons.user must have one axis, got shape {user.shape}")
    names, index = np.unique(user, return_inverse=True)
    if names.dtype.kind in "OU":
        report_near_equal(str(name) for name in names)
    return comparisons._replace(user=index.astype(np.int32)), tuple(names.tolist())
