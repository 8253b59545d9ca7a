"""One family on one draw: choose its settings, fit it, and score new people by answers given.

The settings are among those of `Family.config_grid`, at most eight, from weak to strong: the last
one whose AUC for held-out training people, averaged over all numbers of answers, cannot be told
from the best (one standard error of the difference, over people). The family is then fitted to all
training people, and with the same settings to the nulls of `prefjax.lab.compare.cases`, and scored
by ``wrong-user``: the state that another new person's answers make. Without answers every family is
its own population model; `per-user` has none and is indifferent.

Simulated people are also served: the best of the candidates to every new prompt by the person's own
model, against the default, is judged by the person's true weights (``win_rate``).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax import metrics
from prefjax.basis import Problem
from prefjax.data.attributes import expected_label
from prefjax.families import Answers, Family, score
from prefjax.lab.compare.cases import NULLS, Case, Cases
from prefjax.lab.compare.questions import RECORDED, adaptive_states
from prefjax.types import Array, PRNGKey

CONTROLS = ("wrong-user", *NULLS)
NUM_CANDIDATES = 16
"""Responses to a new prompt of which a simulated person is served the best."""


class Measured(NamedTuple):
    """Scores of every new person after each number of answers.

    Attributes:
        auc: AUC of the person's own comparisons.
        nll: Mean negative log-likelihood of them, in nats.
        win_rate: How often the judge prefers what the person is served to the default; None for
            real people.
        served: Response that the person is served to each new prompt; None for real people.
    """

    auc: Float[np.ndarray, "answers user"]
    nll: Float[np.ndarray, "answers user"]
    win_rate: Float[np.ndarray, "answers user"] | None = None
    served: Int[np.ndarray, "answers user prompt"] | None = None


@partial(jax.jit, static_argnames=("family",))
def _fit(key: PRNGKey, data: Problem, config: Any, *, family: Family) -> Any:
    return family.fit(key, data, config)


@partial(jax.jit, static_argnames=("family", "num_answers"))
def _adapt(
    params: Any, answers: Answers, config: Any, *, family: Family, num_answers: tuple[int, ...]
) -> Any:
    """States after the first answers of everybody; leading axes answers and user."""

    def after(number: Int[Array, ""]) -> Any:
        counted = jnp.cumsum(answers.sample_weight > 0, axis=1) <= number
        heard = answers._replace(sample_weight=jnp.where(counted, answers.sample_weight, 0.0))
        return jax.vmap(family.adapt, in_axes=(None, 0, None))(params, heard, config)

    return jax.lax.map(after, jnp.asarray(num_answers))


@partial(jax.jit, static_argnames=("family", "votes", "num_answers"))
def _score(
    params: Any, states: Any, tests: Answers, *, family: Family, votes: bool, num_answers: int
) -> tuple[jax.Array, jax.Array]:
    """AUC and mean loss under the states after each number of answers."""
    auc = jax.vmap(partial(metrics.auc, mirrored=not votes))
    mask = tests.sample_weight > 0

    def after(place_and_states: tuple[jax.Array, Any]) -> tuple[jax.Array, jax.Array]:
        logit = score(family, params, place_and_states[1], tests)
        loss = jnp.where(mask, metrics.nll(logit, tests.label), 0.0)
        mean = jnp.sum(loss, axis=1) / jnp.maximum(jnp.sum(mask, axis=1), 1)
        return auc(logit, tests.label, mask), mean

    return jax.lax.map(after, (jnp.arange(num_answers), states))


@partial(jax.jit, static_argnames=("family", "shape"))
def _serve(
    params: Any,
    states: Any,
    prompts: tuple[Array, Array, Array],
    *,
    family: Family,
    shape: tuple[int, int],
) -> Int[jax.Array, "answers user prompt"]:
    """Place of the candidate that each person's model prefers most to the default.

    ``prompts`` holds the inputs of the default and of the candidates, and the contexts.
    """
    default, candidates, context = prompts

    def best(state: Any) -> Int[jax.Array, " prompt"]:
        gain = jax.vmap(partial(family.logit, params, state), in_axes=(0, None, None))
        return jnp.argmax(jax.vmap(gain)(candidates, default, context), axis=1)

    def after(place_and_states: tuple[jax.Array, Any]) -> Int[jax.Array, "user prompt"]:
        return jax.vmap(lambda _, state: best(state))(jnp.arange(shape[1]), place_and_states[1])

    return jax.lax.map(after, (jnp.arange(shape[0]), states))


def fit(key: PRNGKey, family: Family, data: Problem, config: Any = None) -> Any:
    """Parameters of a family; compiled once for each shape.

    Args:
        key: Seed of the fit.
        family: Which.
        data: Training rows.
        config: Settings; those of the family if None.
    """
    return _fit(key, data, family.config if config is None else config, family=family)


def states_of(
    key: PRNGKey,
    family: Family,
    params: Any,
    case: Case,
    num_answers: tuple[int, ...],
    *,
    config: Any = None,
    questions: str = RECORDED,
) -> Any:
    """States of new people after each number of answers; None if the family cannot be asked so.

    Args:
        key: Drives rules that draw, and the noise of simulated people.
        family: Which.
        params: From `fit`.
        case: Whose new people answer.
        num_answers: After how many answers.
        config: Settings; those of the family if None.
        questions: ``random``, the answers that were recorded, or a rule that chooses.
    """
    if questions != RECORDED:
        return adaptive_states(key, family, params, case, num_answers, questions)
    config = family.config if config is None else config
    return _adapt(params, case.answers, config, family=family, num_answers=num_answers)


def scores_of(
    family: Family, params: Any, states: Any, case: Case, num_answers: tuple[int, ...]
) -> Measured:
    """Scores of the new people of a case.

    Args:
        family: Which.
        params: From `fit`.
        states: From `states_of`.
        case: Whose new people are scored.
        num_answers: After how many answers the states are.
    """
    number = len(num_answers)
    told = {"family": family, "votes": case.votes, "num_answers": number}
    auc, nll = (
        np.asarray(part)[:, : case.num_users] for part in _score(params, states, case.tests, **told)
    )
    if case.people is None:
        return Measured(auc, nll)
    unseen, attributes, weights = case.people.unseen, case.people.attributes, case.people.weights
    default, candidates = unseen[:, 0], unseen[:, 1 : 1 + NUM_CANDIDATES]
    shape = number, len(case.answers.label)
    inputs = jnp.asarray(case.inputs)
    prompts = inputs[default], inputs[candidates], jnp.asarray(case.context)[default]
    best = _serve(params, states, prompts, family=family, shape=shape)
    served = candidates[np.arange(len(unseen)), np.asarray(best)[:, : case.num_users]]
    gained = attributes[served] - attributes[default][None, None]
    gap = np.einsum("nupa,ua->nup", gained, weights)
    win_rate = np.asarray(expected_label(gap, case.people.choice)).mean(axis=2)
    return Measured(auc, nll, win_rate, served)


def another(states: Any, num_users: int) -> Any:
    """Every person with the state of the next one; padding lends none."""

    def roll(leaf: Array) -> jax.Array:
        order = np.arange(leaf.shape[1])
        order[:num_users] = np.roll(order[:num_users], 1)
        return jnp.asarray(leaf)[:, order]

    return jax.tree.map(roll, states)


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


def as_given(family: Family, config: Any = None) -> Family:
    """The family at given settings, none of which is chosen on held-out people.

    Args:
        family: Which.
        config: Settings; those of the family if None.
    """
    config = family.config if config is None else config
    return family._replace(config=config, config_grid=_only)


def _only(config: Any) -> tuple[Any, ...]:
    return (config,)


def choose(
    key: PRNGKey, family: Family, case: Case, num_answers: tuple[int, ...]
) -> tuple[Any, list[float]]:
    """The config that suits held-out training people, and the mean AUC of every config.

    A family with one config needs no fit here; the list is then empty.

    Args:
        key: Seed of the fits.
        family: Which.
        case: The inner draw.
        num_answers: The numbers of answers that are averaged over.
    """
    grid = family.config_grid(family.config)
    if len(grid) == 1:
        return grid[0], []
    tuned = []
    for config in grid:
        params = fit(key, family, case.data, config)
        states = states_of(key, family, params, case, num_answers, config=config)
        tuned.append(scores_of(family, params, states, case, num_answers).auc.mean(axis=0))
    auc = np.stack(tuned)
    return grid[strongest(auc)], [float(np.nanmean(row)) for row in auc]


def measure(
    key: PRNGKey,
    family: Family,
    cases: Cases,
    num_answers: tuple[int, ...],
    controls: tuple[str, ...] = CONTROLS,
    questions: tuple[str, ...] = (RECORDED,),
) -> tuple[dict[tuple[str, str], Measured], dict[str, Any]]:
    """All scores of one family on one draw.

    Args:
        key: Seed of the fits, and of questions that are drawn.
        family: Which.
        cases: From `make_cases`, with the controls.
        num_answers: After how many answers new people are scored.
        controls: Which of ``CONTROLS`` to run.
        questions: Rules by which new people are asked; one that the family cannot be asked by is
            left out. Under rules that choose, labels are not shuffled.

    Returns:
        Scores by rule and control, the family's own under the control ``""``; and what is to be
        kept of the fit: the AUC of every config, the chosen config, and the diagnostics.
    """
    config, tuned = choose(key, family, cases.inner, num_answers)
    results: dict[tuple[str, str], Measured] = {}

    def add(control: str, params: Any, case: Case) -> None:
        for rule in questions:
            if control == "shuffled-labels" and rule != RECORDED:
                continue
            told = {"config": config, "questions": rule}
            states = states_of(key, family, params, case, num_answers, **told)
            if states is None:
                continue
            results[rule, control] = scores_of(family, params, states, case, num_answers)
            if control == "" and "wrong-user" in controls:
                wrong = another(states, case.num_users)
                results[rule, "wrong-user"] = scores_of(family, params, wrong, case, num_answers)

    params = fit(key, family, cases.outer.data, config)
    add("", params, cases.outer)
    for name, case in cases.nulls.items():
        if name in controls:
            add(name, fit(key, family, case.data, config), case)
    diagnostics = _diagnostics(params, cases.outer.data, config, family=family)
    kept = {
        "config_grid": tuned,
        "config": repr(config),
        "diagnostics": {name: float(value) for name, value in diagnostics.items()},
    }
    return results, kept


@partial(jax.jit, static_argnames=("family",))
def _diagnostics(params: Any, data: Problem, config: Any, *, family: Family) -> Any:
    return family.diagnostics(params, data, config)
