"""What every family of personal reward models can do, so that one program compares them all.

A family gives the logit ``s = log P(user prefers a) − log P(user prefers b)`` of a pair of
responses from frozen embeddings, in three pure functions:

    fit(key, data, config) -> params              many people's answers, all at once
    adapt(params, answers, config) -> state       ONE person's answers; none: the population
    logit(params, state, first, second, context)  ONE pair, for one person

The caller vmaps: ``fit`` over keys, data (`stack_data`) or the numbers of a config; ``adapt`` over
people; ``logit`` over pairs. Every family keeps ``s(a, b) = −s(b, a)``. Loss and labels are those
of the package: ``softplus(s) − y s``, y ∈ [0, 1], and rows of weight 0 equal deleted rows.

Embeddings are all that a family sees of a response. For items without usable text pass one-hot
rows, or the item's singular vectors from the training answers. A vote on one response is a
comparison against the zero baseline, whose embedding is zero; append a column of ones to the
embeddings of votes, so that it can have an intercept. The context of a pair is the embedding of the
prompt of its first response, read by the families that route by it; without one its width is 0.

A config is a frozen dataclass and a pytree: its numbers are leaves, so that trials with other
strengths share one compiled program and ``vmap`` can run them side by side; what changes shapes or
programs is static. It is hashable, hence also legal as a static argument.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax.basis import Rows, make_rows, stack_rows
from prefjax.data.group import ungroup
from prefjax.data.validate import validate_comparisons, validate_embeddings
from prefjax.types import BASELINE, Array, Comparisons, UserBatch

Number: TypeAlias = Any
"""A float of a config; an array where trials are vmapped."""

STATIC = MappingProxyType({"static": True})
"""Metadata of the fields of a config that are no leaves: ``field(default=6, metadata=STATIC)``."""


class Data(NamedTuple):
    """What a family is fitted to; from `make_data`.

    Attributes:
        rows: Comparisons in chunks of one user each, with the transposed table of responses.
        embeddings: One row a response; rows that no comparison shows hold the mean of the others.
        context: One row a response, the embedding of its prompt.
        scale: Mean squared norm of the centred embeddings that are shown; penalties are multiplied
            by it, so that they mean the prior precision of one response's reward.
        count: Total weight of every user's rows; people without rows who are numbered last change
            no fit.
        unit: Group of each response, such as its prompt: what people answer and what is then
            predicted of them share no unit. None if they may share responses.
    """

    rows: Rows
    embeddings: Float[Array, "response input"]
    context: Float[Array, "response context"]
    scale: Float[Array, ""]
    count: Float[Array, " user"]
    unit: Int[Array, " response"] | None


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


def no_alarms(params: Any, data: Data, config: Any) -> dict[str, Array]:
    """For families without a known way to collapse."""
    return {}


def population_mean(values: Float[Array, "user feature"], data: Data) -> Float[Array, " feature"]:
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
        _check(ungroup(batch), table, len(batch.mask), context)
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


def make_data(
    comparisons: Comparisons,
    embeddings: Float[Array, "response input"],
    *,
    num_users: int,
    context: Float[Array, "_ context"] | None = None,
    unit: Int[Array, " _"] | None = None,
) -> Data:
    """Checks training data and lays it out; a host function.

    Rows of weight 0 are left out and the order of rows is forgotten, so that masking equals
    deleting and no permutation of rows changes any fit.

    Args:
        comparisons: Who preferred which response to which.
        embeddings: One row a response; rows that no comparison shows may hold anything.
        num_users: U.
        context: Embedding of each response's prompt.
        unit: Group of each response.

    Raises:
        ValueError: A row, an id or an embedding is not legal; the message names it.
    """
    rows, table, prompts, scale, count, groups = _prepare(
        comparisons, embeddings, num_users, context, unit
    )
    data = Data(make_rows(rows, len(table)), table, prompts, scale, count, groups)
    return jax.tree.map(jnp.asarray, data)


def stack_data(
    sets: Sequence[Comparisons],
    embeddings: Sequence[Float[Array, "response input"]],
    *,
    num_users: int,
    context: Sequence[Float[Array, "_ context"]] | None = None,
    unit: Sequence[Int[Array, " _"]] | None = None,
) -> Data:
    """`make_data` of several seeds along a leading axis, to ``vmap`` or ``lax.map`` a fit over.

    Args:
        sets: Comparisons of each seed.
        embeddings: Embeddings of each seed, of one shape.
        num_users: U, the same in every seed.
        context: Contexts of each seed.
        unit: Units of each seed.

    Raises:
        ValueError: See `make_data`.
    """
    contexts, units = ([None] * len(sets) if x is None else x for x in (context, unit))
    prepared = [
        _prepare(rows, table, num_users, prompts, groups)
        for rows, table, prompts, groups in zip(sets, embeddings, contexts, units, strict=True)
    ]
    rows = stack_rows([part[0] for part in prepared], len(prepared[0][1]))
    rest = jax.tree.map(lambda *leaves: np.stack(leaves), *(part[1:] for part in prepared))
    return jax.tree.map(jnp.asarray, Data(rows, *rest))


def _check(comparisons, table, num_users, context):
    """Valid rows; and the embeddings and contexts, zero where no row shows the response."""
    rows = validate_comparisons(comparisons, num_users, len(table))
    shown = np.zeros(len(table), bool)
    shown[rows.first] = True
    shown[rows.second[rows.second != BASELINE]] = True
    prompts = np.zeros((len(table), 0), np.float32) if context is None else np.asarray(context)
    if prompts.ndim != 2 or len(prompts) != len(table):
        raise ValueError(
            f"context must have one row for each of the {len(table)} responses, "
            f"got shape {prompts.shape}"
        )
    table = validate_embeddings(np.where(shown[:, None], table, 0)).values
    prompts = np.where(shown[:, None], prompts, 0).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(prompts).all(axis=1))
    if len(bad):
        raise ValueError(f"{len(bad)} contexts are not finite, first responses {bad[:5].tolist()}")
    return rows, table, prompts, shown


def _prepare(comparisons, embeddings, num_users, context, unit):
    """Checked rows in one order, and the other fields of `Data`."""
    present = ~(np.asarray(comparisons.sample_weight) == 0)
    rows = Comparisons(*(np.asarray(column)[present] for column in comparisons))
    rows, table, prompts, shown = _check(rows, np.asarray(embeddings), num_users, context)
    order = np.lexsort((rows.sample_weight, rows.label, rows.second, rows.first, rows.user))
    rows = Comparisons(*(column[order] for column in rows))
    table = np.where(shown[:, None], table, table[shown].mean(axis=0))
    centred = table[shown] - table[shown].mean(axis=0)
    scale = np.mean(np.sum(centred**2, axis=1))
    scale = np.asarray(max(scale, np.finfo(np.float32).tiny), np.float32)
    count = np.bincount(rows.user, rows.sample_weight, num_users).astype(np.float32)
    unit = None if unit is None else np.asarray(unit, np.int32)
    if unit is not None and unit.shape != (len(table),):
        raise ValueError(
            f"unit must have one group for each of {len(table)} responses, got shape {unit.shape}"
        )
    return rows, table, prompts, scale, count, unit
