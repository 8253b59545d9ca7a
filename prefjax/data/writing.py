"""A data set back in the layouts of the field, and what became of labels that they cannot say.

Most layouts know a winner and nothing else. A label strictly between 0 and 1 is then

    threshold   a win of the side above ½; a tie, ½ itself, is left out
    weights     two rows, one each way, with weights label and 1 − label times the row's weight:
                the same likelihood, in layouts with weights
    drop        left out
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from prefjax.data.dataset import Dataset
from prefjax.data.files import naming
from prefjax.data.layouts import LAYOUTS, Judgment, Layout
from prefjax.data.sources import SUFFIXES
from prefjax.io.atomic import atomic_file
from prefjax.types import BASELINE

SoftLabels = Literal["threshold", "weights", "drop"]


class Written(NamedTuple):
    """What was written.

    Attributes:
        num_rows: Rows in the file.
        num_judgments: Comparisons that they say.
        num_ties: Ties that were left out.
        num_soft: Soft labels, ties among them with ``weights``, that were changed or left out.
        line: All of that in words.
    """

    num_rows: int
    num_judgments: int
    num_ties: int
    num_soft: int
    line: str


def write(
    dataset: Dataset,
    path: str | Path,
    layout: str = "columns",
    *,
    soft_labels: SoftLabels = "threshold",
    conversational: bool | None = None,
) -> Written:
    """Write the judgments of a data set as one file, all of it or nothing.

    Users and responses without a row are not written, nor is ``meta``.

    Args:
        dataset: What to write.
        path: A ``.jsonl``, ``.json``, ``.csv`` or ``.parquet`` file.
        layout: One of ``prefjax.data.layouts.LAYOUTS`` that can be written.
        soft_labels: What becomes of labels between 0 and 1, where the layout has no word for them.
        conversational: Prompts and responses as lists of messages, or as texts; None for messages
            where the data set has them and the layout and the file can hold them.

    Returns:
        How many rows, and what became of ties and soft labels.

    Raises:
        ValueError: If the suffix is unknown or cannot hold the layout, or the layout cannot say a
            row: votes, pairs, weights, responses of two prompts.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: the suffix must be one of {', '.join(SUFFIXES)}.")
    with naming(path):
        record = _record(layout)
        if record.needs_json and path.suffix not in (".json", ".jsonl"):
            raise ValueError(f"layout {layout!r} is nested; write it as .json or .jsonl.")
        if conversational is None and path.suffix == ".csv":
            conversational = False
        rows, written = to_rows(
            dataset, layout, soft_labels=soft_labels, conversational=conversational
        )
        nested = {key for row in rows for key, value in row.items() if isinstance(value, list)}
        if nested and path.suffix == ".csv":
            raise ValueError(
                f"column {min(nested)} holds lists; write .jsonl or .parquet, or texts."
            )
        if not rows:
            raise ValueError(f"nothing is left to write: {written.line}.")
        with atomic_file(path) as target:
            if path.suffix == ".jsonl":
                lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                target.write_text("".join(lines), encoding="utf-8")
            elif path.suffix == ".json":
                document = rows[0] if record.is_document else rows
                target.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
            elif path.suffix == ".csv":
                pa_csv.write_csv(_table(rows), target)
            else:
                pq.write_table(_table(rows), target)
    return written


def to_table(dataset: Dataset, layout: str = "columns", **settings: Any) -> pa.Table:
    """The judgments of a data set as an Arrow table, as `write` would write it.

    ``datasets.Dataset(to_table(data, "trl"))`` makes one of it, ``.to_pandas()`` a frame.

    Args:
        dataset: What to write.
        layout: See `write`.
        **settings: ``soft_labels`` and ``conversational`` of `write`.

    Returns:
        The table; how many labels were changed stands in its metadata, ``prefjax``.

    Raises:
        ValueError: See `write`.
    """
    rows, written = to_rows(dataset, layout, **settings)
    return _table(rows).replace_schema_metadata({"prefjax": written.line})


