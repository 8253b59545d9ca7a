"""Chooses the number of factors J by the loss on training users held out."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from prefjax.basis.penalties import LEARN_DEFAULT, LearnConfig, search_penalties
from prefjax.basis.rows import Rows
from prefjax.basis.state import DEFAULT, Embeddings, EMConfig
from prefjax.types import Array, PRNGKey


class Choice(NamedTuple):
    """Held-out loss for every J, each at its own best strengths, and the best J."""

    num_factors: tuple[int, ...]
    nll: Float[np.ndarray, " candidate"]
    chosen: int


def choose_num_factors(
    key: PRNGKey,
    rows: Rows,
    embeddings: Embeddings,
    *,
    num_users: int,
    num_responses: int,
    unit: Int[Array, " response"] | None = None,
    candidates: Sequence[int] = (1, 2, 4, 6, 8),
    config: EMConfig = DEFAULT,
    learn_config: LearnConfig = LEARN_DEFAULT,
) -> Choice:
    """Compares several J on the same held-out answers; a host loop, one program for each J.

    The default fit prunes factors it does not need, so J may simply be set large; this is for
    those who want the number itself.

    Args:
        key: Draws the held-out users and answers, the same for every J.
        rows: From `make_rows`.
        embeddings: One row a response, or None for free factors.
        num_users: U.
        num_responses: Number of responses.
        unit: Group of each response, as in `fit_learned`.
        candidates: J.
        config: Settings of the fits; J is replaced.
        learn_config: Settings of the search.
    """
    losses = []
    for num_factors in candidates:
        run = partial(
            search_penalties,
            num_users=num_users,
            num_responses=num_responses,
            config=replace(config, num_factors=num_factors),
            learn_config=learn_config,
        )
        found = jax.jit(run)(key, rows, embeddings, unit=unit)
        losses.append(float(np.nanmin(found.nll)))
    return Choice(tuple(candidates), np.asarray(losses), candidates[int(np.argmin(losses))])
