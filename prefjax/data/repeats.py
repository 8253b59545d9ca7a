"""One rule for what a person says again: the last counts, and how many it replaced is told.

The rule holds in all loaders. Where two statements have no order in time, as two ratings of one
text on one screen, neither can be the last, and their mean counts (:func:`mean_of_each`).
"""

import numpy as np
from jaxtyping import Bool, Shaped


def last_of_each(*keys: Shaped[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
    """Which rows are the last of their key, for logs in which a person can answer again.

    Args:
        *keys: Columns that say about what a row is, such as the person and the statement; the rows
            stand in the order of time.

    Returns:
        A mask with one row for each distinct key.

    >>> last_of_each(np.array([7, 7, 8]), np.array([0, 0, 0]))
    array([False,  True,  True])
    """
    order = np.lexsort(keys)  # stable: rows of one key stay in the order of time
    ends = np.ones(len(order), dtype=bool)
    ends[:-1] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    last = np.zeros(len(order), dtype=bool)
    last[order[ends]] = True
    return last


def mean_of_each(key: Shaped[np.ndarray, " row"], value: Shaped[np.ndarray, " row"]) -> np.ndarray:
    """The mean value of all rows of a key, for statements without an order in time.

    Args:
        key: What a row is about.
        value: What is said.

    Returns:
        For each row the mean over the rows of its key.

    >>> mean_of_each(np.array(["a", "a", "b"]), np.array([90, 5, 50]))
    array([47.5, 47.5, 50. ])
    """
    _, index = np.unique(key, return_inverse=True)
    return (np.bincount(index, weights=value) / np.bincount(index))[index]
