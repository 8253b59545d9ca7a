"""Raw names of people as indices, and names that differ only in how they were written down."""

import unicodedata
import warnings
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int

_SHOWN = 3


def index_names(names: Iterable[object]) -> tuple[tuple[str, ...], Int[np.ndarray, " row"]]:
    """Map raw ids or names, one for each row, to the indices ``0 .. number of names − 1``.

    Ids of any size and kind become names, and memory goes with how many there are, not with the
    largest: a user id of ten digits is one name.

    Args:
        names: Whole numbers or texts; 7 and ``"7"`` are the same name.

    Returns:
        The distinct names in order of first appearance, and the index of each row.

    Raises:
        TypeError: If a name is neither a whole number nor a text.

    >>> index_names([1_956_267_254, 7, 1_956_267_254])
    (('1956267254', '7'), array([0, 1, 0], dtype=int32))
    """
    place: dict[str, int] = {}
    index = [place.setdefault(_name(row, name), len(place)) for row, name in enumerate(names)]
    report_near_equal(place)
    return tuple(place), np.array(index, np.int32)


def plain_name(name: str) -> str:
    """A name of a column without case, spaces and hyphens.

    Args:
        name: The name.

    Returns:
        What two spellings of one name share.

    >>> plain_name("Response A")
    'response_a'
    """
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").split())


def report_near_equal(names: Iterable[str]) -> int:
    """Warn of names that differ only in case, spaces, leading zeros or Unicode form.

    Args:
        names: Distinct names.

    Returns:
        How many names look like another one.
    """
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_skeleton(name), []).append(name)
    groups = [group for group in alike.values() if len(group) > 1]
    count = sum(map(len, groups))
    if groups:
        shown = "; ".join(" and ".join(map(repr, group)) for group in groups[:_SHOWN])
        warnings.warn(
            f"{count} names of people differ from another only in case, spaces, leading zeros or "
            f"Unicode form and are taken for different people: {shown}. Write one person one way.",
            stacklevel=3,
        )
    return count


def _name(row: int, name: object) -> str:
    if isinstance(name, str):
        return name
    if isinstance(name, (int, np.integer)) and not isinstance(name, (bool, np.bool_)):
        return str(int(name))
    raise TypeError(
        f"The name of a user must be a whole number or a text, got {name!r} in row {row}."
    )


def _skeleton(name: str) -> str:
    folded = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return folded.lstrip("0") or "0" if folded.isascii() and folded.isdigit() else folded
