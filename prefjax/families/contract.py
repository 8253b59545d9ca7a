"""What every family of personal reward models can do, so that one program compares them all.

A family gives the logit ``s = log P(user prefers a) − log P(user prefers b)`` of a pair of
responses from frozen embeddings, in three pure functions:

    fit(key, data, config) -> params              many people's answers, all at once
    adapt(params, answers, config) -> state       ONE person's answers; none: the population
    logit(params, state, first, second, context)  ONE pair, for one person

The caller vmaps: ``fit`` over keys, problems (`stack_problems`) or the numbers of a config;
``adapt`` over people; ``logit`` over pairs. Every family keeps ``s(a, b) = −s(b, a)``. Loss and
labels are those of the package: ``softplus(s) − y s``, y ∈ [0, 1], and rows of weight 0 equal
deleted rows.

Embeddings are all that a family sees of a response, in the standardized form of the problem it was
fitted to: pass ``standardize(problem.standardizer, embeddings)`` to `gather`. For items without
usable text use one-hot rows, or the item's singular vectors from the training answers. A vote on
one response is a comparison against the zero baseline, whose embedding is zero. The context
of a pair is the embedding of the prompt of its first response, read by the families that route by
it; without one its width is 0.

A config is a frozen dataclass and a pytree: its numbers are leaves, so that trials with other
strengths share one compiled program and ``vmap`` can run them side by side; what changes shapes or
programs is static. It is hashable, hence also legal as a static argument.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax.basis import Problem, make_problem
from prefjax.data.group import ungroup
from prefjax.types import BASELINE, Array, UserBatch

Number: TypeAlias = Any
"""A float of a config; an array where trials are vmapped."""

STATIC = MappingProxyType({"static": True})
"""Metadata of the fields of a config that are no leaves: ``field(default=6, metadata=STATIC)``."""


class Answers(NamedTuple):
    """One person's answers; rows of weight 0 are padding and may hold anything.

    Attributes:
        first: Embedding of the first response.
        second: Embedding of the second response, zero for the baseline.
        context: Embedding of the prompt.
        label: Probability that the first is preferred.
        sample_weight: Weight of each answer.
    """

    first: Float[Array, "pair input"]
    second: Float[Array, "pair input"]
    context: Float[Array, "pair context"]
    label: Float[Array, " pair"]
    sample_weight: Float[Array, " pair"]


class Family(NamedTuple):
    """One family: pure functions and default settings.

    Attributes:
        name: Name in results.
        config: Default settings.
        fit: ``fit(key, data, config) -> params``.
        adapt: ``adapt(params, answers, config) -> state`` for one person.
        logit: ``logit(params, state, first, second, context) -> s`` for one pair.
        alarms: ``alarms(params, data, config)`` gives numbers that show a known way to collapse.
        trials: At most eight configs, weak to strong, for tuning at an equal budget; they differ in
            numbers only.
    """

    name: str
    config: Any
    fit: Callable[..., Any]
    adapt: Callable[..., Any]
    logit: Callable[..., Array]
    alarms: Callable[..., Mapping[str, Array]]
    trials: Callable[[Any], tuple[Any, ...]]


def no_alarms(params: Any, data: Problem, config: Any) -> dict[str, Array]:
    """For families without a known way to collapse."""
    return {}


def population_mean(
    values: Float[Array, "user feature"], data: Problem
) -> Float[Array, " feature"]:
    """Mean over the people with rows; those without say nothing of the population."""
    present = jnp.where(jnp.asarray(data.count) > 0, 1.0, 0.0)
    return present @ values / jnp.maximum(jnp.sum(present), 1.0)


def clean(answers: Answers) -> Answers:
    """The same answers with zeros, and labels ½, wherever the weight is 0."""
    kept = jnp.asarray(answers.sample_weight) > 0
    return Answers(
        first=jnp.where(kept[:, None], answers.first, 0.0),
        second=jnp.where(kept[:, None], answers.second, 0.0),
        context=jnp.where(kept[:, None], answers.context, 0.0),
        label=jnp.where(kept, answers.label, 0.5),
        sample_weight=jnp.where(kept, answers.sample_weight, 0.0),
    )


def gather(
    embeddings: Float[Array, "response input"],
    batch: UserBatch,
    context: Float[Array, "response context"] | None = None,
) -> Answers:
    """Answers of every user of a batch, with a leading user axis; for ``vmap`` of ``adapt``.

    Args:
        embeddings: One row a response; rows that no entry of the mask shows may hold anything.
        batch: Padded comparisons.
        context: Embedding of each response's prompt; none by default.
    """
    embeddings = jnp.asarray(embeddings)
    context = jnp.zeros((len(embeddings), 0)) if context is None else jnp.asarray(context)
    baseline = (jnp.asarray(batch.second) == BASELINE)[..., None]
    return Answers(
        first=embeddings[batch.first],
        second=jnp.where(baseline, 0.0, embeddings[batch.second]),
        context=context[batch.first],
        label=jnp.asarray(batch.label),
        sample_weight=jnp.where(batch.mask, batch.sample_weight, 0.0),
    )


def make_answers(
    embeddings: Float[Array, "response input"],
    batch: UserBatch,
    context: Float[Array, "_ context"] | None = None,
) -> Answers:
    """`gather` from the host: the rows under the mask are checked before.

    Raises:
        ValueError: An id, a label, a weight or an embedding that is shown is not legal.
    """
    table = np.asarray(embeddings)
    if np.any(batch.mask):
        make_problem(ungroup(batch), table, num_users=len(batch.mask), context=context)
    return gather(table, batch, context)


def no_answers(num_inputs: int, num_contexts: int = 0) -> Answers:
    """The answers of somebody who was asked nothing; ``adapt`` makes the population of them."""
    return Answers(
        first=jnp.zeros((1, num_inputs)),
        second=jnp.zeros((1, num_inputs)),
        context=jnp.zeros((1, num_contexts)),
        label=jnp.full(1, 0.5),
        sample_weight=jnp.zeros(1),
    )


def score(family: Family, params: Any, states: Any, pairs: Answers) -> Float[Array, "user pair"]:
    """Logits of every user's pairs, from `gather`; their labels and weights are not read."""

    def one(state, user):
        place = jax.vmap(lambda a, b, x: family.logit(params, state, a, b, x))
        return place(user.first, user.second, user.context)

    return jax.vmap(one)(states, pairs)
