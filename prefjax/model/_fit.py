"""The fit of a model from comparisons and embeddings, with ids of any kind."""

import warnings
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from prefjax import basis, metrics
from prefjax.basis import EMConfig, SearchConfig
from prefjax.basis.gauge import canonicalize_program
from prefjax.data.names import report_near_equal
from prefjax.data.validate import validate_embeddings
from prefjax.model._model import PreferenceModel
from prefjax.person import describe
from prefjax.types import Array, Comparisons, FitInfo

FEWEST_USERS = 4
"""Users with rows below whom none can be held out."""
LIMIT = 1.959964
"""Standard errors of a 95 % interval."""


def fit(
    comparisons: Comparisons,
    embeddings: Float[Array, "response input"],
    *,
    num_users: int | None = None,
    group: Int[Array, " _"] | None = None,
    standardize: bool = False,
    seed: int = 0,
    config: EMConfig = EMConfig(),
    search_config: SearchConfig = SearchConfig(),
) -> PreferenceModel:
    """Fits base rewards and the population to many people's choices.

    Args:
        comparisons: Who preferred which response to which. Users may have any names or numbers;
            responses are rows of ``embeddings``.
        embeddings: One frozen embedding a response, in order of response id.
        num_users: Number of users, who are then numbered from 0 whether they have rows or not; by
            default users are those who have rows.
        group: Group of each response, such as its prompt, if new people will be asked about some
            groups and served on others; the penalties are then learned for that.
        standardize: Give every column of the embeddings its own scale, for columns in different
            units.
        seed: Seed of the split of people on which the penalties are learned.
        config: J and the settings of the fit; J may be too large without harm.
        search_config: Candidate penalties.

    Raises:
        ValueError: A row or an embedding is invalid, or fewer than four users have rows; the
            message names it.
        RuntimeError: The fit is not finite.

    Warns:
        UserWarning: The fit still gained when it stopped; nothing personal was found; one column
            carries nearly all of the variance.
    """
    table = validate_embeddings(np.asarray(embeddings)).values
    comparisons, users = _number_users(comparisons, num_users)
    problem = basis.make_problem(
        comparisons, table, num_users=len(users), group=group, by_column=standardize
    )
    num_known = int(np.sum(np.asarray(problem.count) > 0))
    if num_known < FEWEST_USERS:
        raise ValueError(
            f"{num_known} users have comparisons; the penalties are learned from users held out, "
            f"which takes at least {FEWEST_USERS}. basis.fit_block fits at given penalties."
        )
    fitted, people, info = basis.fit(
        jax.random.key(seed), problem, config=config, search_config=search_config
    )
    compared = np.asarray(problem.compared)
    fitted, people, gauge = canonicalize_program(
        fitted, people, describe(fitted, table[compared]).features
    )
    fitted, people = jax.tree.map(np.asarray, (fitted, people))
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((fitted, people)))
    if not finite:
        raise RuntimeError(
            "the fit is not finite; check the scale of embeddings and weights, or give weaker "
            "candidates in search_config"
        )
    report = _report(info, np.asarray(gauge.variance), len(users), comparisons)
    if not report["converged"]:
        warnings.warn(
            f"the fit still gained after {report['num_steps']} rounds; raise config.max_steps",
            stacklevel=2,
        )
    if report["gain_low"] <= 0:
        warnings.warn(
            "nothing personal could be told from these answers: on held-out users the personal "
            f"prediction gains {report['gain']:.4f} nats [{report['gain_low']:.4f}, "
            f"{report['gain_high']:.4f}] over the population",
            stacklevel=2,
        )
    return PreferenceModel(fitted, people, users, report)


def _number_users(
    comparisons: Comparisons, num_users: int | None
) -> tuple[Comparisons, tuple[Any, ...]]:
    """Users counted from 0, and what they were called."""
    user = np.asarray(comparisons.user)
    if num_users is not None:
        return comparisons, tuple(range(num_users))
    if user.dtype.kind == "f" and not np.array_equal(user, np.trunc(user)):
        raise ValueError("comparisons.user must hold names or whole numbers, not fractions")
    if user.ndim != 1:
        raise ValueError(f"comparisons.user must have one axis, got shape {user.shape}")
    names, index = np.unique(user, return_inverse=True)
    if names.dtype.kind in "OU":
        report_near_equal(str(name) for name in names)
    return comparisons._replace(user=index.astype(np.int32)), tuple(names.tolist())


def _report(
    info: FitInfo, variance: np.ndarray, num_users: int, comparisons: Comparisons
) -> dict[str, Any]:
    """What the fit found, in plain values."""
    found = info.search
    chosen = int(found.chosen)
    gain, error = float(found.gain), float(found.gain_error)
    variance = np.maximum(variance, 0.0)
    return {
        "num_users": num_users,
        "num_rows": len(np.asarray(comparisons.user)),
        "converged": bool(info.converged),
        "num_steps": int(info.num_steps),
        "penalties": {name: float(value) for name, value in info.penalties._asdict().items()},
        "held_out_nll": float(found.nll[chosen]),
        "population_nll": float(found.population_nll[chosen]),
        "gain": gain,
        "gain_low": gain - LIMIT * error,
        "gain_high": gain + LIMIT * error,
        "num_factors": len(variance),
        "effective_factors": float(metrics.effective_rank(variance)) if variance.any() else 0.0,
    }
