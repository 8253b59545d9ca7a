"""A sparse autoencoder over differences of responses: few features a pair, each to be read alone.

    z(Δ) = E Δ ∘ 1[|E Δ| ≥ θ],    Δ̂_m = Σ_{i ≤ m} z_i d_i,    ‖d_i‖ = 1,
    loss = Σ_m mean ‖Δ − Δ̂_m‖² / mean ‖Δ‖²    over prefixes m of the features (8 and 32).

While training, θ is what leaves K entries a pair active on average over a batch, whatever their
sign; afterwards it is the average of these. There are no biases anywhere, so that
z(−Δ) = −z(Δ) exactly: swapping two responses turns every feature round. The prefixes make the
first features say the most. Features that hardly any pair activates are counted as dead; a smaller
learning rate leaves fewer of them.

Δ is a difference of embeddings, or of base rewards φ, in which case the features are atoms of what
people disagree about. People weigh the features through a few factors, as in any other basis: the
code takes the place of an embedding, and the same fit finds who people are.

References:
    arXiv 2412.06410 (batch top-k), 2503.17547 (Matryoshka), 2510.26202 (sparse features of
    preference data, signed and over differences).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, Float, Int

from prefjax import basis as bases
from prefjax.basis.heads import linear_params
from prefjax.data.merge import merge_rows
from prefjax.interpret.axes import Axes, center_by_group
from prefjax.settings import check_settings
from prefjax.types import (
    BASELINE,
    Array,
    Comparisons,
    FitInfo,
    Gaussian,
    Items,
    PRNGKey,
    RewardBasis,
)

MOST_PAIRS = 20_000
"""Pairs that a code is trained on; more of the same responses say little else."""
JITTER = 1e-3
"""Variance added to each feature's weight, per mean variance: J factors span J directions only."""


@dataclass(frozen=True)
class SparseConfig:
    """Settings of the autoencoder.

    Attributes:
        num_features: M.
        num_active: K, active features of a pair on average.
        prefixes: Numbers of leading features that must reconstruct on their own, ascending; the
            last is M.
        num_steps: Steps of Adam.
        batch_size: Pairs of a step.
        learning_rate: First learning rate; it decays to 0 by a cosine.
        min_rate: Share of the pairs that a feature must activate lest it counts as dead.

    Raises:
        ValueError: A number is below 1, K exceeds M, or the prefixes do not end at M.
    """

    num_features: int = 32
    num_active: int = 6
    prefixes: tuple[int, ...] = (8, 32)
    num_steps: int = 3000
    batch_size: int = 512
    learning_rate: float = 0.002
    min_rate: float = 1e-3

    def __post_init__(self):
        check_settings(self, "num_features", "num_active", "num_steps", "batch_size")
        if self.num_active > self.num_features:
            raise ValueError(
                f"num_active={self.num_active} of num_features={self.num_features} cannot be active"
            )
        ascending = all(a < b for a, b in zip(self.prefixes, self.prefixes[1:], strict=False))
        if not self.prefixes or self.prefixes[-1] != self.num_features or not ascending:
            raise ValueError(
                f"prefixes must rise to num_features={self.num_features}, got {self.prefixes}"
            )


class SparseCode(NamedTuple):
    """The autoencoder.

    Attributes:
        encoder: E.
        decoder: d_i, rows of length 1.
        threshold: θ.
    """

    encoder: Float[Array, "input feature"]
    decoder: Float[Array, "feature input"]
    threshold: Float[Array, ""]


class SparseInfo(NamedTuple):
    """How a code turned out, on the pairs that it was trained on.

    Attributes:
        explained: Share of the mean square of Δ that all features reconstruct.
        alive: Share of the features that at least ``min_rate`` of the pairs activates.
        num_dead: The features that are not alive.
        num_active: Active features of a pair on average.
        objective: Loss before each step.
    """

    explained: Float[Array, ""]
    alive: Float[Array, ""]
    num_dead: Int[Array, ""]
    num_active: Float[Array, ""]
    objective: Float[Array, " step"]


DEFAULT = SparseConfig()


