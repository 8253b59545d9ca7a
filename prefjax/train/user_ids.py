"""User ids of any kind, as the whole numbers 0 … U−1 that training counts in."""

import unicodedata
import warnings
from typing import Any

import numpy as np
from jaxtyping import Int32, Shaped


def index_users(
    user: Shaped[np.ndarray, " pair"],
) -> tuple[Shaped[np.ndarray, " user"], Int32[np.ndarray, " pair"]]:
    """Numbers the users of comparisons in the order of their ids, however large or sparse.

    Args:
        user: Id of the user of each comparison: strings or whole numbers.

    Returns:
        The ids, ascending, and the place of each comparison's user among them.

    Raises:
        ValueError: An id is missing, or ids are of several kinds; the message names the row.

    Warns:
        UserWarning: Ids are alike but for white space or Unicode forms: one person under two names?

    Examples:
        >>> ids, index = index_users(np.array(["bo", "ada", "bo"]))
        >>> ids.tolist(), index.tolist()
        (['ada', 'bo'], [1, 0, 1])
    """
    user = np.asarray(user)
    if user.dtype.kind == "O":
        kinds = [type(one) for one in user.tolist()]
        odd = [i for i, kind in enumerate(kinds) if kind is not kinds[0] or kind not in (str, int)]
        if odd:
            raise ValueError(
                f"comparisons.user must hold strings or whole numbers, all of one kind, but row "
                f"{odd[0]} is {user[odd[0]]!r}."
            )
        user = np.asarray(user.tolist())
    if user.dtype.kind == "f":
        odd = np.flatnonzero(~np.isfinite(user) | (user != np.trunc(user)))
        if odd.size:
            raise ValueError(
                f"comparisons.user must hold strings or whole numbers, but row {odd[0]} is "
                f"{user[odd[0]]}."
            )
        user = user.astype(np.int64)
    if user.dtype.kind not in "iuUST":
        raise ValueError(
            f"comparisons.user must hold strings or whole numbers, got dtype {user.dtype}."
        )
    ids, index = np.unique(user, return_inverse=True)
    if ids.dtype.kind in "UT":
        _warn_of_look_alikes(ids.tolist())
    return ids, index.astype(np.int32)


def find_users(ids: Shaped[np.ndarray, " user"], user: Any) -> Int32[np.ndarray, " pair"]:
    """Gives the places of users among ascending ids.

    Args:
        ids: Ids from `index_users`.
        user: Id of the user of each comparison.

    Raises:
        ValueError: A user has no place; the message names the row.
    """
    user = np.asarray(user)
    if (user.dtype.kind in "iuf") != (ids.dtype.kind in "iu"):
        raise ValueError(
            f"comparisons.user has dtype {user.dtype}, the ids of the source {ids.dtype}."
        )
    place = np.minimum(np.searchsorted(ids, user), len(ids) - 1)
    unknown = np.flatnonzero(ids[place] != user)
    if unknown.size:
        raise ValueError(
            f"{unknown.size} comparisons are of users without training comparisons, first row "
            f"{unknown[0]} with user {user[unknown[0]]!r}: leave them out."
        )
    return place.astype(np.int32)


def _warn_of_look_alikes(names: list[str]) -> None:
    seen: dict[str, str] = {}
    alike = []
    for name in names:
        plain = unicodedata.normalize("NFKC", name).strip()
        if plain in seen:
            alike.append((seen[plain], name))
        seen.setdefault(plain, name)
    if alike:
        one, other = alike[0]
        warnings.warn(
            f"{len(alike)} user ids equal another one but for white space or Unicode form, such as "
            f"{one!r} and {other!r}; they count as different people.",
            stacklevel=4,
        )
