"""The four cells of the paper: known and new users by seen and new prompts.

                  seen prompts    new prompts
    known users   train           validation
    new users     calibration     test

A new user answers in calibration and is scored in test. What is cut is a *group*: prompts, or
responses where there is one prompt or none, joined whenever they share a text after normalization,
so that nothing that is shared straddles the cut. A row whose two responses fall on both sides is
dropped and counted.

References:
    arXiv 2503.06358, prefjax5.
"""

import re
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from prefjax.data.dataset import Dataset
from prefjax.types import BASELINE

Unit = Literal["prompt", "response"]


class Split(NamedTuple):
    """Row numbers of the four cells and what defines them.

    Attributes:
        train: Known users, seen groups.
        validation: Known users, new groups.
        calibration: New users, seen groups.
        test: New users, new groups.
        new_users: Indices of the new users.
        is_new_response: Whether a response is in a new group.
        unit: What was cut.
        num_mixed: Rows dropped because their two responses lie on both sides.
    """

    train: Int[np.ndarray, " row"]
    validation: Int[np.ndarray, " row"]
    calibration: Int[np.ndarray, " row"]
    test: Int[np.ndarray, " row"]
    new_users: Int[np.ndarray, " user"]
    is_new_response: Bool[np.ndarray, " response"]
    unit: Unit
    num_mixed: int


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


def group_responses(dataset: Dataset, unit: Unit) -> Int[np.ndarray, " response"]:
    """The group of each response: the smallest sets that no split may cut.

    Args:
        dataset: The data set.
        unit: ``"prompt"`` keeps all responses of a prompt together, and prompts that share a
            response or are the same text; ``"response"`` joins equal responses only.

    Returns:
        Group indices ``0 .. num_groups - 1``.
    """
    _, text = np.unique([normalize_text(text) for text in dataset.responses], return_inverse=True)
    if unit == "response":
        return text.astype(np.int32)
    _, prompt = np.unique([normalize_text(text) for text in dataset.prompts], return_inverse=True)
    num_prompts = prompt.max() + 1
    prompt_of = prompt[dataset.prompt_of]
    num_nodes = num_prompts + text.max() + 1
    edges = coo_array(
        (np.ones(len(text)), (prompt_of, num_prompts + text)), shape=(num_nodes, num_nodes)
    )
    _, component = connected_components(edges, directed=False)
    _, group = np.unique(component[prompt_of], return_inverse=True)
    return group.astype(np.int32)


def four_cells(
    dataset: Dataset,
    *,
    unit: Unit = "prompt",
    new_users: float = 0.2,
    new_units: float = 0.2,
    groups: Int[np.ndarray, " response"] | None = None,
    seed: int = 0,
) -> Split:
    """Cut a data set into train, validation, calibration and test.

    Args:
        dataset: The data set.
        unit: What is seen or new: prompts, or responses where prompts are one or none.
        new_users: Share of the users with rows who are new.
        new_units: Share of the groups that are new.
        groups: Group of each response, for example its conversation; by unit and text if None.
        seed: Of both draws.

    Returns:
        Rows of the four cells, each in ascending order.

    Raises:
        ValueError: If a share is not inside (0, 1), there are fewer than two users or groups, or a
            cell has no row.
    """
    for name, share in (("new_users", new_users), ("new_units", new_units)):
        if not 0.0 < share < 1.0:
            raise ValueError(f"{name} must lie inside (0, 1), got {share}.")
    rng = np.random.default_rng(seed)
    rows = dataset.comparisons
    group = group_responses(dataset, unit) if groups is None else np.asarray(groups)
    held_users = _draw(np.unique(rows.user), new_users, rng, "users")
    held_groups = _draw(np.unique(group), new_units, rng, f"groups of one {unit}")
    is_new_response = np.isin(group, held_groups)
    is_new_user = np.isin(rows.user, held_users)
    first_new = is_new_response[rows.first]
    second_new = np.where(rows.second == BASELINE, first_new, is_new_response[rows.second])
    whole = first_new == second_new
    cells = {
        "train": whole & ~is_new_user & ~first_new,
        "validation": whole & ~is_new_user & first_new,
        "calibration": whole & is_new_user & ~first_new,
        "test": whole & is_new_user & first_new,
    }
    for name, inside in cells.items():
        if not inside.any():
            raise ValueError(f"The cell {name} of data set {dataset.name!r} has no row.")
    return Split(
        train=np.flatnonzero(cells["train"]),
        validation=np.flatnonzero(cells["validation"]),
        calibration=np.flatnonzero(cells["calibration"]),
        test=np.flatnonzero(cells["test"]),
        new_users=held_users,
        is_new_response=is_new_response,
        unit=unit,
        num_mixed=int((~whole).sum()),
    )


def _draw(members: np.ndarray, share: float, rng: np.random.Generator, what: str) -> np.ndarray:
    if len(members) < 2:
        raise ValueError(f"A split needs at least two {what}, found {len(members)}.")
    num_drawn = int(np.clip(round(share * len(members)), 1, len(members) - 1))
    return np.sort(rng.choice(members, size=num_drawn, replace=False))
