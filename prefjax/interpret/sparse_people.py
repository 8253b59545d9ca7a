"""People who weigh the features of a sparse code, by the fit of any basis.

A row of the training data is a choice between two responses, and its code z(Δ) is no difference of
anything that the two responses have. So each pair takes the place of a response with the embedding
z(Δ), and is compared with the zero of its prompt; the head that the fit finds over z has no use for
a bias.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from prefjax import basis as bases
from prefjax.basis.heads import linear_params
from prefjax.data.merge import merge_rows
from prefjax.interpret.axes import Axes, center_by_group
from prefjax.interpret.sparse import (
    DEFAULT,
    SparseCode,
    SparseConfig,
    SparseInfo,
    encode,
    fit_sparse_code,
)
from prefjax.types import (
    BASELINE,
    Array,
    Comparisons,
    FitInfo,
    Gaussian,
    Items,
    Population,
    PRNGKey,
    RewardBasis,
)

MOST_PAIRS = 20_000
"""Pairs that a code is trained on; more of the same responses say little else."""
JITTER = 1e-3
"""Variance added to each feature's weight, per mean variance: J factors span J directions only."""


class SparseFit(NamedTuple):
    """A code and the people who weigh its features.

    Attributes:
        code: The autoencoder.
        basis: J base rewards over z, as `basis.fit` returns them: a linear head without bias.
        people: Posterior of every training user's weights on these J.
        info: How the basis was reached.
        code_info: How the code turned out.
    """

    code: SparseCode
    basis: RewardBasis
    people: Gaussian
    info: FitInfo
    code_info: SparseInfo


def fit_sparse(
    key: PRNGKey,
    comparisons: Comparisons,
    inputs: Float[Array, "response input"],
    *,
    num_users: int,
    group: Int[Array, " response"],
    config: bases.EMConfig = bases.EMConfig(),
    search_config: bases.SearchConfig = bases.SearchConfig(),
    code_config: SparseConfig = DEFAULT,
) -> SparseFit:
    """Trains a code on pairs of compared responses and fits people to it by the default fit.

    Args:
        key: Of the code and of the fit.
        comparisons: Training rows, each between two responses.
        inputs: What is differenced: an embedding or φ of each response.
        num_users: Number of users.
        group: Prompt of each response; the code is trained on pairs within prompts.
        config: Settings of the fit of people.
        search_config: Candidate penalties.
        code_config: Settings of the code.

    Raises:
        ValueError: A row is a vote on one response: a code of differences needs two.
    """
    if (np.asarray(comparisons.second) == BASELINE).any():
        raise ValueError("a sparse code of differences needs two responses a row; there are votes")
    code_key, fit_key = jax.random.split(key)
    inputs, group = np.asarray(inputs, np.float32), np.asarray(group)
    shown = np.zeros(len(inputs), bool)
    shown[np.asarray(comparisons.first)] = True
    shown[np.asarray(comparisons.second)] = True
    first, second = _pairs_within(group, shown)
    code, code_info = fit_sparse_code(code_key, inputs[first] - inputs[second], config=code_config)
    rows, table, of_pair = _as_responses(comparisons, inputs, group, code)
    problem = bases.make_problem(rows, table, num_users=num_users, group=of_pair)
    basis, people, info = bases.fit(fit_key, problem, config=config, search_config=search_config)
    # The bias cancels between a pair and zero; without it, z(−Δ) has minus the reward of z(Δ).
    out = basis.params["out"]
    params = {"out": {"kernel": out["kernel"], "bias": jnp.zeros_like(out["bias"])}}
    return SparseFit(code, basis._replace(params=params), people, info, code_info)


