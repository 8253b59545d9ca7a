"""TL;DR: labelers choose the better of two summaries of a Reddit post; every row names its worker.

The public feedback data behind learning to summarize from human feedback. The prompt is the post,
or the news article in part of the validation rows.

References:
    N. Stiennon et al., "Learning to summarize from human feedback", arXiv 2009.01325. Worker ids
    are what arXiv 2601.20760 clusters.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from prefjax.data.dataset import Dataset
from prefjax.data.files import Kind, naming, open_parquet
from prefjax.data.hub import hub_folder
from prefjax.data.names import report_near_equal
from prefjax.data.repeats import last_of_each
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.split import NewPromptsConfig
from prefjax.types import Comparisons

NAME = "tldr"
REPOSITORY = "openai/summarize_from_feedback"
LICENSE = "see the repository"
SOURCE = f"Hugging Face hub {REPOSITORY}"
LABEL = (
    "1: the worker chose the first summary, which the source writes as choice 0. A row with "
    'summaries ("one", "two") and choice 0 has label 1.'
)
PARTS = ("train", "validation")
COLUMNS: Mapping[str, Kind] = {
    "info": "text",
    "summaries": "text",
    "choice": "number",
    "worker": "text",
}


def load(
    folder: Path | None = None,
    *,
    revision: str | None = None,
    part: Literal["train", "validation"] = "train",
    min_rows: int = 1,
) -> Dataset:
    """Load the comparisons in the order in which the workers saw the summaries.

    The hub keeps Parquet files of this set in the branch ``refs/convert/parquet``; ``revision``
    names a commit of it.

    Args:
        folder: Holds ``comparisons/train/0000.parquet`` and ``comparisons/validation/0000.parquet``
            with the columns info (id, post, title, article), summaries (two of text), choice 0 or
            1, and worker; ``PREFJAX_DATA/tldr`` if None.
        revision: Commit of the hub to fetch the file from instead.
        part: Which of the two.
        min_rows: Workers with fewer comparisons are left out.

    ``meta`` counts what was left out: ``num_without_text`` comparisons in which a summary has no
    word, ``num_same_text`` of two equal summaries, and ``num_replaced`` that their worker judged
    again later in the file.

    Raises:
        FileNotFoundError: If the file is not there.
        OSError: If the hub cannot be reached.
        ValueError: If the file is damaged or of another schema, or nobody has so many rows.
    """
    if part not in PARTS:
        raise ValueError(f"part is {part!r}; the parts are {', '.join(PARTS)}.")
    file = f"comparisons/{part}/0000.parquet"
    folder = hub_folder(NAME, REPOSITORY, (file,), folder=folder, revision=revision)
    path = folder / file
    rows, left_out = _read(path)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["worker"]] = counts.get(row["worker"], 0) + 1
    rows = [row for row in rows if counts[row["worker"]] >= min_rows]
    with naming(path):
        if not rows:
            raise ValueError(f"no worker has {min_rows} comparisons of two different summaries.")
        posts: dict[str, int] = {}
        texts: dict[tuple[int, str], int] = {}
        sides = []
        for row in rows:
            info = row["info"]
            post = "\n\n".join(
                filter(None, (info.get("title"), info.get("post") or info.get("article")))
            )
            prompt = posts.setdefault(post, len(posts))
            two = (summary["text"].strip() for summary in row["summaries"])
            sides.append([texts.setdefault((prompt, text), len(texts)) for text in two])
        first, second = np.array(sides, np.int32).T
        report_near_equal({row["worker"] for row in rows})
        names, user = np.unique([row["worker"] for row in rows], return_inverse=True)
        last = last_of_each(user, np.minimum(first, second), np.maximum(first, second))
        label = np.array([1.0 - row["choice"] for row in rows], np.float32)
        return Dataset(
            name=NAME,
            comparisons=Comparisons(
                user=user[last].astype(np.int32),
                first=first[last],
                second=second[last],
                label=label[last],
                sample_weight=np.ones(last.sum(), np.float32),
            ),
            responses=tuple(text for _, text in texts),
            prompt_index=np.array([prompt for prompt, _ in texts], np.int32),
            prompts=tuple(posts),
            users=tuple(names.tolist()),
            meta=describe(
                LICENSE,
                SOURCE,
                LABEL,
                revision=revision,
                num_replaced=int(np.sum(~last)),
                **left_out,
            ),
        )


SET = NamedSet(NAME, load, NewPromptsConfig(), LABEL, LICENSE, SOURCE, on_hub=True)


def _read(path: Path) -> tuple[list[dict], dict[str, int]]:
    """Rows with two different summaries, checked, and how many are not."""
    table = open_parquet(path, COLUMNS)
    types = {field.name: field.type for field in table.schema}
    legal = (
        set(COLUMNS) <= set(types)
        and pa.types.is_struct(types["info"])
        and pa.types.is_list(types["summaries"])
        and pa.types.is_struct(types["summaries"].value_type)
        and pa.types.is_integer(types["choice"])
        and (pa.types.is_string(types["worker"]) or pa.types.is_large_string(types["worker"]))
    )
    if not legal:
        found = ", ".join(f"{name} ({kind})" for name, kind in types.items())
        raise ValueError(
            f"{path}: expected columns info (struct), summaries (list of text), choice (integer) "
            f"and worker (string), found {found}."
        )
    rows = table.select(list(COLUMNS)).to_pylist()
    different, without_text, same_text = [], 0, 0
    for number, row in enumerate(rows):
        summaries = row["summaries"] or ()
        if row["choice"] not in (0, 1) or len(summaries) != 2 or not row["worker"]:
            raise ValueError(
                f"{path} row {number} must have two summaries, a choice of 0 or 1 and a worker."
            )
        if row["info"] is None:
            raise ValueError(f"{path} row {number} has no post in column info.")
        one, two = ((summary or {}).get("text") or "" for summary in summaries)
        if not one.strip() or not two.strip():
            without_text += 1
        elif one.strip() == two.strip():
            same_text += 1
        else:
            different.append(row)
    return different, {"num_without_text": without_text, "num_same_text": same_text}
