"""The record of a named data set: all that the rest of the package knows of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from prefjax.data.cut import Split
from prefjax.data.dataset import Dataset
from prefjax.data.published import PublishedConfig, split_published
from prefjax.data.shared_items import (
    RatingsConfig,
    SharedItemsConfig,
    split_ratings,
    split_shared_items,
)
from prefjax.data.split import NewPromptsConfig, four_cells

Protocol: TypeAlias = SharedItemsConfig | RatingsConfig | NewPromptsConfig | PublishedConfig
"""How the people and items of a set are divided; its type says by which cutter."""


@dataclass(frozen=True)
class NamedSet:
    """One data set of real people; its module in `prefjax.data.sets` holds it as ``SET``.

    Attributes:
        name: Name in results, and of its folder under ``PREFJAX_DATA``.
        load: Reads the files; the folder is the first argument, None for the one of that name.
        protocol: How its people and items are divided.
        label: What label 1 of a row means, with one example from the data.
        license: License of the data.
        source: Where a user gets the files.
        load_ratings: Reads the matrix of ratings, where the protocol draws pairs out of one.
        on_hub: Whether the files come from the Hugging Face hub.
        prepare: Makes the files that ``load`` reads, in its second argument, from those of the
            source, below its first; None where ``load`` reads the source's own files.
        upstream: Which files of the source that takes, for messages.
        digest: `prefjax.data.prepare.digest_dataset` of what ``load`` gives by default, for the
            files behind the published figures; "" if not known.
    """

    name: str
    load: Callable[..., Dataset]
    protocol: Protocol
    label: str
    license: str
    source: str
    load_ratings: Callable[..., Float[np.ndarray, "user response"]] | None = None
    on_hub: bool = False
    prepare: Callable[[Path, Path], None] | None = None
    upstream: str = ""
    digest: str = ""

    def split(self, *, seed: int = 0, folder: Path | None = None) -> tuple[Dataset, Split]:
        """Read the set and divide its people and items by its protocol.

        Args:
            seed: Seed of the split.
            folder: Where the files lie; under ``PREFJAX_DATA`` if None.

        Returns:
            The data set, for texts and counts, and the split.

        Raises:
            FileNotFoundError: If the files are not there.
        """
        dataset = self.load(folder)
        match self.protocol:
            case RatingsConfig():
                assert self.load_ratings is not None
                return dataset, split_ratings(self.load_ratings(folder), self.protocol, seed=seed)
            case SharedItemsConfig():
                return dataset, split_shared_items(dataset, self.protocol, seed=seed)
            case PublishedConfig():
                return dataset, split_published(dataset, self.protocol, seed=seed)
            case NewPromptsConfig(group, new_users, new_groups, tolerance):
                conversation = dataset.meta.get("conversation")
                return dataset, four_cells(
                    dataset,
                    group=group if conversation is None else np.asarray(conversation),
                    new_users=new_users,
                    new_groups=new_groups,
                    tolerance=tolerance,
                    seed=seed,
                )


def describe(license: str, source: str, label: str, **more: Any) -> Mapping[str, Any]:
    """The ``meta`` of a data set of real people.

    Args:
        license: License of the data.
        source: Where a user gets the files.
        label: What label 1 means.
        **more: Counts of what was left out and whatever else the loader says; JSON types.

    Returns:
        JSON types only.
    """
    return {"license": license, "source": source, "label": label, "simulated": False, **more}
