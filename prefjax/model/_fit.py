"""The fit of a model: from a data set or a file, or from comparisons and embeddings."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from prefjax import basis, metrics
from prefjax.basis import EMConfig, SearchConfig, control
from prefjax.basis.gauge import canonicalize_program
from prefjax.basis.mixture import trimmed
from prefjax.basis.penalties import LEAST_ANSWERS
from prefjax.data import Dataset
from prefjax.encoders import Encoder
from prefjax.model._model import PreferenceModel
from prefjax.model.components import fold, principal_components
from prefjax.model.sources import check_size, prepare
from prefjax.person import describe
from prefjax.types import Array, Comparisons, FitInfo, Mixture

FEWEST_USERS = 4
"""Users with rows below whom none can be held out."""
LIMIT = 1.959964
"""Standard errors of a 95 % interval."""


def fit(
    data: Dataset | Comparisons | str | Path | Any,
    embeddings: Float[Array, "response input"] | None = None,
    *,
    encoder: str | Encoder | None = None,
    num_users: int | None = None,
    group: Int[Array, " _"] | None = None,
    standardize: bool = False,
    num_components: int | None = None,
    num_factors: int | Literal["auto"] | None = None,
    seed: int = 0,
    config: EMConfig = EMConfig(),
    search_config: SearchConfig = SearchConfig(),
    progress: bool | None = None,
) -> PreferenceModel:
    """Fits base rewards and the population to many people's choices.

    Args:
        data: Who preferred which response to which: a data set, a file or a table of one, which are
            read as `prefjax.data` reads them; or comparisons, with ``embeddings``. Users of
            comparisons may have any names or numbers; responses are rows of ``embeddings``. A row
            that says which of several was chosen is one observation, under the softmax of all that
            was shown, and a ranking is one for each place (Plackett–Luce).
        embeddings: One frozen embedding a response, in order of response id. For a data set they
            are made by the encoder if they are not given.
        encoder: How the model reads texts: a name for `prefjax.encoders.get_encoder` or an encoder.
            ``"hashed"``, the default for a data set, and hashed parts of a sum are fitted to its
            texts. With comparisons alone
            it says where the embeddings come from; without, the model reads no texts.
        num_users: Number of users of comparisons, who are then numbered from 0 whether they have
            rows or not; by default users are those who have rows.
        group: Group of each response, such as its prompt, if new people will be asked about some
            groups and served on others; the penalties are then learned for that. Of a data set with
            several prompts these are the groups.
        standardize: Give every column of the embeddings its own scale, for columns in different
            units.
        num_components: Fit on so many principal components of the embeddings of what was compared,
            for embeddings of thousands of columns; None for all.
        num_factors: J; ``"auto"`` counts the directions in which people differ by more than noise
            (`prefjax.basis.choose_num_factors`); None takes that of ``config``.
        seed: Seed of the split of people on which the penalties are learned.
        config: J and the settings of the fit; J may be too large without harm.
        search_config: Candidate penalties.
        progress: Show a bar on the error stream where the fit takes more than two seconds; None
            does so in a terminal.

    Raises:
        ValueError: A row or an embedding is invalid, or fewer than four users have rows; the
            message names it.
        RuntimeError: The fit is not finite.

    Warns:
        UserWarning: The fit still gained when it stopped; nothing personal was found, or people
            answered too little for it to be tested; one column carries nearly all of the variance;
            ``python -m prefjax.train`` is made for as much.
    """
    training = prepare(
        data,
        embeddings,
        encoder=encoder,
        num_users=num_users,
        group=group,
        progress=progress,
    )
    comparisons, table, users = training.comparisons, training.embeddings, training.users
    if isinstance(num_factors, int):
        config = replace(config, num_factors=num_factors)
    check_size(len(comparisons.user), len(users), config.num_factors)
    components = None
    inputs = table
    if num_components is not None:
        components = principal_components(comparisons, table, num_components)
        inputs = (table - components.center) @ components.axes
    problem = basis.make_problem(
        training.observations,
        inputs,
        num_users=len(users),
        group=training.group,
        by_column=standardize,
    )
    if problem.num_users < FEWEST_USERS:
        raise ValueError(
            f"{problem.num_users} users have comparisons; the penalties are learned from users "
            f"held out, which takes at least {FEWEST_USERS}. basis.fit_block fits at given "
            "penalties."
        )
    key = jax.random.key(seed)
    if num_factors == "auto":
        counted = basis.choose_num_factors(key, problem, config=config)
        config = replace(config, num_factors=counted.chosen)
    with _progress(progress, problem, search_config):
        fitted, people, info = basis.fit(key, problem, config=config, search_config=search_config)
    if components is not None:
        fitted = fold(fitted, components)
    compared = np.asarray(problem.response_place) >= 0
    fitted, people, gauge = canonicalize_program(
        fitted, people, describe(fitted, table[compared]).features
    )
    fitted, people = jax.tree.map(np.asarray, (fitted, people))
    fitted = fitted._replace(population=trimmed(fitted.population))
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((fitted, people)))
    if not finite:
        raise RuntimeError(
            "the fit is not finite; check the scale of embeddings and weights, or give weaker "
            "candidates in search_config"
        )
    report = _report(info, np.asarray(gauge.variance), len(users), comparisons)
    if isinstance(fitted.population, Mixture):
        report["num_components"] = len(fitted.population.log_weight)
    if not report["converged"]:
        warnings.warn(
            f"the fit still gained after {report['num_steps']} rounds; raise config.max_steps",
            stacklevel=2,
        )
    num_answers = float(info.search.num_answers)
    if num_answers < LEAST_ANSWERS:
        warnings.warn(
            f"held-out users answer {num_answers:.2f} questions on average beside those that are "
            "predicted: nothing personal can be tested, and everybody is served the population. "
            "Ask each person at least five questions",
            stacklevel=2,
        )
    elif report["gain_low"] <= 0:
        warnings.warn(
            "nothing personal could be told from these answers: on held-out users the personal "
            f"prediction gains {report['gain']:.4f} nats [{report['gain_low']:.4f}, "
            f"{report['gain_high']:.4f}] over the population",
            stacklevel=2,
        )
    return PreferenceModel(fitted, people, users, report, training.encoder)


@contextmanager
def _progress(
    progress: bool | None, problem: basis.Problem, config: SearchConfig
) -> Iterator[None]:
    """A bar over the fits of a search; paths may end early, and go on where they gain."""
    num_folds, _ = config.effort(problem.rows.label.size)
    num_paths = len(config.posterior_scales) * len(config.factor_penalties)
    total = num_folds * (len(config.utility_penalties) + num_paths) + 1
    hidden = None if progress is None else not progress
    with tqdm(total=total, desc="fit", unit="candidate", disable=hidden, delay=2) as bar:

        def tick() -> None:
            bar.total = max(bar.total or 0, bar.n + 2)
            bar.update()

        with control.watched(tick):
            yield
        bar.update(bar.total - bar.n if bar.total else 0)


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
