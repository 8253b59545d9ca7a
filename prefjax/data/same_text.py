"""Which responses say the same, and the smallest groups of responses that no split may cut."""

import re
from typing import Literal

import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from prefjax.data.dataset import Dataset

GroupKind = Literal["prompt", "response"]


def normalize_text(text: str) -> str:
    """What is left of a text for the question whether two are the same: its words in lower case.

    Args:
        text: Any text.

    Returns:
        The words joined by one space; the stripped text if it has no word.

    >>> normalize_text('  "Yes", I   DO. ')
    'yes i do'
    """
    return " ".join(re.findall(r"\w+", text.casefold())) or text.strip()


def group_responses(dataset: Dataset, kind: GroupKind) -> Int[np.ndarray, " response"]:
    """The group of each response: the smallest sets that no split may cut.

    Args:
        dataset: The data set.
        kind: ``"prompt"`` keeps all responses of a prompt together, and prompts that share a
            response or are the same text; ``"response"`` joins equal responses only.

    Returns:
        Group indices ``0 .. num_groups - 1``.
    """
    _, text = np.unique([normalize_text(text) for text in dataset.responses], return_inverse=True)
    if kind == "response":
        return text.astype(np.int32)
    _, prompt = np.unique([normalize_text(text) for text in dataset.prompts], return_inverse=True)
    num_prompts = prompt.max() + 1
    prompt_index = prompt[dataset.prompt_index]
    num_nodes = num_prompts + text.max() + 1
    edges = coo_array(
        (np.ones(len(text)), (prompt_index, num_prompts + text)), shape=(num_nodes, num_nodes)
    )
    _, component = connected_components(edges, directed=False)
    _, group = np.unique(component[prompt_index], return_inverse=True)
    return group.astype(np.int32)


def describe_group(dataset: Dataset, members: Int[np.ndarray, " response"]) -> str:
    """Why so many prompts are one group: how many, and the text that most of them share.

    Args:
        dataset: The data set.
        members: Responses of the group.

    Returns:
        Words for a message, such as ``90 of 100 prompts, joined by the response "I cannot."``.
    """
    prompts = np.unique(dataset.prompt_index[members])
    if len(prompts) < 2:
        return f"{len(members)} responses to one prompt"
    texts = np.array([normalize_text(dataset.responses[index]) for index in members.tolist()])
    _, text = np.unique(texts, return_inverse=True)
    pairs = np.unique(np.stack([text, dataset.prompt_index[members]]), axis=1)
    shared = np.bincount(pairs[0])
    example = dataset.responses[members[int(np.argmax(text == int(np.argmax(shared))))]]
    joined = f"joined by the response {example[:80]!r}, which {shared.max()} of them have"
    if shared.max() < 2:
        joined = "joined by prompts of one text"
    return f"{len(prompts)} of {dataset.num_prompts} prompts, {joined}"
