"""What every family of personal reward models can do, so that one program compares them all.

A family gives the logit ``s = log P(user prefers a) − log P(user prefers b)`` of a pair of
responses from frozen embeddings, in three pure functions:

    fit(key, problem, config) -> params           many people's answers, all at once
    adapt(params, answers, config) -> state       ONE person's answers; none: the population
    logit(params, state, first, second, context)  ONE pair, for one person

The caller vmaps: ``fit`` over keys, problems (`prefjax.basis.stack_problems`) or the numbers of a
config; ``adapt`` over people; ``logit`` over pairs. Every family keeps ``s(a, b) = −s(b, a)``. Loss
and labels are those of the package: ``softplus(s) − y s``, y ∈ [0, 1], and rows of weight 0 equal
deleted rows. No prediction depends on the unit or the origin of the embeddings, on the order of
rows, on whether a row is said twice or has weight 2, or on people and responses without rows.

Embeddings are all that a family sees of a response, in the standardized form of the problem it was
fitted to: pass ``standardize(problem.standardizer, embeddings)`` to `prefjax.families.gather`. For
items without usable text use one-hot rows, or the item's singular vectors from the training
answers. A vote on one response is a comparison against the zero baseline, whose embedding is zero.
The context of a pair is the embedding of its prompt, read by the families that route by it; without
one its width is 0.

A config is a frozen dataclass and a pytree: its numbers are leaves, so that configs with other
penalties share one compiled program and ``vmap`` can run them side by side; what changes shapes or
programs is static. It is hashable, hence also legal as a static argument.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.families.answers import Answers
from prefjax.families.config import make_grid
from prefjax.families.shapes import Context, Input, Scalar
from prefjax.types import Array, PRNGKey


class Fit(Protocol):
    """Trains a family on the answers of many people, all at once."""

    def __call__(self, key: PRNGKey, problem: Problem, config: Any, /) -> Any:
        """Fits everything that people share; pure, to be jitted and vmapped by the caller.

        Args:
            key: Seed of every draw. Draws belong to people and pairs, never to numbers of rows.
            problem: Everybody's rows with standardized embeddings, from
                `prefjax.basis.make_problem`.
            config: Settings of the family.

        Returns:
            Params, a pytree of arrays.
        """
        ...


class Adapt(Protocol):
    """Learns one new person from a few answers, with everything shared held fixed."""

    def __call__(self, params: Any, answers: Answers, config: Any, /) -> Any:
        """The state of one person; pure, vmapped over people by the caller.

        Args:
            params: From `Fit`.
            answers: One person's answers; without any of positive weight the state is exactly that
                of the population.
            config: The settings that the params were fitted with.

        Returns:
            State, a pytree of arrays whose shapes do not depend on the number of answers.
        """
        ...


class Logit(Protocol):
    """Predicts one answer of one person."""

    def __call__(
        self, params: Any, state: Any, first: Input, second: Input, context: Context, /
    ) -> Scalar:
        """Log odds that the person prefers the first of two responses; antisymmetric in them.

        Args:
            params: From `Fit`.
            state: From `Adapt`.
            first: Standardized embedding of the first response.
            second: The same of the second, zero for the baseline.
            context: Embedding of the pair's prompt, width 0 without.
        """
        ...


class Diagnostics(Protocol):
    """Tells whether a fit has collapsed in a way that is known of the family."""

    def __call__(self, params: Any, problem: Problem, config: Any, /) -> Mapping[str, Array]:
        """Named numbers, such as the effective rank of a basis or the number of groups found.

        Args:
            params: From `Fit`.
            problem: What was fitted.
            config: The settings that the params were fitted with.
        """
        ...


class ConfigGrid(Protocol):
    """Lists the settings among which a family is tuned."""

    def __call__(self, config: Any, /) -> tuple[Any, ...]:
        """At most eight configs, weak to strong, so that every family is tuned at equal cost.

        Args:
            config: What all of them share. They differ from it in numbers only, never in what is
                static, so that one compiled program fits them all.
        """
        ...


def no_diagnostics(params: Any, problem: Problem, config: Any) -> dict[str, Array]:
    """Diagnostics of a family without a known way to collapse: none."""
    return {}


class Family(NamedTuple):
    """One family: pure functions and default settings.

    Attributes:
        name: Name in results.
        config: Default settings.
        fit: Trains on many people's answers; see `Fit`.
        adapt: Learns one new person; see `Adapt`.
        logit: Predicts one answer; see `Logit`.
        config_grid: Settings for tuning, by default only the default; see `ConfigGrid`.
        diagnostics: Numbers that show a known way to collapse, by default none; see `Diagnostics`.
    """

    name: str
    config: Any
    fit: Fit
    adapt: Adapt
    logit: Logit
    config_grid: ConfigGrid = make_grid()
    diagnostics: Diagnostics = no_diagnostics


def score(family: Family, params: Any, states: Any, pairs: Answers) -> Float[Array, "user pair"]:
    """Logits of every user's pairs, each with the state of its user.

    Args:
        family: Whose params and states they are.
        params: From its ``fit``.
        states: From its ``adapt``, with a leading user axis.
        pairs: From `prefjax.families.gather`; their labels and weights are not read.
    """

    def one(state, user):
        place = jax.vmap(lambda a, b, x: family.logit(params, state, a, b, x))
        return place(user.first, user.second, user.context)

    return jax.vmap(one)(states, pairs)
