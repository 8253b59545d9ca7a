"""Compiled programs of a comparison: fit a family, adapt it to answers, score and serve people.

Simulated people are served the best of the candidates to every new prompt by the person's own
model; the person's true weights judge it against the default (``win_rate``).
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
from prefjax.lab.compare.cases import Case
from prefjax.lab.compare.questions import RECORDED, adaptive_states
from prefjax.types import Array, PRNGKey

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
        accuracy: Share of the decided comparisons that are predicted.
        flip_rate: Of the decided comparisons that are predicted from a person's answers, the share
            that is not after the control; only of reversed answers.
        logit: Logits of the comparisons that are scored; None where they are not kept.
        label: What was said of them, NaN for padding.
    """

    auc: Float[np.ndarray, "answers user"]
    nll: Float[np.ndarray, "answers user"]
    win_rate: Float[np.ndarray, "answers user"] | None = None
    served: Int[np.ndarray, "answers user prompt"] | None = None
    accuracy: Float[np.ndarray, "answers user"] | None = None
    flip_rate: Float[np.ndarray, "answers user"] | None = None
    logit: Float[np.ndarray, "answers user pair"] | None = None
    label: Float[np.ndarray, "user pair"] | None = None


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
) -> tuple[jax.Array, ...]:
    """AUC, mean loss, accuracy and logits under the states after each number of answers."""
    auc = jax.vmap(partial(metrics.auc, mirrored=not votes))
    mask = tests.sample_weight > 0

    def after(place_and_states: tuple[jax.Array, Any]) -> tuple[jax.Array, ...]:
        logit = score(family, params, place_and_states[1], tests)
        loss = jnp.where(mask, metrics.nll(logit, tests.label), 0.0)
        mean = jnp.sum(loss, axis=1) / jnp.maximum(jnp.sum(mask, axis=1), 1)
        right = jnp.where(mask, metrics.correct(logit, tests.label), jnp.nan)
        return auc(logit, tests.label, mask), mean, jnp.nanmean(right, axis=1), jnp.asarray(logit)

    return jax.lax.map(after, (jnp.arange(num_answers), states))


@partial(jax.jit, static_argnames=("family", "num_answers"))
def _flip_rate(
    params: Any, states: Any, others: Any, tests: Answers, *, family: Family, num_answers: int
) -> Float[jax.Array, "answers user"]:
    """Share of the right predictions of ``states`` that ``others`` do not make."""

    def after(place_and_states: tuple[jax.Array, Any, Any]) -> jax.Array:
        own, other = (
            metrics.correct(score(family, params, some, tests), tests.label)
            for some in place_and_states[1:]
        )
        right = (tests.sample_weight > 0) & (own == 1)  # a tie is NaN
        return jnp.nanmean(jnp.where(right, other < 1, jnp.nan), axis=1)

    return jax.lax.map(after, (jnp.arange(num_answers), states, others))


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
    family: Family,
    params: Any,
    states: Any,
    case: Case,
    num_answers: tuple[int, ...],
    *,
    keep_logits: bool = False,
) -> Measured:
    """Scores of the new people of a case.

    Args:
        family: Which.
        params: From `fit`.
        states: From `states_of`.
        case: Whose new people are scored.
        num_answers: After how many answers the states are.
        keep_logits: Keep the logits and the labels, from which calibration is read.
    """
    number = len(num_answers)
    static = {"family": family, "votes": case.votes, "num_answers": number}
    auc, nll, accuracy, logit = (
        np.asarray(part)[:, : case.num_users]
        for part in _score(params, states, case.tests, **static)
    )
    measured = Measured(auc, nll, accuracy=accuracy)
    if keep_logits:
        counted = np.asarray(case.tests.sample_weight)[: case.num_users] > 0
        label = np.where(counted, np.asarray(case.tests.label)[: case.num_users], np.nan)
        measured = measured._replace(logit=logit, label=label)
    if case.people is None:
        return measured
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
    return measured._replace(win_rate=win_rate, served=served)


def flip_rate_of(
    family: Family, params: Any, states: Any, others: Any, case: Case, num_answers: tuple[int, ...]
) -> Float[np.ndarray, "answers user"]:
    """Of each person's right predictions, the share that other states do not make.

    Args:
        family: Which.
        params: From `fit`.
        states: From `states_of`.
        others: The same of other answers.
        case: Whose new people are scored.
        num_answers: After how many answers the states are.
    """
    told = {"family": family, "num_answers": len(num_answers)}
    rate = _flip_rate(params, states, others, case.tests, **told)
    return np.asarray(rate)[:, : case.num_users]


@partial(jax.jit, static_argnames=("family",))
def diagnose(params: Any, data: Problem, config: Any, *, family: Family) -> Any:
    """Numbers that show a known way of the family to collapse."""
    return family.diagnostics(params, data, config)
