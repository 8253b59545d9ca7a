"""What a basis, or any family, is fitted to: checked rows and standardized embeddings.

Nothing about the form in which the data came changes a fit: rows of weight 0 are left out, a pair
has one orientation, equal rows are merged to weights, and rows are sorted. Users and responses
without rows are no part of the problem, so that not even the order of a sum depends on them; what
a fit finds is spread out again over the ids of the caller. Statistics of the embeddings are those
of the responses that somebody compared:

    x = (e − c) / s,    c = mean e,    s² = mean ‖e − c‖²    over the compared responses,

so that neither an offset, nor a unit, nor responses that nobody compared change anything, and a
penalty τ is the prior precision of one response's reward. Votes are compared with the zero
baseline, for which an offset is information: they get a constant column as intercept. Among free
factors the baseline is one more response with a row of its own, from which the others are counted
in the end, so that how much people agree with anything is not pulled to one half item by item.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from prefjax.basis import choice_slots
from prefjax.basis.one_form import in_one_form, without_same
from prefjax.basis.rows import Rows, make_rows, stack_rows
from prefjax.basis.standardizer import Standardizer, fit_standardizer
from prefjax.data.validate import validate_comparisons
from prefjax.types import BASELINE, Array, Choices, Comparisons, Gaussian

LARGEST_TOTAL = 1e12
"""Largest total weight: beyond it one row no longer counts in single precision."""
SMALLEST_TOTAL = 1e-12
"""Smallest total weight: below it a penalty per unit of weight leaves single precision."""


class Problem(NamedTuple):
    """Comparisons and embeddings, ready for a fit; from `make_problem`.

    Users and responses are numbered anew, without those that have no row. For free factors, whose
    inputs the responses are, all responses are kept; so is whatever another problem of a stack has.

    Attributes:
        rows: Comparisons in chunks of one user each, with the distinct pairs.
        embeddings: Standardized embedding of each response, zero where nobody compared it; None
            for free factors (every response has features of its own).
        context: Embedding of each response's prompt; width 0 without.
        count: Total weight of every user's rows.
        compared: Responses that some row shows.
        group: Group of each response, such as its prompt: what people answer and what is then
            predicted of them share no group. None if they may share responses.
        standardizer: How raw embeddings become ``embeddings``; None for free factors.
        user_place: Number of each of the caller's users in the problem, −1 without rows.
        response_place: The same of the caller's responses.
        baseline: Number of the response, the last, that stands for the zero baseline of votes on
            free factors; None elsewhere.
        transposed: A contiguous transpose of the embeddings, which a fit makes for its products.
    """

    rows: Rows
    embeddings: Float[Array, "response input"] | None
    context: Float[Array, "response context"]
    count: Float[Array, " user"]
    compared: Bool[Array, " response"]
    group: Int[Array, " response"] | None
    standardizer: Standardizer | None
    user_place: Int[Array, " all_users"]
    response_place: Int[Array, " all_responses"]
    baseline: Int[Array, ""] | None = None
    transposed: Float[Array, "input response"] | None = None

    @property
    def num_users(self) -> int:
        """Number of users that have rows, here or in another problem of a stack."""
        return self.count.shape[-1]

    @property
    def num_responses(self) -> int:
        """Number of responses that rows show; of all, and the baseline, for free factors."""
        return self.compared.shape[-1]

    @property
    def users(self) -> Int[Array, " user"]:
        """The caller's number of each user."""
        return jnp.flatnonzero(self.user_place >= 0, size=self.num_users)


def for_all_users(
    problem: Problem, people: Gaussian, covariance: Float[Array, "factor factor"]
) -> Gaussian:
    """Posteriors of all of the caller's users; those without rows have the population's.

    Args:
        problem: What was fitted.
        people: Of its users, relative to the population's mean.
        covariance: Of the population.
    """
    place = jnp.asarray(problem.user_place)
    known = place >= 0
    mean = jnp.where(known[:, None], jnp.asarray(people.mean)[place], 0.0)
    own = jnp.asarray(people.covariance)[place]
    return Gaussian(mean, jnp.where(known[:, None, None], own, covariance[None]))