def _pairs_within(group: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of shown responses of one group, or as many of them as are read."""
    rng = np.random.default_rng(0)
    parts = []
    for one in np.unique(group[shown]):
        members = np.flatnonzero(shown & (group == one))
        low, high = np.triu_indices(len(members), 1)
        some = rng.permutation(len(low))[:MOST_PAIRS]
        parts.append(np.stack([members[low[some]], members[high[some]]]))
    pairs = np.concatenate(parts, axis=1)
    pairs = pairs[:, rng.permutation(pairs.shape[1])[:MOST_PAIRS]]
    return pairs[0], pairs[1]


def _as_responses(
    comparisons: Comparisons, inputs: np.ndarray, group: np.ndarray, code: SparseCode
) -> tuple[Comparisons, np.ndarray, np.ndarray]:
    """Every distinct pair as a response z, compared with the zero of its prompt.

    The zeros are one a prompt, so that a prompt stays one group where penalties are chosen.
    """
    first, second = np.asarray(comparisons.first), np.asarray(comparisons.second)
    swap = second < first
    low, high = np.where(swap, second, first), np.where(swap, first, second)
    pairs, place = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
    z = np.asarray(encode(code, inputs[pairs[0]] - inputs[pairs[1]]))
    groups, of_first = np.unique(group[pairs[0]], return_inverse=True)
    table = np.concatenate([z, np.zeros((len(groups), z.shape[1]), z.dtype)])
    of_pair = np.concatenate([groups[of_first], groups])
    place = place.ravel()
    label = np.asarray(comparisons.label)
    rows = Comparisons(
        user=np.asarray(comparisons.user),
        first=place.astype(np.int32),
        second=(len(z) + of_first[place]).astype(np.int32),
        label=np.where(swap, 1 - label, label).astype(np.float32),
        sample_weight=np.asarray(comparisons.sample_weight, np.float32),
    )
    return merge_rows(rows), table, of_pair


def sparse_axes(
    fit: SparseFit,
    inputs: Float[Array, "response input"],
    group: Int[Array, " response"],
    *,
    shown: Bool[Array, " response"] | None = None,
) -> Axes:
    """Every sparse feature as an axis, for the same tests as those of a dense basis.

    With C the map from factors to features, a person's weights are C λ_u and the population
    N(C μ, C Σ Cᵀ) with a little variance in every direction.

    Args:
        fit: From `fit_sparse`.
        inputs: Of all responses.
        group: Prompt of each response.
        shown: Responses whose spread is the variance of a feature; all by default.
    """
    inputs, group = np.asarray(inputs, np.float32), np.asarray(group)
    kernel = np.asarray(fit.basis.params["out"]["kernel"])
    factors, utility = kernel[:, :-1], kernel[:, -1:]
    num = len(kernel)

    def to_features(people: Population) -> Gaussian:
        mean = np.asarray(people.mean) @ factors.T
        covariance = factors @ np.asarray(people.covariance) @ factors.T
        return Gaussian(mean, covariance.astype(np.float32))

    population = to_features(fit.basis.population)
    scale = JITTER * max(float(np.trace(population.covariance)) / num, 1e-12)
    jitter = scale * np.eye(num, dtype=np.float32)
    population = population._replace(covariance=population.covariance + jitter)
    people = to_features(fit.people)
    people = people._replace(covariance=people.covariance + jitter)
    identity = np.concatenate([np.eye(num, dtype=np.float32), utility], axis=1)
    basis = RewardBasis(linear_params(identity), population, fit.basis.posterior_scale)

    def gap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.asarray(encode(fit.code, inputs[first] - inputs[second]), np.float64)

    centered = center_by_group(inputs, group).astype(np.float32)
    features = np.asarray(encode(fit.code, centered), np.float64)
    used = np.ones(len(inputs), bool) if shown is None else np.asarray(shown)
    variance = np.mean(features[used] ** 2, axis=0) * np.diagonal(population.covariance)
    items = Items(features.astype(np.float32), (features @ utility)[:, 0].astype(np.float32))
    return Axes(basis, people, items, features, group, np.asarray(variance), code=gap)
