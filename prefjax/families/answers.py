"""The answers of people as families read them: embeddings of what was compared, and labels."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax.data.group import ungroup
from prefjax.data.validate import validate_comparisons, validate_embeddings
from prefjax.types import BASELINE, Array, UserBatch


class Answers(NamedTuple):
    """One person's answers; rows of weight 0 are padding and may hold anything.

    Attributes:
        first: Standardized embedding of the first response.
        second: The same of the second response, zero for the baseline.
        context: Embedding of the prompt.
        label: Probability that the first is preferred.
        sample_weight: Weight of each answer.
    """

    first: Float[Array, "pair input"]
    second: Float[Array, "pair input"]
    context: Float[Array, "pair context"]
    label: Float[Array, " pair"]
    sample_weight: Float[Array, " pair"]


def clean(answers: Answers) -> Answers:
    """The same answers with zeros, and labels ½, wherever the weight is 0.

    Args:
        answers: One person's answers, with padding that may hold anything.
    """
    valid = jnp.asarray(answers.sample_weight) > 0
    return Answers(
        first=jnp.where(valid[:, None], answers.first, 0.0),
        second=jnp.where(valid[:, None], answers.second, 0.0),
        context=jnp.where(valid[:, None], answers.context, 0.0),
        label=jnp.where(valid, answers.label, 0.5),
        sample_weight=jnp.where(valid, answers.sample_weight, 0.0),
    )


def gather(
    embeddings: Float[Array, "response input"],
    batch: UserBatch,
    context: Float[Array, "response context"] | None = None,
) -> Answers:
    """Answers of every user of a batch, with a leading user axis; for ``vmap`` of ``adapt``.

    Args:
        embeddings: Standardized, one row a response; rows that no entry of the mask shows may hold
            anything.
        batch: Padded comparisons.
        context: Embedding of each response's prompt, none by default. Of a pair across two prompts
            the prompt of the response with the smaller id counts, whichever stands first.
    """
    embeddings = jnp.asarray(embeddings)
    context = jnp.zeros((len(embeddings), 0)) if context is None else jnp.asarray(context)
    is_baseline = jnp.asarray(batch.second) == BASELINE
    asked = jnp.where(is_baseline, batch.first, jnp.minimum(batch.first, batch.second))
    return Answers(
        first=embeddings[batch.first],
        second=jnp.where(is_baseline[..., None], 0.0, embeddings[batch.second]),
        context=context[asked],
        label=jnp.asarray(batch.label),
        sample_weight=jnp.where(batch.mask, batch.sample_weight, 0.0),
    )


def make_answers(
    embeddings: Float[Array, "response input"],
    batch: UserBatch,
    context: Float[Array, "_ context"] | None = None,
) -> Answers:
    """`gather` from the host, which checks the rows under the mask before.

    Args:
        embeddings: Standardized, one row a response.
        batch: Padded comparisons.
        context: Embedding of each response's prompt, none by default.

    Raises:
        ValueError: An id, a label, a weight, an embedding or a context that is shown is not legal.
    """
    table = np.asarray(embeddings)
    if not np.any(batch.mask):
        return gather(table, batch, context)
    rows = validate_comparisons(ungroup(batch), len(batch.mask), len(table))
    shown = np.zeros(len(table), bool)
    for ids in (rows.first, rows.second):
        shown[ids[(rows.sample_weight > 0) & (ids != BASELINE)]] = True
    validate_embeddings(np.where(shown[:, None], table, 0))
    if context is not None:
        context = np.asarray(context)
        if context.ndim != 2 or len(context) != len(table):
            raise ValueError(
                f"context must have one row for each of the {len(table)} responses, "
                f"got shape {context.shape}"
            )
        bad = np.flatnonzero(shown & ~np.isfinite(context).all(axis=1))
        if len(bad):
            raise ValueError(
                f"{len(bad)} contexts are not finite, first responses {bad[:5].tolist()}"
            )
    return gather(table, batch, context)


def no_answers(num_inputs: int, num_contexts: int = 0) -> Answers:
    """The answers of somebody who was asked nothing, of whom ``adapt`` makes the population.

    Args:
        num_inputs: Width of the standardized embeddings.
        num_contexts: Width of the contexts.
    """
    return Answers(
        first=jnp.zeros((1, num_inputs)),
        second=jnp.zeros((1, num_inputs)),
        context=jnp.zeros((1, num_contexts)),
        label=jnp.full(1, 0.5),
        sample_weight=jnp.zeros(1),
    )