def make_problem(
    comparisons: Comparisons | Choices,
    embeddings: Float[Array, "response raw"] | None,
    *,
    num_users: int,
    num_responses: int | None = None,
    context: Float[Array, "_ context"] | None = None,
    group: Int[Array, " _"] | None = None,
    by_column: bool = False,
) -> Problem:
    """Checks training data and lays it out; a host function.

    Args:
        comparisons: Who preferred which response to which, or chose one among several
            (`prefjax.data.choices_of`): choices among two are comparisons, of which all is read;
            those among more are one observation each, for `fit`, `fit_block`, `fit_head` and
            `choose_num_factors`.
        embeddings: One row a response; rows of responses that nobody compared may hold anything.
            None for free factors.
        num_users: Number of users.
        num_responses: Number of responses; needed without embeddings.
        context: Embedding of each response's prompt.
        group: Group of each response, such as its prompt.
        by_column: Give every input its own scale, for columns in different units.

    Raises:
        ValueError: A row, an id, a group or an embedding is not legal, or the weights are too large
            for single precision; the message names it.
    """
    table = None
    if isinstance(comparisons, Choices):
        count = num_responses if embeddings is None else len(embeddings)
        comparisons, table = choice_slots.separate(comparisons, num_users, _known(count))
    shared = None if table is None else table.rows
    told = embeddings, num_users, num_responses, context, group, by_column
    part = _prepare(comparisons, *told, shared)
    numbered, rest = _compact(part, *_present([part]))
    rows = make_rows(numbered, len(rest.compared))
    if table is not None:
        num_before = len(numbered.user) - len(table.rows.user)
        choices = choice_slots.lay_out(table, num_before, rows.order, rows.user)
        rows = rows._replace(choices=choices)
    return jax.tree.map(jnp.asarray, Problem(rows, *rest))


def stack_problems(
    sets: Sequence[Comparisons],
    embeddings: Sequence[Float[Array, "response raw"] | None],
    *,
    num_users: int,
    num_responses: int | None = None,
    context: Sequence[Float[Array, "_ context"]] | None = None,
    group: Sequence[Int[Array, " _"]] | None = None,
) -> Problem:
    """`make_problem` of several seeds along a leading axis, to ``vmap`` or ``lax.map`` fits over.

    Args:
        sets: Comparisons of each seed.
        embeddings: Embeddings of each seed, of one shape.
        num_users: Number of users, the same in every seed.
        num_responses: Number of responses; needed without embeddings.
        context: Contexts of each seed.
        group: Groups of each seed.

    Raises:
        ValueError: See `make_problem`; or one seed has votes and another has none.
    """
    contexts, groups = ([None] * len(sets) if x is None else x for x in (context, group))
    prepared = [
        _prepare(rows, table, num_users, num_responses, prompts, units, False)
        for rows, table, prompts, units in zip(sets, embeddings, contexts, groups, strict=True)
    ]
    present = _present(prepared)
    compact = [_compact(part, *present) for part in prepared]
    rows = stack_rows([rows for rows, _ in compact], int(present[1].sum()))
    rest = jax.tree.map(lambda *leaves: np.stack(leaves), *(rest for _, rest in compact))
    return jax.tree.map(jnp.asarray, Problem(rows, *rest))


class _Rest(NamedTuple):
    """The fields of `Problem` after its rows, in their order."""

    embeddings: np.ndarray | None
    context: np.ndarray
    count: np.ndarray
    compared: np.ndarray
    group: np.ndarray | None
    standardizer: Standardizer | None
    user_place: np.ndarray
    response_place: np.ndarray
    baseline: np.ndarray | None = None


def _present(parts: list[tuple[Comparisons, _Rest]]) -> tuple[np.ndarray, np.ndarray]:
    """Users with rows, and responses that are inputs, in any of the problems."""
    users = np.any([rest.count > 0 for _, rest in parts], axis=0)
    responses = np.any([(rest.embeddings is None) | rest.compared for _, rest in parts], axis=0)
    return users, responses


def _compact(
    part: tuple[Comparisons, _Rest], users: np.ndarray, responses: np.ndarray
) -> tuple[Comparisons, _Rest]:
    """The problem of some users and responses, numbered in their order."""
    rows, rest = part
    user_place, place = (
        np.where(some, np.cumsum(some) - 1, -1).astype(np.int32) for some in (users, responses)
    )
    rows = rows._replace(
        user=user_place[rows.user],
        first=place[rows.first],
        second=np.where(rows.second == BASELINE, BASELINE, place[rows.second]),
    )
    return rows, _Rest(
        embeddings=None if rest.embeddings is None else rest.embeddings[responses],
        context=rest.context[responses],
        count=rest.count[users],
        compared=rest.compared[responses],
        group=None if rest.group is None else rest.group[responses],
        standardizer=rest.standardizer,
        user_place=user_place,
        response_place=place[: len(rest.response_place)],
        baseline=rest.baseline,
    )


