"""Which prompts explain an axis, choose its label and test it, and the pairs of each part.

No prompt stands in two parts, so a label is tested on responses that had no say in it. Pairs lie
within a prompt and are drawn at random, so they cover the whole range of an axis and not only its
ends. Where there is one prompt or none (statements, jokes), responses are dealt out to blocks that
take the place of prompts.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from prefjax.types import Array

BLOCK_SIZE = 8
"""Responses of a block where there are no prompts."""
FEWEST_GROUPS = 6
"""Groups below which responses are dealt out to blocks instead: a part needs two or more."""


class Pairs(NamedTuple):
    """Pairs of responses to one prompt.

    Attributes:
        first: First response of each pair.
        second: Second response, another one.
        block: Prompt of each pair, or block of responses; the unit of every interval.
    """

    first: Int[np.ndarray, " pair"]
    second: Int[np.ndarray, " pair"]
    block: Int[np.ndarray, " pair"]


class Parts(NamedTuple):
    """The three parts, which share no response.

    Attributes:
        explain: Labels are proposed from these.
        choose: The best proposal is taken on these.
        test: And is reported on these alone.
        of_response: 0, 1, 2 for the part of each response, −1 for none.
    """

    explain: Pairs
    choose: Pairs
    test: Pairs
    of_response: Int[np.ndarray, " response"]


def make_parts(
    seed: int,
    group: Int[Array, " response"],
    *,
    is_new: Bool[Array, " response"] | None = None,
    usable: Bool[Array, " response"] | None = None,
    num_pairs: int = 400,
) -> Parts:
    """Cuts prompts into three parts and draws pairs.

    Args:
        seed: Of the cut and of the pairs.
        group: Prompt of each response.
        is_new: Responses to prompts that the basis was not fitted to: they test, and the others
            explain and choose. Without any, a third of the prompts does each.
        usable: Responses that may stand in a pair; all by default.
        num_pairs: Pairs of each part, about; fewer where there are not as many.

    Raises:
        ValueError: A part has fewer than two prompts with two responses.
    """
    rng = np.random.default_rng(seed)
    group = np.unique(np.asarray(group), return_inverse=True)[1]
    allowed = np.ones(len(group), bool) if usable is None else np.array(usable, bool)
    new = np.zeros(len(group), bool) if is_new is None else np.asarray(is_new, bool)
    groups = np.unique(group[allowed])
    if len(groups) < FEWEST_GROUPS and not new.any():
        shuffled = rng.permutation(np.flatnonzero(allowed))
        group = np.zeros(len(group), int)
        group[shuffled] = np.arange(len(shuffled)) // BLOCK_SIZE
        groups = np.unique(group[allowed])
    of_group = np.full(int(group.max()) + 1, -1)
    if new.any():
        tests = np.unique(group[allowed & new])
        rest = rng.permutation(np.setdiff1d(groups, tests))
        of_group[rest] = np.arange(len(rest)) % 2
        of_group[tests] = 2
    else:
        of_group[rng.permutation(groups)] = np.arange(len(groups)) % 3
    of_response = np.where(allowed, of_group[group], -1)
    drawn = [_draw(rng, group, of_response == part, num_pairs) for part in range(3)]
    for name, pairs in zip(("explain", "choose", "test"), drawn, strict=True):
        if len(np.unique(pairs.block)) < 2:
            raise ValueError(
                f"the part that should {name} has {len(np.unique(pairs.block))} prompts with two "
                "responses; more prompts are needed to test a label"
            )
    return Parts(*drawn, of_response=of_response)


def _draw(rng: np.random.Generator, group: np.ndarray, inside: np.ndarray, num: int) -> Pairs:
    """Distinct pairs at random, as many from each prompt, in random order of their two sides."""
    members = [np.flatnonzero(inside & (group == one)) for one in np.unique(group[inside])]
    members = [responses for responses in members if len(responses) > 1]
    each = -(-num // max(len(members), 1))
    first, second, block = [], [], []
    for place, responses in enumerate(members):
        low, high = np.triu_indices(len(responses), 1)
        chosen = rng.permutation(len(low))[:each]
        swap = rng.random(len(chosen)) < 0.5
        first.append(responses[np.where(swap, high[chosen], low[chosen])])
        second.append(responses[np.where(swap, low[chosen], high[chosen])])
        block.append(np.full(len(chosen), place))
    if not members:
        return Pairs(*(np.zeros(0, np.int64) for _ in range(3)))
    return Pairs(*(np.concatenate(part) for part in (first, second, block)))
