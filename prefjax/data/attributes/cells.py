"""The four cells of a simulated world: known and new people, seen and new prompts.

A part of the people is new. On the prompts that everybody saw the others train and the new ones
answer questions; on the prompts that nobody saw, which have phrasings of their own, the others
validate and the new ones are scored.

References:
    PReF, arXiv 2503.06358, prefjax5 (the split).
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from prefjax.data.attributes.world import World
from prefjax.data.group import group_by_user
from prefjax.types import Comparisons, UserBatch


class Cells(NamedTuple):
    """Everybody's comparisons by cell; people are counted by their place in ``old`` and ``new``.

    Attributes:
        train: Known people, seen prompts.
        validation: Known people, new prompts.
        test: New people, new prompts.
        seen: Responses of each seen prompt, the pool of questions to new people.
        unseen: Responses of each new prompt, what new people may be served.
        old: Known people of the world.
        new: New people of the world.
    """

    train: Comparisons
    validation: UserBatch
    test: UserBatch
    seen: Int[np.ndarray, "prompt response"]
    unseen: Int[np.ndarray, "prompt response"]
    old: Int[np.ndarray, " user"]
    new: Int[np.ndarray, " user"]


def cut(world: World, *, new_users: float, seed: int) -> Cells:
    """Cut a world into its cells; the same shapes for every seed of one world's config.

    Args:
        world: From `make_world`.
        new_users: Part of the people who are new, in (0, 1).
        seed: Who is new.

    Raises:
        ValueError: If that part leaves nobody known or nobody new.
    """
    rows = world.dataset.comparisons
    num_users = len(world.weights)
    num_old = round((1 - new_users) * num_users)
    if not 0 < num_old < num_users:
        raise ValueError(
            f"new_users={new_users} makes {num_users - num_old} of {num_users} people new; some "
            "must be and some must not"
        )
    order = np.random.default_rng(seed).permutation(num_users)
    old, new = order[:num_old], order[num_old:]
    place = np.empty(num_users, np.int32)
    place[old], place[new] = np.arange(num_old), np.arange(num_users - num_old)
    is_new = np.isin(rows.user, new)
    is_test = world.test_prompt[world.dataset.prompt_of]
    tested = is_test[rows.first]

    def cell(mask) -> Comparisons:
        return Comparisons(*(column[mask] for column in rows._replace(user=place[rows.user])))

    length = round(2 * world.config.test_fraction * world.config.pairs_per_user)
    batch = partial(group_by_user, length=length, longer="truncate")
    return Cells(
        train=cell(~is_new & ~tested),
        validation=batch(cell(~is_new & tested), len(old)),
        test=batch(cell(is_new & tested), len(new)),
        seen=np.flatnonzero(~is_test).reshape(-1, world.config.responses_per_prompt),
        unseen=np.flatnonzero(is_test).reshape(-1, world.config.responses_per_prompt),
        old=old,
        new=new,
    )
