"""Chooses the number of factors J by the loss on training users held out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from prefjax.factorization.learn import LEARN_DEFAULT, LearnConfig, search
from prefjax.factorization.rows import Rows
from prefjax.factorization.state import DEFAULT, Embeddings, EMConfig
from prefjax.types import PRNGKey


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
    candidates: Sequence[int] = (1, 2, 4, 6, 8),
    config: EMConfig = DEFAULT,
    learn_config: LearnConfig = LEARN_DEFAULT,
) -> Choice:
    """Compares several J on the same held-out answers; a host loop, one program for each J.

    The default fit prunes factors it does not need, so J may simply be set large; this is for
    those who want the number itself.
    """
    losses = [
        float(
            np.min(
                search(
                    key,
                    rows,
                    embeddings,
                    num_users=num_users,
                    num_responses=num_responses,
                    config=replace(config, num_factors=num_factors),
                    learn_config=learn_config,
                ).nll
            )
        )
        for num_factors in candidates
    ]
    return Choice(tuple(candidates), np.asarray(losses), candidates[int(np.argmin(losses))])