def to_rows(
    dataset: Dataset,
    layout: str = "columns",
    *,
    soft_labels: SoftLabels = "threshold",
    conversational: bool | None = None,
) -> tuple[list[dict[str, Any]], Written]:
    """The judgments of a data set as rows of a layout.

    Args:
        dataset: What to write.
        layout: See `write`.
        soft_labels: See `write`.
        conversational: See `write`.

    Returns:
        The rows, and what became of ties and soft labels.

    Raises:
        ValueError: See `write`.
    """
    record = _record(layout)
    assert record.write is not None
    if soft_labels not in ("threshold", "weights", "drop"):
        raise ValueError(f"soft_labels is {soft_labels!r}; it is threshold, weights or drop.")
    if soft_labels == "weights" and not (record.has_weights or record.has_soft_labels):
        raise ValueError(f"layout {layout!r} has no weights; use threshold or drop.")
    if conversational is None:
        conversational = record.has_messages and "messages" in dataset.meta
    elif conversational and not record.has_messages:
        raise ValueError(f"layout {layout!r} holds texts, not messages.")
    judgments = _judgments(dataset)
    _check(judgments, record)
    told, counts = _without_soft(judgments, record, soft_labels)
    rows = record.write(told, conversational)
    parts = [f"{len(told)} of {len(judgments)} comparisons in {len(rows)} rows of {layout}"]
    parts += [f"{number} {what}" for what, number in counts.items()]
    return rows, Written(
        num_rows=len(rows),
        num_judgments=len(told),
        num_ties=counts[_TIES],
        num_soft=sum(counts.values()) - counts[_TIES],
        line="; ".join(parts),
    )


_TIES = "ties left out"


def _record(layout: str) -> Layout:
    legal = [name for name, record in LAYOUTS.items() if record.write is not None]
    if layout not in legal:
        raise ValueError(f"There is no layout {layout!r} to write; they are {', '.join(legal)}.")
    return LAYOUTS[layout]


def _judgments(dataset: Dataset) -> list[Judgment]:
    rows = dataset.comparisons
    prompt = dataset.prompt_index[rows.first]
    is_pair = rows.second != BASELINE
    across = is_pair & (dataset.prompt_index[rows.second] != prompt)
    if across.any():
        raise ValueError(
            f"Row {np.flatnonzero(across)[0]} of data set {dataset.name!r} compares responses of "
            f"two prompts; these layouts have one prompt in each row."
        )
    messages = dataset.meta.get("messages")
    talks = dataset.meta.get("conversation")
    texts = (*dataset.responses, None)
    return [
        Judgment(
            user=dataset.users[user],
            prompt=dataset.prompts[asked],
            first=texts[first],
            second=texts[second],
            label=label,
            weight=weight,
            first_id=first,
            second_id=second,
            messages=None if messages is None else messages[asked],
            conversation=None if talks is None else str(talks[first]),
        )
        for (user, first, second, label, weight), asked in zip(
            zip(*(column.tolist() for column in rows), strict=True), prompt.tolist(), strict=True
        )
    ]


def _check(judgments: list[Judgment], record: Layout) -> None:
    for row, judgment in enumerate(judgments):
        if judgment.second is None and not record.has_votes:
            raise ValueError(f"row {row} is a vote, which layout {record.name!r} cannot say.")
        if judgment.second is not None and not record.has_pairs:
            raise ValueError(f"row {row} is a pair, which layout {record.name!r} cannot say.")
        if judgment.weight != 1.0 and not record.has_weights:
            raise ValueError(
                f"row {row} has weight {judgment.weight:g}, which layout {record.name!r} cannot "
                "say."
            )


def _without_soft(
    judgments: list[Judgment], record: Layout, soft_labels: SoftLabels
) -> tuple[list[Judgment], Counter]:
    """Judgments that the layout can say, and what happened to the others."""
    counts: Counter[str] = Counter()
    if record.has_soft_labels:
        return judgments, counts
    told = []
    for judgment in judgments:
        label = judgment.label
        if label in (0.0, 1.0) or (label == 0.5 and record.has_ties):
            told.append(judgment)
        elif soft_labels == "weights":
            counts["soft labels written both ways, with weights"] += 1
            told.append(judgment._replace(label=1.0, weight=judgment.weight * label))
            told.append(judgment._replace(label=0.0, weight=judgment.weight * (1.0 - label)))
        elif label == 0.5:
            counts[_TIES] += 1
        elif soft_labels == "drop":
            counts["soft labels left out"] += 1
        else:
            counts["soft labels written as wins of the likelier side"] += 1
            told.append(judgment._replace(label=float(label > 0.5)))
    return told, counts


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    names = dict.fromkeys(key for row in rows for key in row)  # from_pylist sees the first row only
    if tuple(names) != tuple(table.column_names):
        table = pa.table({name: [row.get(name) for row in rows] for name in names})
    return table
