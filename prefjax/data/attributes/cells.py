"""The four cells of a simulated world: known and new people, seen prompts and test prompts.

A part of the people is new. On the prompts that everybody saw the others train and the new ones
answer questions; on the test prompts, which have phrasings of their own, the others validate and
the new ones are scored.

References:
    PReF, arXiv 2503.06358, section 5 (the split).
"""

import numpy as np

from prefjax.data.attributes.world import World
from prefjax.data.cut import Split, split_new_prompts


def split_world(world: World, *, new_users: float, seed: int) -> Split:
    """Cut a world into its cells; as many known and new people for every seed.

    Args:
        world: A world of `make_world`.
        new_users: Share of the people who are new, in (0, 1).
        seed: Seed of who is new.

    Returns:
        The split; ``world.seen`` and ``world.unseen`` list the responses of either side.

    Raises:
        ValueError: If that share leaves nobody known or nobody new.
    """
    num_users = len(world.weights)
    num_known = round((1 - new_users) * num_users)
    if not 0 < num_known < num_users:
        raise ValueError(
            f"new_users={new_users} makes {num_users - num_known} of {num_users} people new; some "
            "must be and some must not."
        )
    order = np.random.default_rng(seed).permutation(num_users)
    prompt = world.dataset.prompt_index
    return split_new_prompts(
        world.dataset.comparisons,
        known_users=order[:num_known],
        new_users=order[num_known:],
        is_new_response=world.test_prompt[prompt],
        group=prompt,
    )
