"""From a trained run to a reward basis: the same three things that a block fit returns.

    t ← t + μ·φ,   λ_u ← m_u − μ,   population = N(0, Σ_u s_u (λ_u λ_uᵀ + diag S_u))

with μ = Σ_u s_u m_u and s_u equal shares of the users who have comparisons: people have mean 0, as
in `prefjax.basis`. Predictions for training users do not change. A user without comparisons is
given the population.
"""

import jax
import numpy as np

from prefjax.parallel import fetch
from prefjax.train.loop import TrainResult, user_weights
from prefjax.train.problem import ModelConfig
from prefjax.types import FitInfo, Gaussian, Penalties, RewardBasis

JITTER = 1e-6
"""Added to the variances of the population, which are 0 if nothing personal was found."""


def to_basis(
    result: TrainResult, config: ModelConfig, *, dense: bool = True
) -> tuple[RewardBasis, Gaussian, FitInfo]:
    """Turns a run into the basis, the people and the information that every fit returns.

    Args:
        result: A run of `train`.
        config: What was fitted, ``train_config.step.model``.
        dense: Whether to return people with whole covariances, J² numbers each; False returns
            none of them, for more people than fit in memory; see `user_weights`.

    Returns:
        The basis for raw embeddings, the posterior of every training user, and how it was reached:
        ``converged`` says whether the run stopped because nothing was gained any more, and
        ``objective`` holds the training loss of each call, in nats per comparison.

    Raises:
        FloatingPointError: The head or a user is not finite.
    """
    mean, variance = user_weights(result.state, result.layout)
    params = jax.tree.map(np.asarray, fetch(result.state.params))
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((params, mean, variance))):
        raise FloatingPointError("The trained head or users are not finite: no model is made.")
    place = result.layout.locate(np.arange(result.layout.num_users))
    present = fetch(result.state.users.mass)[place] > 0
    center = mean[present].mean(0, dtype=np.float64)
    deviation = mean[present] - center
    covariance = deviation.T @ deviation / present.sum() + JITTER * np.eye(len(center))
    if variance is not None:
        covariance += np.diag(variance[present].mean(0, dtype=np.float64))
    covariance = covariance.astype(np.float32)
    population = Gaussian(np.zeros_like(covariance[0]), covariance)
    kernel = params["out"]["kernel"]
    utility = kernel[:, -1] + kernel[:, :-1] @ center
    kernel = np.concatenate([kernel[:, :-1], utility[:, None]], axis=1).astype(np.float32)
    bias = params["out"].get("bias", np.zeros(kernel.shape[1]))
    bias = np.append(bias[:-1], bias[-1] + bias[:-1] @ center)
    out = {"kernel": kernel, "bias": bias.astype(np.float32)}
    scale = np.asarray(0.0 if variance is None else 1.0, np.float32)
    basis = RewardBasis({**params, "out": out}, population, scale)
    return basis, _people(mean, variance, present, center, covariance, dense), _info(result, config)


def _people(mean, variance, present, center, covariance, dense: bool) -> Gaussian:
    """Posteriors of all users in the basis' gauge; of none where they are too many."""
    num_factors = len(center)
    if not dense:
        empty = np.zeros((0, num_factors), np.float32)
        return Gaussian(empty, np.zeros((0, num_factors, num_factors), np.float32))
    mean = np.where(present[:, None], mean - center, 0).astype(np.float32)
    variance = np.full_like(mean, JITTER) if variance is None else variance
    own = np.zeros((len(mean), num_factors, num_factors), np.float32)
    factor = np.arange(num_factors)
    own[:, factor, factor] = variance
    own[~present] = covariance
    return Gaussian(mean, own)


def _info(result: TrainResult, config: ModelConfig) -> FitInfo:
    losses = [line["loss"] for line in result.history if "loss" in line]
    scale = {"marginal": 1.0, "map": 0.0}[config.objective]
    values = (config.penalty, config.utility_penalty, scale)
    return FitInfo(
        converged=np.asarray(result.status in ("converged", "stopped early")),
        num_steps=np.asarray(fetch(result.state.num_steps)),
        objective=np.asarray(losses, np.float32),
        penalties=Penalties(*(np.asarray(value, np.float32) for value in values)),
    )
