r"""In how many directions do people differ? Parallel analysis of what the shared utility leaves.

With r = w (y − σ(t)), the residual of the shared utility, the matrix

    A[u, input] = Σ_{rows of u} r Δx / √n_u,    n_u the rows of person u,

has a large singular value for every direction in which people differ, beside those that noise has.
Noise alone is the same rows dealt out to random people. The k-th singular value is a factor where
it is above the 95th percentile, over shuffles, of the largest singular value that shuffled rows
have outside the k − 1 directions before. Compared with their k-th value instead, noise passes too:
behind seven factors the eighth value is the largest one of noise, not the eighth.

Residuals of shuffled rows still hold what people disagree about, so that the bar is a little high.

References:
    Horn (1965), A rationale and test for the number of factors. Dobriban and Owen, arXiv
    1711.04155 (deflation).
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy import linalg, sparse, special

from prefjax.basis import _fit, choice_slots, em
from prefjax.basis.problem import Problem
from prefjax.basis.state import DEFAULT, EMConfig
from prefjax.types import PRNGKey

LEVEL = 0.95
"""Percentile of the shuffles that a factor must pass."""
UTILITY_PENALTY = 1.0
"""τ of the shared utility whose residuals are looked at."""
MOST_PEOPLE = 2000
"""People of whom so many, drawn at random, are looked at."""


class NumFactorsResult(NamedTuple):
    """Singular values, what noise reaches, and the number of factors.

    Attributes:
        values: Singular values of A, the largest first.
        bar: What each must pass; NaN behind the first that does not.
        chosen: How many pass in a row, at least the 1 that a fit needs.
    """

    values: Float[np.ndarray, " place"]
    bar: Float[np.ndarray, " place"]
    chosen: int


class _Shown(NamedTuple):
    """Rows as A takes them; the gaps of pairs are sparse where every response is an input."""

    person: np.ndarray
    pair: np.ndarray
    residual: np.ndarray
    gap: Any
    num_people: int

    def matrix(self, person: np.ndarray) -> np.ndarray:
        """A when these are the people of the rows."""
        count = np.bincount(self.person, minlength=self.num_people)
        value = self.residual / np.sqrt(count[person])
        shape = self.num_people, self.gap.shape[0]
        by_pair = sparse.csr_array((value, (person, self.pair)), shape=shape)
        product: Any = by_pair @ self.gap
        return product.toarray() if sparse.issparse(product) else np.asarray(product)


def choose_num_factors(
    key: PRNGKey,
    problem: Problem,
    *,
    num_nulls: int = 20,
    most: int = 20,
    config: EMConfig = DEFAULT,
) -> NumFactorsResult:
    """The number of factors J by the module's rule; a host function.

    The default fit prunes factors that it does not need, so that J may simply be set large; this is
    for those who want the number itself.

    Args:
        key: Seed of the shuffles, and of the people where there are more than 2,000.
        problem: From `make_problem`.
        num_nulls: Shuffles; of fewer than 20 the percentile is near their largest.
        most: Largest J.
        config: How the utility is fitted; its J is not read.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    shown = _shown(rng, problem, config)
    _, values, right = np.linalg.svd(shown.matrix(shown.person), full_matrices=False)
    values, right = values[:most], right[:most]
    nulls = [shown.matrix(rng.permutation(shown.person)) for _ in range(num_nulls)]
    is_tall = nulls[0].shape[0] >= nulls[0].shape[1]
    grams = [null.T @ null if is_tall else null @ null.T for null in nulls]
    bar = np.full(len(values), np.nan)
    for place, value in enumerate(values):
        bar[place] = np.quantile([_largest(gram) for gram in grams], LEVEL)
        if value <= bar[place]:
            break
        axis = right[place]
        for number, null in enumerate(nulls):
            grams[number] = _without(grams[number], axis if is_tall else null @ axis, is_tall)
    passed = int(np.argmin(np.append(values > bar, False)))
    return NumFactorsResult(values, bar, max(passed, 1))


def _largest(gram: np.ndarray) -> float:
    """Root of the largest eigenvalue."""
    last = len(gram) - 1
    value = linalg.eigh(gram, eigvals_only=True, subset_by_index=[last, last])[0]
    return float(np.sqrt(max(value, 0.0)))


def _without(gram: np.ndarray, axis: np.ndarray, is_tall: bool) -> np.ndarray:
    """The Gram matrix of N (I − v vᵀ); axis is v, or N v where the matrix is N Nᵀ."""
    if not is_tall:
        return gram - np.outer(axis, axis)
    seen = gram @ axis
    return gram - np.outer(axis, seen) - np.outer(seen - axis * (axis @ seen), axis)


def _shown(rng: np.random.Generator, problem: Problem, config: EMConfig) -> _Shown:
    """Residuals and gaps of the rows of at most `MOST_PEOPLE`."""
    head = _fit.fit_utility(problem, np.asarray(UTILITY_PENALTY, np.float32), config)
    utility = np.append(np.asarray(em.embed(head[:, None], problem.embeddings))[:, 0], 0.0)
    rows = jax.tree.map(np.asarray, problem.rows)
    people = np.flatnonzero(np.asarray(problem.count) > 0)
    if len(people) > MOST_PEOPLE:
        people = np.sort(rng.permutation(people)[:MOST_PEOPLE])
    place = np.full(problem.num_users, -1)
    place[people] = np.arange(len(people))
    person = np.broadcast_to(place[rows.user][:, None], rows.label.shape)
    counted = (rows.sample_weight > 0) & (person >= 0)
    first, second = rows.pairs.first, rows.pairs.second
    logit = (utility[first] - utility[second])[rows.pair]
    expected = special.expit(logit)
    if rows.choices is not None:
        expected = np.asarray(choice_slots.slope(expected, logit, rows.choices))
    residual = rows.sample_weight[counted] * (rows.label - expected)[counted]
    if problem.embeddings is None:
        # The zero baseline, and padding, have no column.
        eye = sparse.eye_array(problem.num_responses, format="csr")
        table = sparse.vstack([eye, sparse.csr_array((1, problem.num_responses))]).tocsr()
    else:
        table = np.pad(np.asarray(problem.embeddings, np.float64), ((0, 1), (0, 0)))
    gap = table[first] - table[second]
    return _Shown(person[counted], rows.pair[counted], residual, gap, len(people))
