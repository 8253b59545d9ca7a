"""One family on one draw: choose its settings, fit it, and score new people by answers given.

The settings are among those of `Family.config_grid`, at most eight, from weak to strong: the last
one whose AUC for held-out training people, averaged over all numbers of answers, cannot be told
from the best (one standard error of the difference, over people). The family is then fitted to all
training people, and with the same settings to nulls:

    shuffled-users     training rows, and answers of new people, dealt out to people at random
    shuffled-labels    training labels, and labels of the answers, permuted among the rows

and scored by ``wrong-user``: the state that another new person's answers make. Without answers
every family is its own population model; `per-user` has none and is indifferent.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax import metrics
from prefjax.basis import Problem, stack_problems, standardize
from prefjax.data.group import ungroup
from prefjax.families import Answers, Family, gather, score
from prefjax.lab.compare.draws import Draw, Source
from prefjax.types import BASELINE, Array, PRNGKey, UserBatch

CONTROLS = ("wrong-user", "shuffled-users", "shuffled-labels")


class Measured(NamedTuple):
    """Scores of every new person after each number of answers."""

    auc: Float[np.ndarray, "answers user"]
    nll: Float[np.ndarray, "answers user"]


class Case(NamedTuple):
    """A draw on the device; cases of one shape share their programs.

    Attributes:
        data: Training rows.
        answers: Of new people.
        tests: Of new people; weight 0 is padding.
    """

    data: Problem
    answers: Answers
    tests: Answers


class Cases(NamedTuple):
    """What one cell of a comparison is computed from."""

    inner: Case
    outer: Case
    shuffled_users: Case
    shuffled_labels: Case
    num_held: int
    num_new: int
    votes: bool


def pad_batch(batch: UserBatch, users: int, pairs: int) -> UserBatch:
    """More users and pairs, all masked."""
    missing = (0, users - batch.label.shape[0]), (0, pairs - batch.label.shape[1])
    fills = 0, BASELINE, 0.5, 0, False
    return UserBatch(
        *(
            np.pad(column, missing, constant_values=fill)
            for column, fill in zip(batch, fills, strict=True)
        )
    )


def shuffle_users(rng: np.random.Generator, draw: Draw) -> Draw:
    """The same rows said by random people; the tests keep their person."""
    answers = draw.answers
    mask = answers.mask
    order = rng.permutation(int(mask.sum()))

    def deal(column: Array) -> np.ndarray:
        dealt = np.array(column)
        dealt[mask] = dealt[mask][order]
        return dealt

    train = draw.split.train
    return draw._replace(
        split=draw.split._replace(
            train=train._replace(user=rng.permutation(train.user)),
            calibration=ungroup(UserBatch(*map(deal, answers))),
        )
    )


def shuffle_labels(rng: np.random.Generator, draw: Draw) -> Draw:
    """The same rows with labels permuted among them; the tests keep theirs."""
    train, answers = draw.split.train, ungroup(draw.answers)
    answers = answers._replace(label=rng.permutation(answers.label))
    return draw._replace(
        split=draw.split._replace(
            train=train._replace(label=rng.permutation(train.label)), calibration=answers
        )
    )


def make_cases(sources: list[Source], seeds: list[int]) -> list[Cases]:
    """Draws of several seeds of one set in one shape, so that they share programs; host only."""
    draws = []
    for source, seed in zip(sources, seeds, strict=True):
        rng = np.random.default_rng(seed)
        draw = source.draw
        nulls = shuffle_users(rng, draw), shuffle_labels(rng, draw)
        if source.embed is not None:
            nulls = (null._replace(embeddings=source.embed(null.split.train)) for null in nulls)
        draws += [source.inner, draw, *nulls]
    num_users = max(len(draw.split.known_users) for draw in draws)
    data = stack_problems(
        [draw.split.train for draw in draws],
        [draw.embeddings for draw in draws],
        num_users=num_users,
        context=[draw.context for draw in draws],
        group=[draw.split.group for draw in draws],
    )

    def shapes(of: Callable[[Draw], UserBatch]) -> tuple[int, int]:
        sizes = np.array([of(draw).label.shape for draw in draws])
        return int(sizes[:, 0].max()), int(sizes[:, 1].max())

    asked, told = shapes(lambda draw: draw.answers), shapes(lambda draw: draw.tests)

    def case(number: int) -> Case:
        draw = draws[number]
        problem = jax.tree.map(lambda leaf: leaf[number], data)
        inputs = standardize(problem.standardizer, draw.embeddings)
        part = partial(gather, inputs, context=draw.context)
        return Case(
            data=problem,
            answers=part(pad_batch(draw.answers, *asked)),
            tests=part(pad_batch(draw.tests, *told)),
        )

    return [
        Cases(
            *(case(4 * place + kind) for kind in range(4)),
            num_held=len(source.inner.split.new_users),
            num_new=len(source.draw.split.new_users),
            votes=source.votes,
        )
        for place, source in enumerate(sources)
    ]


@lru_cache(maxsize=64)
def programs(family: Family, num_answers: tuple[int, ...], votes: bool):
    """Compiled fit and evaluation of a family."""

    def first(answers: Answers, number: Array) -> Answers:
        counted = jnp.cumsum(answers.sample_weight > 0, axis=1) <= number
        return answers._replace(sample_weight=jnp.where(counted, answers.sample_weight, 0.0))

    def evaluate(params: Any, answers: Answers, tests: Answers, config: Any):
        adapt = jax.vmap(family.adapt, in_axes=(None, 0, None))
        auc = jax.vmap(partial(metrics.auc, mirrored=not votes))
        mask = tests.sample_weight > 0

        def at(number: Array) -> tuple[jax.Array, jax.Array]:
            states = adapt(params, first(answers, number), config)
            logit = score(family, params, states, tests)
            loss = jnp.where(mask, metrics.nll(logit, tests.label), 0.0)
            mean = jnp.sum(loss, axis=1) / jnp.maximum(jnp.sum(mask, axis=1), 1)
            return auc(logit, tests.label, mask), mean

        return jax.lax.map(at, jnp.asarray(num_answers))

    return jax.jit(family.fit), jax.jit(evaluate)


def scores_of(
    family: Family,
    params: Any,
    config: Any,
    case: Case,
    num_users: int,
    num_answers: tuple[int, ...],
    *,
    votes: bool = False,
) -> Measured:
    """Scores of the first ``num_users`` new people of a case after each number of answers."""
    _, evaluate = programs(family, num_answers, votes)
    auc, nll = evaluate(params, case.answers, case.tests, config)
    return Measured(np.asarray(auc)[:, :num_users], np.asarray(nll)[:, :num_users])


def strongest(auc: Float[np.ndarray, "config user"]) -> int:
    """The last config whose mean is within one standard error of the best, in pairs over people.

    People without both labels among their tests are NaN and do not count; nor does a config that is
    NaN for everybody.
    """
    counted = auc[:, ~np.isnan(auc).all(axis=0)]
    if not counted.size:
        return len(auc) - 1
    mean = np.nan_to_num(counted.mean(axis=1), nan=-np.inf)
    lost = counted[np.argmax(mean)][None] - counted
    error = lost.std(axis=1) / np.sqrt(counted.shape[1])
    return int(np.flatnonzero(lost.mean(axis=1) <= error)[-1])


def choose(
    key: PRNGKey, family: Family, cases: Cases, num_answers: tuple[int, ...]
) -> tuple[Any, list[float]]:
    """The config that suits held-out training people, and the mean AUC of every config.

    A family with one config needs no fit here; the list is then empty.
    """
    grid = family.config_grid(family.config)
    if len(grid) == 1:
        return grid[0], []
    fit, _ = programs(family, num_answers, cases.votes)
    tuned = []
    for config in grid:
        params = fit(key, cases.inner.data, config)
        held = scores_of(
            family, params, config, cases.inner, cases.num_held, num_answers, votes=cases.votes
        )
        tuned.append(held.auc.mean(axis=0))
    auc = np.stack(tuned)
    return grid[strongest(auc)], [float(np.nanmean(row)) for row in auc]


def measure(
    key: PRNGKey,
    family: Family,
    cases: Cases,
    num_answers: tuple[int, ...],
    controls: tuple[str, ...] = CONTROLS,
) -> tuple[dict[str, Measured], dict[str, Any]]:
    """All scores of one family on one draw.

    Args:
        key: Of the fits.
        family: Which.
        cases: From `make_cases`.
        num_answers: After how many answers new people are scored.
        controls: Which of ``CONTROLS`` to run.

    Returns:
        Scores by control, the family's own under ``""``; and what is to be kept of the fit:
        the AUC of every config, the chosen config, and the diagnostics.
    """
    fit, _ = programs(family, num_answers, cases.votes)
    config, tuned = choose(key, family, cases, num_answers)

    def scores(params: Any, case: Case) -> Measured:
        return scores_of(
            family, params, config, case, cases.num_new, num_answers, votes=cases.votes
        )

    params = fit(key, cases.outer.data, config)
    results = {"": scores(params, cases.outer)}
    if "wrong-user" in controls:
        results["wrong-user"] = scores(params, wrong_user(cases.outer, cases.num_new))
    for name, case in (
        ("shuffled-users", cases.shuffled_users),
        ("shuffled-labels", cases.shuffled_labels),
    ):
        if name in controls:
            results[name] = scores(fit(key, case.data, config), case)
    diagnostics = jax.jit(family.diagnostics)(params, cases.outer.data, config)
    kept = {
        "config_grid": tuned,
        "config": repr(config),
        "diagnostics": {name: float(value) for name, value in diagnostics.items()},
    }
    return results, kept


def wrong_user(case: Case, num_users: int) -> Case:
    """Every person with the answers of the next one; padding lends none."""
    order = np.arange(len(case.answers.label))
    order[:num_users] = np.roll(order[:num_users], 1)
    return case._replace(answers=jax.tree.map(lambda leaf: leaf[order], case.answers))
