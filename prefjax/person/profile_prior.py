r"""What is known of a person before the first answer: survey answers, an embedded profile.

.. math:: λ_u ~ N(μ + Aᵀ(z_u - z̄), Σ'),    A = argmin Σ_u ‖m_u - μ - Aᵀ(z_u - z̄)‖² + τ ‖A‖²

Training people have posteriors N(m_u, S_u) under the population N(μ, Σ), which pull every m_u
towards μ. What their answers alone say is the quotient of the two, with precision S_u⁻¹ − Σ⁻¹, and
expectation–maximization takes it with the prior of the person's own profile in place of Σ: each
round is one ridge regression and one mean. τ is the one under which people held out are the most
likely, no effect of the profile (A = 0) among the candidates: profiles that say nothing change
nothing.

A person then begins at ``prior_of(profile)``, which is a `Gaussian` like the population.

References:
    Ridge: Hoerl and Kennard (1970). Priors with covariates for latent factors: Agarwal and Chen
    (2009), Regression-based latent factor models.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from prefjax.types import Array, Gaussian

RIDGES = (1.0, 10.0, 100.0, 1000.0, np.inf)
"""Candidates of τ, in units of people; the last one is no effect."""
NUM_FOLDS = 5
NUM_ROUNDS = 30


class ProfilePrior(NamedTuple):
    """Prior of a person of whom a profile is known.

    Attributes:
        center: z̄.
        scale: Standard deviation of each number of the profiles, 1 where it is 0.
        kernel: A, for numbers at unit scale.
        population: N(μ, Σ'), for a person with the mean profile.
        ridge: τ that was chosen; infinite where profiles say nothing.
        gain: Nats a person by which held-out people are more likely than without profiles.
    """

    center: Float[np.ndarray, " number"]
    scale: Float[np.ndarray, " number"]
    kernel: Float[np.ndarray, "number factor"]
    population: Gaussian
    ridge: float
    gain: float

    def prior_of(self, profile: Float[Array, "*person number"]) -> Gaussian:
        """What is known of a person, or of several, before the first answer.

        Args:
            profile: z; NaN where a number is not known, which counts as the mean.
        """
        unit = (np.asarray(profile, np.float64) - self.center) / self.scale
        shift = np.where(np.isnan(unit), 0.0, unit) @ self.kernel
        mean = np.asarray(self.population.mean) + shift
        covariance = np.asarray(self.population.covariance)
        shape = (*mean.shape, mean.shape[-1])
        return Gaussian(
            mean.astype(np.float32), np.broadcast_to(covariance, shape).astype(np.float32)
        )


class _Told(NamedTuple):
    """What the answers of people alone say: precision and precision times mean."""

    precision: np.ndarray
    shift: np.ndarray


def fit_profile_prior(
    people: Gaussian, population: Gaussian, profiles: Float[Array, "user number"], *, seed: int = 0
) -> ProfilePrior:
    """Learns from training people what a profile says of the weights; a host function.

    Args:
        people: Posteriors of the training people, as every fit of a basis returns them.
        population: The population of that fit.
        profiles: Numbers of each of them: survey answers one-hot, or an embedding; NaN where a
            number is not known.
        seed: Seed of the folds.

    Raises:
        ValueError: There are fewer than ten people, or not one profile for each; or a number is
            infinite.
    """
    table = np.array(profiles, np.float64)
    mean = np.asarray(people.mean, np.float64)
    if table.ndim != 2 or len(table) != len(mean):
        raise ValueError(f"{len(mean)} people have profiles of shape {table.shape}, one row each")
    if len(table) < 2 * NUM_FOLDS:
        raise ValueError(f"{len(table)} people are too few to learn from; at least {2 * NUM_FOLDS}")
    if np.isinf(table).any():
        first = np.argwhere(np.isinf(table))[0][0]
        raise ValueError(f"a profile has an infinite number, person {first}")
    seen = ~np.isnan(table)
    count = np.maximum(seen.sum(axis=0), 1)
    center = np.where(seen, table, 0).sum(axis=0) / count
    spread = np.sqrt(np.where(seen, np.square(table - center), 0).sum(axis=0) / count)
    scale = np.where(spread > 0, spread, 1.0)
    unit = np.where(seen, (table - center) / scale, 0.0)
    told = _told(people, population)
    fold = np.random.default_rng(seed).permutation(len(unit)) % NUM_FOLDS
    likelihood = np.zeros(len(RIDGES))
    for place, ridge in enumerate(RIDGES):
        for number in range(NUM_FOLDS):
            out = fold == number
            fitted = _regress(_Told(*(part[~out] for part in told)), unit[~out], population, ridge)
            held_out = _Told(*(part[out] for part in told))
            likelihood[place] += _evidence(held_out, unit[out], *fitted).sum()
    best = int(np.argmax(likelihood))
    kernel, found = _regress(told, unit, population, RIDGES[best])
    gain = (likelihood[best] - likelihood[-1]) / len(unit)
    return ProfilePrior(center, scale, kernel, found, float(RIDGES[best]), float(gain))


def _told(people: Gaussian, population: Gaussian) -> _Told:
    covariance = np.asarray(people.covariance, np.float64)
    before = np.linalg.inv(np.asarray(population.covariance, np.float64))
    after = np.linalg.inv(covariance)
    shift = np.einsum("uij,uj->ui", after, np.asarray(people.mean, np.float64))
    return _Told(after - before, shift - before @ np.asarray(population.mean, np.float64))


def _posterior(told: _Told, mean: np.ndarray, covariance: np.ndarray):
    """Moments of people whose prior means are given."""
    inverse = np.linalg.inv(covariance)
    spread = np.linalg.inv(told.precision + inverse)
    return np.einsum("uij,uj->ui", spread, told.shift + mean @ inverse), spread


def _regress(
    told: _Told, unit: np.ndarray, population: Gaussian, ridge: float
) -> tuple[np.ndarray, Gaussian]:
    """A and N(μ, Σ') at one τ."""
    covariance = np.asarray(population.covariance, np.float64)
    center = np.asarray(population.mean, np.float64)
    width, num_factors = unit.shape[1], len(center)
    kernel = np.zeros((width, num_factors))
    gram = unit.T @ unit
    for _ in range(NUM_ROUNDS):
        mean, spread = _posterior(told, center + unit @ kernel, covariance)
        center = (mean - unit @ kernel).mean(axis=0)
        if np.isfinite(ridge):
            kernel = np.linalg.solve(gram + ridge * np.eye(width), unit.T @ (mean - center))
        left = mean - center - unit @ kernel
        covariance = left.T @ left / len(unit) + spread.mean(axis=0)
        covariance = (covariance + covariance.T) / 2
    return kernel, Gaussian(center, covariance)


def _evidence(
    told: _Told, unit: np.ndarray, kernel: np.ndarray, population: Gaussian
) -> np.ndarray:
    """Log likelihood of what each person said, up to a term without the prior."""
    center, covariance = np.asarray(population.mean), np.asarray(population.covariance)
    prior_mean = center + unit @ kernel
    mean, spread = _posterior(told, prior_mean, covariance)
    inverse = np.linalg.inv(covariance)

    def square(vector, matrix):
        return np.einsum("ui,uij,uj->u", vector, matrix, vector)

    after = square(mean, told.precision + inverse) + np.linalg.slogdet(spread)[1]
    before = np.einsum("ui,ij,uj->u", prior_mean, inverse, prior_mean)
    return 0.5 * (after - before - np.linalg.slogdet(covariance)[1])
