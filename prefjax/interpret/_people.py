"""Weights of many people from their rows, whose numbers differ by orders of magnitude.

One person of a set may have answered thirty questions and another three thousand. People of like
numbers are solved together, on axes padded to powers of four, so that the padding is at most a few
times the rows and the programs are few.
"""

import numpy as np
from jaxtyping import Float

from prefjax.data.group import group_by_user
from prefjax.person import adapt_checked
from prefjax.types import Comparisons, FeatureGap, Gaussian, Population

SMALLEST = 16
"""Size to which an axis is padded at least."""


def solve_people(
    rows: Comparisons,
    gap: FeatureGap,
    num_users: int,
    prior: Population,
    *,
    posterior_scale: float = 0.0,
) -> Float[np.ndarray, "user input"]:
    """Weights of every person under a prior; at posterior scale 0 the ridge regression.

    Args:
        rows: Whose row it is, its label and its weight.
        gap: Features, offset and variance of each row.
        num_users: U; without rows a person has the prior's mean.
        prior: Of the weights.
        posterior_scale: That of the basis.
    """
    user = np.asarray(rows.user)
    num_inputs = gap.features.shape[1]
    # One label and the constant, the commonest case, are not worth the padding of many.
    width = num_inputs if num_inputs <= 2 else _padded_size(num_inputs)
    features, offset, variance = (np.asarray(part, np.float32) for part in gap)
    wide = np.pad(features, ((0, 1), (0, width - num_inputs)))
    parts = wide, np.pad(offset, (0, 1)), np.pad(variance, (0, 1))
    settings = {
        "prior": _widened(prior, width),
        "posterior_scale": np.asarray(posterior_scale, np.float32),
    }
    count = np.bincount(user, minlength=num_users)
    size = np.array([_padded_size(int(one)) for one in count])
    weights = np.empty((num_users, num_inputs))
    for length in np.unique(size):
        users = np.flatnonzero(size == length)
        place = np.full(num_users, -1, np.int32)
        place[users] = np.arange(len(users))
        own = np.flatnonzero(place[user] >= 0).astype(np.int32)
        some = Comparisons(*(np.asarray(column)[own] for column in rows))
        some = some._replace(user=place[some.user], first=own, second=own)
        batch = group_by_user(some, _padded_size(len(users)), length=int(length))
        index = np.where(batch.mask, batch.first, len(user))
        gaps = FeatureGap(*(part[index] for part in parts))
        fits = adapt_checked(gaps, batch.label, batch.sample_weight, **settings)
        weights[users] = np.asarray(fits.weights)[: len(users), :num_inputs]
    return weights


def _padded_size(size: int) -> int:
    """The next power of four that holds a size, 16 at least."""
    bits = max(size - 1, SMALLEST - 1).bit_length()
    return 1 << (bits + bits % 2)


def _widened(prior: Population, num_inputs: int) -> Population:
    """More inputs, of which nothing is known but that they have variance 1."""
    if not isinstance(prior, Gaussian):
        return prior._replace(components=_widened(prior.components, num_inputs))
    mean, covariance = np.asarray(prior.mean), np.asarray(prior.covariance)
    *leading, num = mean.shape
    whole = np.tile(np.eye(num_inputs, dtype=np.float32), (*leading, 1, 1))
    whole[..., :num, :num] = covariance
    missing = [(0, 0)] * len(leading) + [(0, num_inputs - num)]
    return Gaussian(np.pad(mean, missing).astype(np.float32), whole)
