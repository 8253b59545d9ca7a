"""New users: a population of many people and a few answers give a new person's weights.

    min over N(m, S) of  Σ_i w_i E[ℓ(λ·f_i + t_i, y_i)] + KL(N(m, S) ‖ N(μ, Σ)),

or, under a `NewtonConfig`, the published λ̂_u = argmin Σ_i w_i ℓ(λ·f_i + t_i, y_i) +
½ (λ-μ)ᵀ Σ⁻¹ (λ-μ), solved for many users at once. The population ``N(μ, Σ)`` is learned with the
basis and is the default prior; the ridge ``N(0, I/β)`` is the published one. Zero answers give μ
exactly, the population model.

References:
    PReF, arXiv 2503.06358, Eq. 5.
"""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax import logistic, metrics
from prefjax.logistic import LogisticFit, Solver, Status
from prefjax.person.checks import check_population
from prefjax.person.inference import infer
from prefjax.types import Array, FeatureGap, Gaussian, Population, UserBatch


def ridge_prior(num_factors: int, beta: float) -> Gaussian:
    """The published prior ``N(0, I/β)``.

    Args:
        num_factors: J.
        beta: β, the strength of the ridge.

    Raises:
        ValueError: ``num_factors`` is below 1 or β is not positive and finite.
    """
    if num_factors < 1:
        raise ValueError(f"num_factors must be at least 1, got {num_factors}")
    if not (np.isfinite(beta) and beta > 0):
        raise ValueError(f"beta must be finite and positive, got {beta}")
    return Gaussian(jnp.zeros(num_factors), jnp.eye(num_factors) / beta)


def adapt(
    gap: FeatureGap,
    label: Float[Array, "user pair"],
    sample_weight: Float[Array, "user pair"],
    *,
    prior: Population,
    posterior_scale: Float[Array, ""] | float = 1.0,
    config: Solver = logistic.GAUSSIAN,
) -> LogisticFit:
    """Fits the weights of many new users under one prior; pure, for use inside ``jit``.

    Args:
        gap: Of each user's answers, from `Items.gap_to`, padded to one length: axes user and pair.
        label: Probability that the first was preferred.
        sample_weight: Weight of each answer, 0 for padding, whatever the padding contains.
        prior: Population of a `RewardBasis`, or `ridge_prior`.
        posterior_scale: That of the basis; the MAP of a `NewtonConfig` knows none.
        config: Which posterior, and when to stop.

    Returns:
        A ``LogisticFit`` with a leading user axis; users without answers have the prior mean and
        ``Status.NO_DATA``.
    """
    solve = partial(infer, prior=prior, posterior_scale=posterior_scale, config=config)
    features, *rest = (jnp.asarray(part) for part in gap)
    gap = FeatureGap(features, *(jnp.broadcast_to(part, features.shape[:-1]) for part in rest))
    return jax.vmap(solve)(gap, jnp.asarray(label), jnp.asarray(sample_weight))


def adapt_path(
    gap: FeatureGap,
    label: Float[Array, "user pair"],
    sample_weight: Float[Array, "user pair"],
    num_answers: Int[Array, " count"],
    *,
    prior: Population,
    posterior_scale: Float[Array, ""] | float = 1.0,
    config: Solver = logistic.GAUSSIAN,
) -> LogisticFit:
    """`adapt` to the first n answers of every user, for each n; leading axes count and user.

    Args:
        gap: Of each user's answers, from `Items.gap_to`, padded to one length: axes user and pair.
        label: Probability that the first was preferred.
        sample_weight: Weight of each answer, 0 for padding.
        num_answers: Each n.
        prior: Population of a `RewardBasis`, or `ridge_prior`.
        posterior_scale: That of the basis; the MAP of a `NewtonConfig` knows none.
        config: Which posterior, and when to stop.
    """

    def after(count):
        seen = jnp.arange(label.shape[1])[None, :] < count
        weight = jnp.where(seen, sample_weight, 0.0)
        settings = {"posterior_scale": posterior_scale, "config": config}
        return adapt(gap, label, weight, prior=prior, **settings)

    return jax.lax.map(after, jnp.asarray(num_answers))


