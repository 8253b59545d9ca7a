"""Later data with the ids of earlier data."""

from typing import Any

import numpy as np

from prefjax.data.assembly import join_conversations
from prefjax.data.dataset import Dataset
from prefjax.types import BASELINE, Comparisons


def with_ids_of(like: Dataset, dataset: Dataset) -> Dataset:
    """A data set whose users, prompts and responses have the ids that another gives them.

    Args:
        like: The earlier data set.
        dataset: The later one.

    Returns:
        The later comparisons; users, prompts and responses of ``like`` come first with their ids,
        new ones behind them in their order. A response is known by its text and its prompt.

    >>> rows = [{"user": 1, "prompt": "", "response_a": "x", "response_b": "y", "label": 1}]
    >>> from prefjax.data import read
    >>> read([{**rows[0], "response_a": "z"}], like=read(rows)).responses
    ('x', 'y', 'z')
    """
    users, user_id = _union(like.users, dataset.users)
    prompts, prompt_id = _union(like.prompts, dataset.prompts)
    prompt = prompt_id[dataset.prompt_index]
    known = list(zip(_first_of(like.prompts, like.prompt_index), like.responses, strict=True))
    keys = list(zip(prompt.tolist(), dataset.responses, strict=True))
    responses, response_id = _union(known, keys)
    lookup = np.append(response_id, BASELINE)
    rows = dataset.comparisons
    # Ids of like are kept even where it has a text twice, and with the prompt it gave them.
    prompt_index = np.array(
        [*like.prompt_index.tolist(), *(asked for asked, _ in responses[len(known) :])], np.int32
    )
    return Dataset(
        name=dataset.name,
        comparisons=Comparisons(
            user=user_id[rows.user],
            first=lookup[rows.first],
            second=lookup[rows.second],
            label=rows.label,
            sample_weight=rows.sample_weight,
        ),
        responses=tuple(text for _, text in responses),
        prompt_index=prompt_index,
        prompts=tuple(prompts),
        users=tuple(users),
        meta={**dataset.meta, **_joined(like, dataset, prompts, prompt_id, prompt_index)},
    )


def _first_of(texts: tuple[str, ...], index: np.ndarray) -> list[int]:
    """The first place of each text that is pointed at."""
    place: dict[str, int] = {}
    first = [place.setdefault(text, row) for row, text in enumerate(texts)]
    return [first[row] for row in index.tolist()]


def _union(known: Any, new: Any) -> tuple[list[Any], np.ndarray]:
    """All of the first as they stand, then what is new; and the place of each of the second."""
    every, place = list(known), {}
    for row, value in enumerate(every):
        place.setdefault(value, row)
    index = np.empty(len(new), np.int32)
    for row, value in enumerate(new):
        if value not in place:
            place[value] = len(every)
            every.append(value)
        index[row] = place[value]
    return every, index


def _joined(
    like: Dataset,
    dataset: Dataset,
    prompts: list[str],
    prompt_id: np.ndarray,
    prompt_index: np.ndarray,
) -> dict[str, Any]:
    """Conversations and messages of both."""
    meta: dict[str, Any] = {}
    if "messages" in like.meta or "messages" in dataset.meta:
        messages: list[Any] = [None] * len(prompts)
        for part, place in ((dataset, prompt_id.tolist()), (like, range(like.num_prompts))):
            for row, said in zip(place, part.meta.get("messages") or (), strict=False):
                messages[row] = said if said is not None else messages[row]
        meta["messages"] = messages
    if "conversation" in like.meta or "conversation" in dataset.meta:
        names: list[str | None] = []
        prompt: list[int] = []
        for part, place in ((like, np.arange(like.num_prompts)), (dataset, prompt_id)):
            talks = part.meta.get("conversation")
            names += [None] * part.num_responses if talks is None else [str(talk) for talk in talks]
            prompt += place[part.prompt_index].tolist()
        of_prompt = join_conversations(names, np.array(prompt), prompts)
        meta["conversation"] = [of_prompt[index] for index in prompt_index.tolist()]
    return meta
