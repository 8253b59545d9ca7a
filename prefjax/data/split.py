"""Drawing the four cells of the paper: known and new users by seen and new prompts.

What is drawn is whole groups of responses (:mod:`prefjax.data.same_text`), what is asked for is a
share of the *rows*. Groups differ in size, and a canned reply that stands under many prompts joins
them all to one group; so the share of a draw is measured, a draw that misses it is replaced by one
that fills up to it group by group, and where no draw can reach it the text that joins the largest
group is named.

References:
    arXiv 2503.06358, section 5.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from prefjax.data.cut import CELLS, Split, check_group, split_new_prompts
from prefjax.data.dataset import Dataset
from prefjax.data.observations import weigh_choices
from prefjax.data.same_text import GroupKind, describe_group, group_responses
from prefjax.types import BASELINE

__all__ = [
    "CELLS",
    "NewPromptsConfig",
    "Split",
    "four_cells",
    "group_responses",
    "split_new_prompts",
]


_REDRAWS = 64
"""Orders in which groups are tried until their rows are the share asked for."""


@dataclass(frozen=True)
class NewPromptsConfig:
    """Shares of people and of rows that are new.

    Attributes:
        group: What is seen or new: prompts, or responses where prompts are one or none.
        new_users: Share of the users with rows who are new.
        new_groups: Share of the rows that lie in new groups.
        tolerance: Largest distance of that share from what is asked for; half a group of ordinary
            size is allowed in any case, since groups are not cut.
    """

    group: GroupKind = "prompt"
    new_users: float = 0.2
    new_groups: float = 0.2
    tolerance: float = 0.05


def four_cells(
    dataset: Dataset,
    *,
    group: GroupKind | Shaped[np.ndarray, " _"] = "prompt",
    new_users: float = 0.2,
    new_groups: float = 0.2,
    tolerance: float = 0.05,
    seed: int = 0,
) -> Split:
    """Cut a data set into train, validation, calibration and test.

    Args:
        dataset: The data set.
        group: What is seen or new: ``"prompt"``, or ``"response"`` where prompts are one or none;
            or the group of each response, for example its conversation.
        new_users: Share of the users with rows who are new.
        new_groups: Share of the rows that lie in new groups.
        tolerance: Largest distance of that share from what is asked for; half a group of ordinary
            size is allowed in any case, since groups are not cut.
        seed: Seed of both draws.

    Returns:
        The split; the rows of a cell stand in the order of the data set.

    Raises:
        ValueError: If a share is not inside (0, 1), ``group`` is of another length, there are
            fewer than two users or groups, no choice of groups has that share of the rows, or a
            cell has no row.
    """
    for name, share in (("new_users", new_users), ("new_groups", new_groups)):
        if not 0.0 < share < 1.0:
            raise ValueError(f"{name} must lie inside (0, 1), got {share}.")
    rng = np.random.default_rng(seed)
    rows = weigh_choices(dataset)
    what = f"groups of one {group}" if isinstance(group, str) else "groups"
    table = (
        group_responses(dataset, group)
        if isinstance(group, str)
        else check_group(group, dataset.num_responses)
    )
    present = np.unique(rows.user)
    new = _draw(present, new_users, rng, "users", "")
    groups = np.unique(table)
    why = f" ({describe_group(dataset, np.flatnonzero(table == groups[0]))})"
    drawn = _draw(groups, new_groups, rng, what, why)
    drawn = _reach_share(dataset, table, drawn, new_groups, tolerance, rng)
    split = split_new_prompts(
        rows,
        known_users=np.setdiff1d(present, new),
        new_users=new,
        is_new_response=np.isin(table, drawn),
        group=table,
    )
    for cell in CELLS:
        if len(getattr(split, cell).user) == 0:
            raise ValueError(f"The cell {cell} of data set {dataset.name!r} has no row.")
    return split


def _draw(
    members: np.ndarray, share: float, rng: np.random.Generator, what: str, why: str
) -> np.ndarray:
    if len(members) < 2:
        raise ValueError(f"A split needs at least two {what}, found {len(members)}{why}.")
    num_drawn = int(np.clip(round(share * len(members)), 1, len(members) - 1))
    return np.sort(rng.choice(members, size=num_drawn, replace=False))


def _reach_share(
    dataset: Dataset,
    group: np.ndarray,
    drawn: np.ndarray,
    share: float,
    tolerance: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """The drawn groups if their rows are the share asked for, or others that are.

    A row counts for a group if both of its responses lie in it; rows between groups count for
    neither side.
    """
    rows = dataset.comparisons
    first = group[rows.first]
    second = np.where(rows.second == BASELINE, first, group[rows.second])
    size = np.bincount(first[first == second], minlength=int(group.max()) + 1).astype(float)
    if size.sum() == 0:
        size = np.bincount(first, minlength=len(size)).astype(float)
    size /= size.sum()
    with_rows = size[size > 0]
    allowed = max(tolerance, float(np.quantile(with_rows, 0.5, method="lower")) / 2)
    if abs(size[drawn].sum() - share) <= allowed:
        return drawn
    for _ in range(_REDRAWS):
        total, chosen = 0.0, []
        for index in rng.permutation(np.flatnonzero(size)):
            if total + size[index] <= share + allowed and total < share:
                total += size[index]
                chosen.append(index)
        if abs(total - share) <= allowed:
            return np.sort(np.array(chosen))
    largest = int(np.argmax(size))
    raise ValueError(
        f"No choice of groups has {share:.0%} ± {allowed:.0%} of the rows of data set "
        f"{dataset.name!r}: the largest group has {size[largest]:.0%} "
        f"({describe_group(dataset, np.flatnonzero(group == largest))}). Leave such a text out, "
        "pass group= for a coarser or finer one, or another share or tolerance."
    )
