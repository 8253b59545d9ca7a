"""What is refused on the host before anything of a person is computed."""

import numpy as np

from prefjax.person.pools import PairPool, Pool, num_candidates
from prefjax.types import Gaussian, Mixture, Population


def check_gaussian(gaussian: Gaussian, name: str) -> None:
    """Refuses a Gaussian that is none.

    Args:
        gaussian: One, without leading axes.
        name: What the message calls it.

    Raises:
        ValueError: It is not finite, symmetric and positive definite.
    """
    mean, covariance = np.asarray(gaussian.mean), np.asarray(gaussian.covariance)
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError(f"mean and covariance of {name} must be finite")
    if covariance.shape != (*mean.shape, *mean.shape[-1:]):
        raise ValueError(
            f"mean and covariance of {name} have shapes {mean.shape} and {covariance.shape}"
        )
    scale = max(float(np.abs(covariance).max(initial=0)), np.finfo(covariance.dtype).tiny)
    if np.abs(covariance - covariance.T).max(initial=0) > 1e-4 * scale:
        raise ValueError(f"the covariance of {name} must be symmetric")
    if np.linalg.eigvalsh(covariance).min(initial=np.inf) <= 0:
        raise ValueError(f"the covariance of {name} must be positive definite")


def check_population(population: Population, name: str) -> None:
    """Refuses a Gaussian, or a mixture, that is none.

    Args:
        population: What is known before the first answer.
        name: What the message calls it.

    Raises:
        ValueError: The Gaussian, a component or the moments of a mixture are not finite, symmetric
            and positive definite; or its weights do not sum to 1.
    """
    if isinstance(population, Mixture):
        weight = np.exp(np.asarray(population.log_weight, np.float64))
        if not abs(weight.sum() - 1) < 1e-3:
            raise ValueError(f"the weights of {name} sum to {weight.sum():.4g}, not to 1")
        for number in range(len(weight)):
            component = Gaussian(*(np.asarray(part)[number] for part in population.components))
            check_gaussian(component, f"component {number} of {name}")
    check_gaussian(Gaussian(population.mean, population.covariance), name)


def check_pool(pool: Pool, num_factors: int) -> None:
    """Refuses a pool from which nothing can be asked.

    Args:
        pool: The questions.
        num_factors: J of the person.

    Raises:
        ValueError: The pool has no question, another number of factors than the person, more
            questions than a 32-bit index can name, an unmasked row that is not finite, or an
            uncertainty that is not one of its rows, not finite or, as a variance, negative.
    """
    factors = pool.features.shape[-1]
    if factors != num_factors:
        raise ValueError(f"the pool has {factors} factors and the person {num_factors}")
    if num_candidates(pool) > np.iinfo(np.int32).max:
        raise ValueError("the pool has more questions than a 32-bit index can name; split it")
    mask = np.asarray(pool.mask)
    if not mask.any():
        raise ValueError("the pool has no unmasked question")
    is_pairs = isinstance(pool, PairPool)
    shared = np.asarray(pool.offset if is_pairs else pool.utility)
    finite = np.isfinite(np.asarray(pool.features)).all(axis=-1) & np.isfinite(shared)
    _refuse_rows(mask & ~finite, "are not finite")
    name, learned = ("variance", pool.variance) if is_pairs else ("spread", pool.spread)
    if learned is None:
        return
    table = np.asarray(learned)
    if table.ndim != mask.ndim + (not is_pairs) or table.shape[: mask.ndim] != mask.shape:
        wanted = mask.shape if is_pairs else (*mask.shape, "columns")
        raise ValueError(f"the {name} of the pool has shape {table.shape}, not {wanted}")
    finite = np.isfinite(table) if is_pairs else np.isfinite(table).all(axis=-1)
    _refuse_rows(mask & ~finite, f"have a {name} that is not finite")
    if is_pairs:
        _refuse_rows(mask & (table < 0), "have a negative variance")


def _refuse_rows(bad: np.ndarray, what: str) -> None:
    places = np.argwhere(bad)
    if len(places):
        rows = ", ".join(str(tuple(int(i) for i in row)) for row in places[:3])
        raise ValueError(f"{len(places)} unmasked rows of the pool {what}, the first: {rows}")
