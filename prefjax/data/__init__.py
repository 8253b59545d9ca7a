"""Preference data: what one person chose, the texts behind it, and how to cut it honestly.

``load_dataset(name)`` loads the real sets by name (:mod:`prefjax.data.sets`);
``read(path)`` and ``write(data, path, layout)`` know the rows of the field's tools, and our own;
:class:`Split` holds known and new people on seen and new items, which `four_cells` and
`split_shared_items` draw; :mod:`prefjax.data.audit` refuses leaks.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from prefjax.data.choices import from_comparisons, from_rankings, group_choices
from prefjax.data.dataset import Dataset
from prefjax.data.merge import merge_rows
from prefjax.data.names import index_names
from prefjax.data.observations import choices_of, observations_of, weigh_choices
from prefjax.data.reading import read
from prefjax.data.sets import (
    SETS,
    NamedSet,
    Protocol,
    dices,
    jester,
    polis,
    prism,
    tldr,
    ukpconvarg,
    value_portrait,
)
from prefjax.data.shared_items import (
    RatingsConfig,
    SharedItemsConfig,
    split_ratings,
    split_shared_items,
)
from prefjax.data.split import NewPromptsConfig, Split, four_cells, split_new_prompts
from prefjax.data.writing import to_rows, to_table, write

DATASETS: Mapping[str, Callable[..., Dataset]] = MappingProxyType(
    {name: record.load for name, record in SETS.items() if not record.on_hub}
)
"""Loaders of the real sets that lie under ``PREFJAX_DATA``, by the name they have in results."""

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {name: record.protocol for name, record in SETS.items()}
)
"""How the people and items of each real set are divided."""


def load_dataset(name: str) -> Dataset:
    """Load a real data set from the folder that ``PREFJAX_DATA`` names.

    Args:
        name: One of ``SETS``.

    Returns:
        The data set, with the defaults of its loader.

    Raises:
        KeyError: If there is no such data set; the message lists the names.
        FileNotFoundError: If its files are not there.
    """
    return _record(name).load()


def load_split(name: str, *, seed: int = 0, folder: Path | None = None) -> tuple[Dataset, Split]:
    """Load a real data set and divide its people and items by its protocol.

    Args:
        name: One of ``SETS``.
        seed: Seed of who is new, of the items that ask and score, and of drawn pairs.
        folder: Where the files lie; under ``PREFJAX_DATA`` if None.

    Returns:
        The data set, for texts and counts, and the split.

    Raises:
        KeyError: If there is no such data set; the message lists the names.
        FileNotFoundError: If its files are not there.
    """
    return _record(name).split(seed=seed, folder=folder)


def _record(name: str) -> NamedSet:
    if name not in SETS:
        raise KeyError(f"There is no data set {name!r}; the names are {', '.join(SETS)}.")
    return SETS[name]


__all__ = [
    "DATASETS",
    "PROTOCOLS",
    "SETS",
    "Dataset",
    "NamedSet",
    "NewPromptsConfig",
    "RatingsConfig",
    "SharedItemsConfig",
    "Split",
    "choices_of",
    "dices",
    "four_cells",
    "from_comparisons",
    "from_rankings",
    "group_choices",
    "index_names",
    "jester",
    "load_dataset",
    "load_split",
    "merge_rows",
    "observations_of",
    "polis",
    "prism",
    "read",
    "split_new_prompts",
    "split_ratings",
    "split_shared_items",
    "tldr",
    "to_rows",
    "to_table",
    "ukpconvarg",
    "value_portrait",
    "weigh_choices",
    "write",
]