def _known(num_responses: int | None) -> int:
    if num_responses is None:
        raise ValueError("without embeddings num_responses must be given")
    return num_responses


def _prepare(
    comparisons, embeddings, num_users, num_responses, context, group, by_column, shared=None
) -> tuple[Comparisons, _Rest]:
    """Checked and merged rows of all users and responses, and the other fields of `Problem`.

    Rows of choices, which are ``shared``, are in one form already; they come last.
    """
    if embeddings is not None:
        embeddings = np.asarray(embeddings)
        num_responses = len(embeddings)
    num_responses = _known(num_responses)
    present = ~(np.asarray(comparisons.sample_weight) == 0)
    if shared is None and not present.any():
        raise ValueError("every comparison has sample_weight 0: nothing can be fitted")
    parts = [] if shared is None else [shared]
    if present.any():
        rows = Comparisons(*(np.asarray(column)[present] for column in comparisons))
        rows = validate_comparisons(rows, num_users, num_responses)
        parts.insert(0, in_one_form(without_same(rows)))
    rows = Comparisons(*map(np.concatenate, zip(*parts, strict=True)))
    total = rows.sample_weight.astype(np.float64).sum()
    if total < SMALLEST_TOTAL:
        raise ValueError(
            f"the weights sum to {total:.3g}, less than {SMALLEST_TOTAL:.0e}; multiply "
            "comparisons.sample_weight by a constant"
        )
    if total > LARGEST_TOTAL:
        raise ValueError(
            f"the weights sum to {total:.3g}, beyond {LARGEST_TOTAL:.0e} a single row no longer "
            "counts; divide comparisons.sample_weight by a constant"
        )
    compared = np.zeros(num_responses, bool)
    compared[rows.first] = True
    compared[rows.second[rows.second != BASELINE]] = True
    table, standardizer = None, None
    if embeddings is not None:
        standardizer, table = fit_standardizer(rows, embeddings, compared, by_column)
    prompts = np.zeros((num_responses, 0)) if context is None else np.asarray(context)
    if prompts.ndim != 2 or len(prompts) != num_responses:
        raise ValueError(
            f"context must have one row for each of the {num_responses} responses, "
            f"got shape {prompts.shape}"
        )
    prompts = np.where(compared[:, None], prompts, 0).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(prompts).all(axis=1))
    if len(bad):
        raise ValueError(f"{len(bad)} contexts are not finite, first responses {bad[:5].tolist()}")
    count = np.bincount(rows.user, rows.sample_weight, num_users).astype(np.float32)
    group = _check_group(group, compared)
    every = np.arange(num_users), np.arange(num_responses)
    rest = _Rest(table, prompts, count, compared, group, standardizer, *every)
    if table is None and (rows.second == BASELINE).any():
        return _with_baseline(rows, rest)
    return rows, rest


def _with_baseline(rows: Comparisons, rest: _Rest) -> tuple[Comparisons, _Rest]:
    """The zero baseline as a response behind all others, in no group and of no prompt."""
    num_responses = len(rest.compared)
    rows = rows._replace(second=np.where(rows.second == BASELINE, num_responses, rows.second))
    return rows, rest._replace(
        context=np.pad(rest.context, ((0, 1), (0, 0))),
        compared=np.append(rest.compared, True),
        group=None if rest.group is None else np.append(rest.group, np.int32(-1)),
        baseline=np.asarray(num_responses),
    )


def _check_group(group, compared):
    if group is None:
        return None
    group, num_responses = np.asarray(group), len(compared)
    if group.shape != (num_responses,) or not np.issubdtype(group.dtype, np.integer):
        raise ValueError(
            f"group must be one whole number for each of {num_responses} responses, "
            f"got shape {group.shape} and dtype {group.dtype}"
        )
    # Only which compared responses share a group matters, so any whole numbers will do.
    renumbered = np.full(len(group), -1, np.int32)
    renumbered[compared] = np.unique(group[compared], return_inverse=True)[1]
    return renumbered
