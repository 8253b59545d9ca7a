"""Area under the ROC curve, per user and pooled, in the Mann–Whitney form.

    AUC = P(s⁺ > s⁻) + ½ P(s⁺ = s⁻)

for a preferred and a not preferred example drawn at random. The order of a pair is arbitrary, so by
default every comparison ``(s, y)`` enters together with its mirror image ``(−s, 1−y)``. (Averaging
the AUC of the one set with the AUC of the other would change nothing: they are equal. The union of
both sets is what removes the order.) With the margin ``m = s`` where ``y > ½`` and ``−s``
elsewhere, the AUC of the union is

    AUC = (1/n²) Σᵢ Σⱼ [mᵢ + mⱼ > 0] + ½ [mᵢ + mⱼ = 0],

the mean AUC over all ways to turn the pairs round, up to the ``1/n`` of the cells in which a pair
meets its own mirror. One decided comparison is thus enough for a value.

A vote on one item, a comparison against the zero baseline, has an order that means something: pass
``mirrored=False`` there, and the AUC is the usual one of the agreed against the disagreed items,
undefined for users who gave one answer only. Labels are read as ``y > ½``; rows with ``y = ½`` say
nothing about order and are left out.

References:
    Mann and Whitney (1947), "On a test of whether one of two random variables is stochastically
    larger than the other".
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from prefjax.metrics.interval import mean_interval
from prefjax.types import Array


class UserAUC(NamedTuple):
    """Macro AUC: the mean over users with a t interval over users.

    Attributes:
        value: Mean AUC of the users who have one.
        low: Lower end of the 95 % interval over users, not below 0; NaN with fewer than two users.
        high: Upper end of it, not above 1.
        per_user: AUC of each user, NaN where undefined.
        num_users: Users who have an AUC.
        num_dropped: Users with rows but no AUC: no decided row, or one class when not mirrored.
    """

    value: float
    low: float
    high: float
    per_user: Float[np.ndarray, " user"]
    num_users: int
    num_dropped: int


def auc(
    score: Float[Array, " pair"],
    label: Float[Array, " pair"],
    mask: Bool[Array, " pair"],
    *,
    mirrored: bool = True,
) -> Float[jax.Array, ""]:
    """AUC of one user's padded comparisons; jittable, made to be vmapped.

    Compares all ``pair²`` cells, which XLA fuses into one pass: right for up to a few thousand
    pairs a user. NaN where it is undefined, and where an unmasked score is NaN.

    Args:
        score: Preference logit s of each pair.
        label: Probability that the first is preferred; ½ is a tie and left out.
        mask: False marks padding; masked rows may hold NaN.
        mirrored: Count each pair in both orders (see the module docstring).

    >>> s, y = jnp.array([2.0, -1.0, 0.5, 0.0]), jnp.array([1.0, 0.0, 0.0, 0.5])
    >>> round(float(auc(s, y, jnp.ones(4, bool))), 4)
    0.8889
    """
    use = mask & (label != 0.5)
    score = jnp.where(use, score, 0.0)
    first_preferred = label > 0.5
    if mirrored:
        upper = jnp.where(first_preferred, score, -score)
        lower, positive, negative = -upper, use, use
    else:
        upper, lower = score, score
        positive, negative = use & first_preferred, use & ~first_preferred
    higher, equal = upper[:, None] > lower[None, :], upper[:, None] == lower[None, :]
    cell = positive[:, None] & negative[None, :]
    wins = jnp.sum(jnp.where(cell, higher + 0.5 * equal, 0.0))
    # Two counts multiplied as floats: their product leaves int32 at 46,341 pairs.
    cells = jnp.sum(positive, dtype=wins.dtype) * jnp.sum(negative, dtype=wins.dtype)
    defined = (cells > 0) & ~jnp.any(jnp.isnan(score))
    return jnp.where(defined, wins / jnp.where(cells > 0, cells, 1.0), jnp.nan)


def user_auc(
    user: Int[Array, " pair"],
    score: Float[Array, " pair"],
    label: Float[Array, " pair"],
    *,
    num_users: int | None = None,
    mirrored: bool = True,
) -> Float[np.ndarray, " user"]:
    """AUC of each user from a flat table, by ranks: one sort for all users, on the host.

    Args:
        user: User index of each row.
        score: Preference logit of each row.
        label: Probability that the first is preferred; ½ is a tie and left out.
        num_users: Length of the result; by default one more than the largest index.
        mirrored: Count each pair in both orders.

    Returns:
        AUC per user, NaN where undefined.

    Raises:
        ValueError: If a score is NaN, a label lies outside [0, 1], or a user index is out of range.
    """
    user, score, label = np.asarray(user), np.asarray(score), np.asarray(label)
    _check(user, score, label)
    count = int(user.max(initial=-1)) + 1 if num_users is None else num_users
    if user.size and (user.min() < 0 or user.max() >= count):
        raise ValueError(f"User indices must lie in [0, {count}), got {user.min()} … {user.max()}.")
    decided = label != 0.5
    user, score, positive = user[decided], score[decided], label[decided] > 0.5
    if mirrored:
        user = np.concatenate([user, user])
        score = np.concatenate([score, -score])
        positive = np.concatenate([positive, ~positive])
    return _rank_auc(user, score, positive, count)


def macro_auc(
    user: Int[Array, " pair"],
    score: Float[Array, " pair"],
    label: Float[Array, " pair"],
    *,
    mirrored: bool = True,
) -> UserAUC:
    """Mean over users of the per-user AUC: the headline number.

    Args:
        user: User index of each row.
        score: Preference logit of each row.
        label: Probability that the first is preferred; ½ is a tie and left out.
        mirrored: Count each pair in both orders; False for votes against the zero baseline.

    Raises:
        ValueError: If a score is NaN or a label lies outside [0, 1].

    >>> result = macro_auc(np.array([0, 0, 1, 2]), np.array([1.0, -2.0, -1.0, 3.0]),
    ...                    np.array([1.0, 0.0, 1.0, 0.5]))
    >>> result.value, result.num_users, result.num_dropped
    (0.5, 2, 1)
    """
    per_user = user_auc(user, score, label, mirrored=mirrored)
    mean = mean_interval(per_user, bounds=(0.0, 1.0))
    num_users = int(np.sum(~np.isnan(per_user)))
    return UserAUC(
        value=float(mean.value),
        low=float(mean.low),
        high=float(mean.high),
        per_user=per_user,
        num_users=num_users,
        num_dropped=len(np.unique(np.asarray(user))) - num_users,
    )


def pooled_auc(
    score: Float[Array, " pair"], label: Float[Array, " pair"], *, mirrored: bool = True
) -> float:
    """AUC over all rows together, whoever gave them; NaN when undefined.

    Args:
        score: Preference logit of each row.
        label: Probability that the first is preferred; ½ is a tie and left out.
        mirrored: Count each pair in both orders; False for votes against the zero baseline.

    Raises:
        ValueError: If a score is NaN or a label lies outside [0, 1].
    """
    group = np.zeros(len(score), np.int32)
    return float(user_auc(group, score, label, num_users=1, mirrored=mirrored)[0])


def _check(user: np.ndarray, score: np.ndarray, label: np.ndarray) -> None:
    if not len(user) == len(score) == len(label):
        raise ValueError(
            f"One user, score and label a row, got {len(user)}, {len(score)} and {len(label)}."
        )
    bad = np.flatnonzero(np.isnan(score))
    if bad.size:
        raise ValueError(f"{bad.size} scores are NaN, first in row {bad[0]} (user {user[bad[0]]}).")
    bad = np.flatnonzero(~((label >= 0) & (label <= 1)))
    if bad.size:
        raise ValueError(f"Labels must lie in [0, 1]; row {bad[0]} has {label[bad[0]]}.")


def _rank_auc(
    group: np.ndarray, score: np.ndarray, positive: np.ndarray, num_groups: int
) -> Float[np.ndarray, " user"]:
    """Mann–Whitney U from mid-ranks within each group."""
    order = np.lexsort((score, group))
    group, score, positive = group[order], score[order], positive[order]
    size = np.bincount(group, minlength=num_groups)
    num_positive = np.bincount(group, weights=positive, minlength=num_groups)
    offset = np.cumsum(size) - size
    new_block = np.ones(len(group), bool)
    new_block[1:] = (group[1:] != group[:-1]) | (score[1:] != score[:-1])
    start = np.flatnonzero(new_block)
    end = np.append(start[1:], len(group))
    middle = 0.5 * (start + end - 1)[np.cumsum(new_block) - 1]
    rank = middle - offset[group] + 1
    rank_sum = np.bincount(group, weights=rank * positive, minlength=num_groups)
    cells = num_positive * (size - num_positive)
    wins = rank_sum - num_positive * (num_positive + 1) / 2
    return np.divide(wins, cells, out=np.full(num_groups, np.nan), where=cells > 0)
