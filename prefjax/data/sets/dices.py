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
from prefjax.data.sets._prepare import find_file, require, write_columns
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.shared_items import SharedItemsConfig
from prefjax.data.sources import open_source
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


def prepare(upstream: Path, folder: Path) -> None:
    """Make the files that `load` reads from ``diverse_safety_adversarial_dialog_350.csv``.

    Raters and items are numbered in the order of the file.

    Args:
        upstream: Holds the file, a row for each rater and item, at any depth.
        folder: Where to write.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is of another schema, or a rater lacks an item.
    """
    rows = open_source(find_file(upstream, "diverse_safety_adversarial_dialog_350.csv", SOURCE))
    with naming(rows.where):
        names = require(rows, ("rater_id", "item_id", "context", "response", "Q_overall"))
        rater, item, context, response, answer = (rows.values(name) for name in names)
        raters = {name: place for place, name in enumerate(dict.fromkeys(rater))}
        items = {name: place for place, name in enumerate(dict.fromkeys(item))}
        votes = {"Yes": -1, "Unsure": 0, "No": 1}
        unknown = [value for value in answer if value not in votes]
        if unknown:
            raise ValueError(f"Q_overall must be Yes, No or Unsure, got {unknown[0]!r}.")
        safe = np.full((len(raters), len(items)), 9, np.int8)
        for who, what, said in zip(rater, item, answer, strict=True):
            safe[raters[who], items[what]] = votes[said]
        if (safe == 9).any():
            raise ValueError(f"{int((safe == 9).sum())} pairs of rater and item have no row.")
        shown = dict(zip(item, zip(context, response, strict=True), strict=True))
    np.savez_compressed(folder / _FILES[0], safe=safe)
    write_columns(
        folder / _FILES[1],
        item=np.arange(len(items)),
        context=[shown[name][0] for name in items],
        response=[shown[name][1] for name in items],
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
    prepare=prepare,
    upstream="350/diverse_safety_adversarial_dialog_350.csv",
    digest="44d5ae3879ce52116340d89a830d6e2553a3d834ae35b2497fd4fe73d7d5f034",
)