def encode(
    code: SparseCode, difference: Float[Array, "*pair input"]
) -> Float[jax.Array, "*pair feature"]:
    """Z of differences, odd to the bit.

    Args:
        code: From `fit_sparse_code`.
        difference: First minus second response.
    """
    full = jnp.asarray(difference) @ code.encoder
    return jnp.where(jnp.abs(full) >= code.threshold, full, 0.0)


def decode(
    code: SparseCode, features: Float[Array, "*pair feature"]
) -> Float[jax.Array, "*pair input"]:
    """The difference that features stand for.

    Args:
        code: From `fit_sparse_code`.
        features: z.
    """
    return jnp.asarray(features) @ code.decoder


def _loss(params, batch, config: SparseConfig):
    decoder = _normalized(params)["decoder"]
    full = batch @ params["encoder"]
    size = jnp.abs(full)
    num_active = config.num_active * batch.shape[0]
    threshold = jax.lax.stop_gradient(jax.lax.top_k(size.reshape(-1), num_active)[0][-1])
    features = jnp.where(size >= threshold, full, 0.0)
    total = jnp.mean(jnp.sum(batch**2, axis=1))
    loss = jnp.zeros(())
    for prefix in config.prefixes:
        residual = batch - features[:, :prefix] @ decoder[:prefix]
        loss = loss + jnp.mean(jnp.sum(residual**2, axis=1)) / total
    return loss, threshold


def _normalized(params: Any) -> Any:
    norm = jnp.linalg.norm(params["decoder"], axis=1, keepdims=True)
    return {**params, "decoder": params["decoder"] / jnp.maximum(norm, 1e-12)}


@partial(jax.jit, static_argnames="config")
def _fit(key, differences, config: SparseConfig):
    start_key, draw_key = jax.random.split(key)
    num_pairs, num_inputs = differences.shape
    scale = jnp.sqrt(jnp.mean(jnp.sum(differences**2, axis=1)))
    data = differences / jnp.maximum(scale, 1e-30)
    decoder = jax.random.normal(start_key, (config.num_features, num_inputs))
    decoder = decoder / jnp.linalg.norm(decoder, axis=1, keepdims=True)
    params = {"encoder": decoder.T, "decoder": decoder}
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.num_steps))

    def step(carry, key):
        params, moments, threshold = carry
        batch = data[jax.random.randint(key, (config.batch_size,), 0, num_pairs)]
        (loss, own), gradient = jax.value_and_grad(_loss, has_aux=True)(params, batch, config)
        update, moments = optimizer.update(gradient, moments, params)
        params = _normalized(optax.apply_updates(params, update))
        # An average over the last hundred steps or so, when the parameters hardly move.
        return (params, moments, 0.99 * threshold + 0.01 * own), loss

    carry = params, optimizer.init(params), jnp.zeros(())
    keys = jax.random.split(draw_key, config.num_steps)
    (params, _, threshold), objective = jax.lax.scan(step, carry, keys)
    threshold = threshold / (1.0 - 0.99**config.num_steps) * scale
    code = SparseCode(params["encoder"], params["decoder"], threshold)
    features = encode(code, differences)
    residual = differences - decode(code, features)
    active = jnp.mean(features != 0, axis=0)
    alive = active >= config.min_rate
    info = SparseInfo(
        explained=1 - jnp.sum(residual**2) / jnp.maximum(jnp.sum(differences**2), 1e-30),
        alive=jnp.mean(alive),
        num_dead=jnp.sum(~alive),
        num_active=jnp.sum(active),
        objective=objective,
    )
    return code, info


def fit_sparse_code(
    key: PRNGKey, differences: Float[Array, "pair input"], *, config: SparseConfig = DEFAULT
) -> tuple[SparseCode, SparseInfo]:
    """Trains the autoencoder; pure.

    Args:
        key: Draws the start and the batches.
        differences: Δ of many pairs, in either order.
        config: Settings, static.
    """
    return _fit(key, jnp.asarray(differences, jnp.float32), config)


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

    def to_features(people: Gaussian) -> Gaussian:
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
