"""A split that came with the data: whoever compares with published numbers must not draw another.

``meta["split"]`` names the part of each row. Parts that start with ``test`` are scored.

1. If people have rows both in test parts and in others, the groups of test rows are new for
   everybody, and which people are new is drawn: what they say elsewhere is calibration.
2. If the split is of people, those of the test parts are new, and their groups are halved at
   random into calibration and test.
"""

from dataclasses import dataclass

import numpy as np

from prefjax.data.cut import Split, select_rows, split_new_prompts
from prefjax.data.dataset import Dataset
from prefjax.data.observations import weigh_choices


@dataclass(frozen=True)
class PublishedConfig:
    """How a published split becomes one of known and new people.

    Attributes:
        new_users: Share of the people with test rows who are new, where the split is of rows.
        calibration: Share of a new person's groups that ask, where the split is of people.
    """

    new_users: float = 0.2
    calibration: float = 0.5


def split_published(dataset: Dataset, config: PublishedConfig, *, seed: int = 0) -> Split:
    """Divide people and rows as the published split says.

    Args:
        dataset: A data set with ``meta["split"]``.
        config: What the published split leaves open.
        seed: Seed of the draw of people, or of the halves of their groups.

    Returns:
        The split; rows outside the published test part whose group has a test row are in no cell
        and counted in ``num_mixed``.

    Raises:
        ValueError: If there is no published split, or it has no test part or nothing else.
    """
    parts = dataset.meta.get("split")
    if parts is None:
        raise ValueError(f"data set {dataset.name!r} has no published split.")
    is_test = np.char.startswith(np.asarray(parts), "test")
    if is_test.all() or not is_test.any():
        raise ValueError(
            f"the published split of {dataset.name!r} has {int(is_test.sum())} test rows of "
            f"{len(is_test)}; the parts are {', '.join(sorted(set(parts)))}."
        )
    rng = np.random.default_rng(seed)
    rows, group = weigh_choices(dataset), dataset.group
    tested, others = np.unique(rows.user[is_test]), np.unique(rows.user[~is_test])
    by_row = np.intersect1d(tested, others)
    if len(by_row):
        num_new = max(round(config.new_users * len(by_row)), 1)
        new_users = np.sort(rng.choice(by_row, num_new, replace=False))
        new_groups = np.unique(group[rows.first[is_test]])
    else:
        new_users = tested
        groups = rng.permutation(np.unique(group[rows.first[is_test]]))
        new_groups = groups[round(config.calibration * len(groups)) :]
    known_users = np.setdiff1d(np.arange(dataset.num_users), new_users)
    known_users = np.intersect1d(known_users, np.unique(rows.user))
    is_new_response = np.isin(group, new_groups)
    is_mixed = np.zeros(len(is_test), dtype=bool)
    if len(by_row):
        is_mixed = is_new_response[rows.first] & ~is_test
    split = split_new_prompts(
        select_rows(rows, ~is_mixed),
        known_users=known_users,
        new_users=new_users,
        is_new_response=is_new_response,
        group=group,
    )
    return split._replace(num_mixed=split.num_mixed + int(is_mixed.sum()))
