"""Preference data: what one person chose, the texts behind it, and how to cut it honestly.

``load_dataset(name)`` loads the real sets by name, :mod:`prefjax.data.sets.prism` and
:mod:`prefjax.data.sets.tldr` those of the Hugging Face hub; :mod:`prefjax.data.io` and
:mod:`prefjax.data.table` read and write a user's own data; :mod:`prefjax.data.split`,
:mod:`prefjax.data.protocol` and :mod:`prefjax.data.audit` cut it and refuse leaks.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from prefjax.data.dataset import Dataset
from prefjax.data.sets import dices, jester, polis, ukpconvarg, value_portrait

DATASETS: Mapping[str, Callable[[], Dataset]] = MappingProxyType(
    {
        jester.NAME: jester.load,
        polis.NAME: polis.load,
        dices.NAME: dices.load,
        value_portrait.NAME: value_portrait.load,
        ukpconvarg.NAME: ukpconvarg.load,
    }
)
"""The real data sets by the name they have in results."""


def load_dataset(name: str) -> Dataset:
    """Load a real data set from the folder that ``PREFJAX_DATA`` names.

    Args:
        name: One of ``DATASETS``.

    Returns:
        The data set, with the defaults of its loader.

    Raises:
        KeyError: If there is no such data set; the message lists the names.
        FileNotFoundError: If its files are not there.
    """
    if name not in DATASETS:
        raise KeyError(f"There is no data set {name!r}; the names are {', '.join(DATASETS)}.")
    return DATASETS[name]()


__all__ = ["DATASETS", "Dataset", "load_dataset"]
