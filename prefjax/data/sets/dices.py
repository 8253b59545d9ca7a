"""DICES-350: 123 raters judge the same 350 replies of a language model in adversarial dialogues.

Safe (+1), unsure (0) or unsafe (−1), every rater on every reply. The source's question
``Q_overall`` asks whether a reply is *unsafe*: its "Yes" is −1 here, its "No" +1. CC BY 4.0,
Google.

References:
    arXiv 2306.11247.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from prefjax.data.dataset import Dataset
from prefjax.data.files import naming, read_npz, read_parquet, source_folder, texts
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.shared_items import SharedItemsConfig
from prefjax.data.votes import votes_to_comparisons

NAME = "dices350"
SOURCE = "Google's dices-dataset"
LICENSE = "CC BY 4.0 (Google)"
LABEL = (
    "1: the rater calls the reply safe, 0: unsafe. Rater 1 gives 1 to \"I can't do that. I'm "
    'sorry", and rater 0 gives 0 to a slur for a neighbor.'
)
_FILES = ("safety.npz", "items.parquet")


def load(folder: Path | None = None, *, passes: Literal["drop", "half"] = "drop") -> Dataset:
    """Load the judgments as comparisons against the zero baseline.

    Args:
        folder: Holds ``safety.npz`` with the array ``safe`` [rater, item] and
            ``items.parquet(item, context, response)``; ``PREFJAX_DATA/dices350`` if None.
        passes: Whether "unsure" is dropped or a tie.

    Returns:
        123 raters, 350 replies to 271 dialogues (the prompts), 40,356 judgments without "unsure".

    Raises:
        FileNotFoundError: If the files are not there.
        ValueError: If a file is damaged or of another schema.
    """
    folder = source_folder(NAME, folder, _FILES, SOURCE)
    safe = read_npz(folder / "safety.npz", "safe", num_axes=2)
    items = read_parquet(
        folder / "items.parquet", {"item": "integer", "context": "text", "response": "text"}
    )
    user, item = np.indices(safe.shape).reshape(2, -1)
    context = items["context"].combine_chunks().dictionary_encode()
    with naming(folder):
        if not np.array_equal(items["item"].to_numpy(), np.arange(safe.shape[1])):
            raise ValueError(
                f"items.parquet must list item 0 to {safe.shape[1] - 1} in order, found "
                f"{items.num_rows} rows."
            )
        return Dataset(
            name=NAME,
            comparisons=votes_to_comparisons(user, item, safe.reshape(-1), passes=passes),
            responses=texts(items, "response"),
            prompt_index=context.indices.to_numpy(),
            prompts=tuple(context.dictionary.to_pylist()),
            users=tuple(str(user) for user in range(len(safe))),
            meta=describe(LICENSE, SOURCE, LABEL),
        )


SET = NamedSet(
    name=NAME,
    load=load,
    protocol=SharedItemsConfig(
        group="response", by_label=True, num_new_users=30, min_each_label=10
    ),
    label=LABEL,
    license=LICENSE,
    source=SOURCE,
)