def ridge_losses(
    answer_features: Float[Array, "user pair factor"],
    answers: UserBatch,
    test_features: Float[Array, "user test factor"],
    tests: UserBatch,
    ridges: Float[Array, " ridge"],
) -> Float[jax.Array, " ridge"]:
    """Summed loss of known users on further pairs under each ``N(0, I/β)``; β is chosen by it.

    Args:
        answer_features: Features of the pairs that are answered.
        answers: Their labels and weights.
        test_features: Features of the pairs that are predicted.
        tests: Their labels and weights.
        ridges: Candidates of β.
    """
    label = jnp.asarray(answers.label)
    weight = jnp.where(answers.mask, answers.sample_weight, 0.0)
    test_weight = jnp.where(tests.mask, tests.sample_weight, 0.0)
    eye = jnp.eye(answer_features.shape[-1])

    def loss(ridge):
        prior = Gaussian(jnp.zeros(len(eye)), eye / ridge)
        gap = FeatureGap(answer_features, jnp.zeros_like(label))
        fits = adapt(gap, label, weight, prior=prior, config=logistic.DEFAULT)
        logit = jnp.einsum("upj,uj->up", test_features, fits.weights)
        losses = test_weight * metrics.nll(logit, tests.label)
        return jnp.sum(jnp.where(test_weight > 0, losses, 0.0))

    return jax.lax.map(loss, jnp.asarray(ridges))


_adapt_jit = jax.jit(adapt, static_argnames="config")


def _first_bad(bad: np.ndarray) -> str:
    user, pair = np.argwhere(bad)[0][:2]
    return f"user {user}, answer {pair} ({int(bad.sum())} in all)"


def adapt_checked(
    gap: FeatureGap,
    label: Float[Array, "user pair"],
    sample_weight: Float[Array, "user pair"],
    *,
    prior: Population,
    posterior_scale: Float[Array, ""] | float = 1.0,
    config: Solver = logistic.GAUSSIAN,
    strict: bool = False,
) -> LogisticFit:
    """`adapt` from the host: the input is checked before and the outcome after.

    Args:
        gap: Of each user's answers, from `Items.gap_to`, padded to one length: axes user and pair.
        label: Probability that the first was preferred.
        sample_weight: Weight of each answer, 0 for padding, whatever the padding contains.
        prior: Population of a `RewardBasis`, or `ridge_prior`.
        posterior_scale: That of the basis; the MAP of a `NewtonConfig` knows none.
        config: Which posterior, and when to stop.
        strict: Raise instead of warn when a user has no finite optimum that was reached.

    Raises:
        ValueError: A weight is negative or not finite; or, where the weight is positive, a feature
            or offset is not finite, a variance is not or is negative, or a label lies outside
            [0, 1]; or the prior is not finite, symmetric and positive definite.
        RuntimeError: ``strict`` and some user did not converge.

    Warns:
        RuntimeWarning: Once, with the counts, when users did not converge and not ``strict``.
    """
    weight_, label_ = np.asarray(sample_weight), np.asarray(label)
    bad = ~(np.isfinite(weight_) & (weight_ >= 0))
    if bad.any():
        raise ValueError(f"weights must be finite and not negative: {_first_bad(bad)}")
    used = weight_ > 0
    bad = used & ~((label_ >= 0) & (label_ <= 1))
    if bad.any():
        hint = " (labels in {-1, 1}? map them to {0, 1})" if (label_[bad] == -1).all() else ""
        raise ValueError(f"labels must lie in [0, 1]: {_first_bad(bad)}{hint}")
    features, offset, variance = (np.asarray(part) for part in gap)
    bad = used & ~(np.isfinite(features).all(axis=-1) & np.isfinite(offset))
    if bad.any():
        raise ValueError(f"features and offsets must be finite: {_first_bad(bad)}")
    bad = used & ~(np.isfinite(variance) & (variance >= 0))
    if bad.any():
        raise ValueError(f"variances must be finite and not negative: {_first_bad(bad)}")
    check_population(prior, "the prior")
    settings = {"posterior_scale": posterior_scale, "config": config}
    fits = _adapt_jit(gap, label, sample_weight, prior=prior, **settings)
    status = np.asarray(fits.status)
    counts = {s: np.flatnonzero(status == s) for s in (Status.SEPARABLE, Status.NOT_CONVERGED)}
    failed = np.sort(np.concatenate(list(counts.values())))
    if failed.size:
        message = (
            f"{failed.size} of {status.size} users did not converge: "
            f"{counts[Status.SEPARABLE].size} have separable answers and no proper prior, "
            f"{counts[Status.NOT_CONVERGED].size} ran out of steps"
        )
        if strict:
            more = ", ..." if failed.size > 10 else ""
            names = ", ".join(str(user) for user in failed[:10])
            raise RuntimeError(f"{message}; users {names}{more}")
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return fits
