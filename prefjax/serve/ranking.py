"""Requests to rank that wait at the same time, read and ranked in one program."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from prefjax.model import PreferenceModel
from prefjax.person import Ranking, rank_many
from prefjax.person.reading import joined
from prefjax.types import Gaussian, Items


class RankRequest(NamedTuple):
    """Candidates to be ranked for one person.

    Attributes:
        belief: What is known of the person.
        prompt: Text of the prompt; None where the candidates are embeddings.
        candidates: Texts, or embeddings with one row a response.
    """

    belief: Gaussian
    prompt: str | None
    candidates: Any


def rank(model: PreferenceModel, requests: Sequence[RankRequest]) -> list[Ranking]:
    """Candidates of each request in the order that its person is expected to like them.

    Args:
        model: Gives φ and t.
        requests: Any number of them, of texts or of embeddings.

    Raises:
        ValueError: A candidate is not legal; the message does not say of which request.
    """
    items: dict[int, Items] = {}
    for are_texts in (False, True):
        places = [i for i, one in enumerate(requests) if (one.prompt is not None) == are_texts]
        if places:
            items |= zip(places, _read(model, [requests[i] for i in places]), strict=True)
    beliefs = [one.belief for one in requests]
    return rank_many(model.basis, beliefs, [items[i] for i in range(len(requests))])


def _read(model: PreferenceModel, requests: Sequence[RankRequest]) -> list[Items]:
    """φ and t of the candidates of each request, all texts or all embeddings, read at once."""
    if requests[0].prompt is None:
        items = model.reader(joined([one.candidates for one in requests], np.concatenate))
    else:
        texts = [text for one in requests for text in one.candidates]
        prompts = [one.prompt or "" for one in requests for _ in one.candidates]
        items = model.reader(texts, prompts)
    counts = [len(one.candidates) for one in requests]
    stops = np.cumsum(counts)[:-1]
    parts = [
        [None] * len(counts) if part is None else np.split(np.asarray(part), stops)
        for part in items
    ]
    return [Items(*one) for one in zip(*parts, strict=True)]
