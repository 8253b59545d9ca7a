"""Chooses the number of factors J by the loss on training users held out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from prefjax.basis.penalties import search_penalties
from prefjax.basis.problem import Problem
from prefjax.basis.state import DEFAULT, SEARCH_DEFAULT, EMConfig, SearchConfig
from prefjax.types import PRNGKey


class NumFactorsResult(NamedTuple):
    """Held-out loss for every J, each at its own best penalties, and the best J.

    Attributes:
        num_factors: Candidates of J.
        nll: Held-out predictive loss of each, in nats.
        chosen: The J with the smallest.
    """

    num_factors: tuple[int, ...]
    nll: Float[np.ndarray, " candidate"]
    chosen: int


def choose_num_factors(
    key: PRNGKey,
    problem: Problem,
    *,
    candidates: Sequence[int] = (1, 2, 4, 6, 8),
    config: EMConfig = DEFAULT,
    search_config: SearchConfig = SEARCH_DEFAULT,
) -> NumFactorsResult:
    """Compares several J on the same held-out answers; a host loop, one program for each J.

    The default fit prunes factors it does not need, so J may simply be set large; this is for
    those who want the number itself.

    Args:
        key: Draws the held-out users and answers, the same for every J.
        problem: From `make_problem`.
        candidates: Candidates of J.
        config: Settings of the fits; J is replaced.
        search_config: Settings of the search.
    """
    losses = []
    for num_factors in candidates:
        found = search_penalties(
            key,
            problem,
            config=replace(config, num_factors=num_factors),
            search_config=search_config,
        )
        losses.append(float(np.nanmin(found.nll)))
    return NumFactorsResult(
        tuple(candidates), np.asarray(losses), candidates[int(np.argmin(losses))]
    )
