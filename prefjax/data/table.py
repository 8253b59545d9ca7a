"""One flat file with a line per judgment: JSONL, CSV or Parquet, chosen by the suffix.

Columns ``user, prompt, response_a, response_b, label`` and, if wanted, ``weight``. In a file
without ``response_b`` every row is a vote on ``response_a`` alone, against the zero baseline; where
some rows have one and others do not, the caller says that these are votes. Texts become ids in
order of their first appearance; the same text under the same prompt is one response.
"""

import difflib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from prefjax.data.dataset import Dataset
from prefjax.data.files import naming
from prefjax.data.names import report_near_equal
from prefjax.data.raw_columns import RawColumns, Texts, read_columns
from prefjax.data.validate import find_bad_text
from prefjax.io.atomic import atomic_file
from prefjax.types import BASELINE, Comparisons

SUFFIXES = (".jsonl", ".csv", ".parquet")
_REQUIRED = {
    "user": "text",
    "prompt": "text",
    "response_a": "text",
    "response_b": "text",
    "label": "number",
}


def read_table(
    path: Path,
    *,
    name: str | None = None,
    meta: Mapping[str, Any] | None = None,
    votes: bool | None = None,
) -> Dataset:
    """Read a flat file of judgments as a data set.

    Args:
        path: A ``.jsonl``, ``.csv`` or ``.parquet`` file. Users may be whole numbers or text.
        name: Name of the data set; the stem of the file if None.
        meta: License, source and the like; empty if None.
        votes: Whether a row without ``response_b`` is a vote on ``response_a`` alone. None takes
            it for one only where no row of the file has a ``response_b``.

    Returns:
        A data set with ids in order of first appearance. Rows whose two texts are the same say
        nothing and are left out, with a warning; ``meta["num_same_text"]`` counts them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the suffix is unknown, the file is damaged, a column is missing, misspelled
            or of another kind, a value is missing, a text holds half a character or NUL, or a row
            is not legal; the message names the file and the row.
    """
    path = Path(path)
    _check_suffix(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    raw = read_columns(path)
    with naming(path):
        _check_names(raw, votes)
        first, second = raw.texts["response_a"], _second(raw, votes)
        user, prompt = raw.texts["user"], raw.texts["prompt"]
        for column, values in (("user", user), ("prompt", prompt), ("response_a", first)):
            _check_texts(column, values, raw)
        _check_texts("response_b", second, raw, nullable=True)
        report_near_equal(user.values)
        return _assemble(
            path.stem if name is None else name,
            raw,
            second,
            {} if meta is None else dict(meta),
        )


def _assemble(name: str, raw: RawColumns, second: Texts, meta: dict[str, Any]) -> Dataset:
    user, prompt, first = (raw.texts[column] for column in ("user", "prompt", "response_a"))
    place = {text: index for index, text in enumerate(first.values)}
    of_second = [place.setdefault(text, len(place)) for text in second.values]
    texts = tuple(place)
    # A missing text takes the last entry of the table, -1.
    text = np.append(np.array(of_second, np.int64), BASELINE)[second.index]
    both = np.concatenate([first.index, text])
    has_text = both != BASELINE
    pair = np.concatenate([prompt.index, prompt.index]).astype(np.int64) * len(texts) + both
    response = np.full(2 * raw.num_rows, BASELINE, dtype=np.int32)
    keys, response[has_text] = _first_appearance(pair[has_text])
    weight = raw.numbers.get("weight", raw.numbers.get("sample_weight", np.ones(raw.num_rows)))
    rows = Comparisons(
        user=user.index,
        first=response[: raw.num_rows],
        second=response[raw.num_rows :],
        label=raw.numbers["label"],
        sample_weight=weight,
    )
    same = np.flatnonzero(rows.first == rows.second)
    if len(same):
        what = f"{len(same)} of {raw.num_rows} rows compare a text with itself"
        if len(same) == raw.num_rows:
            raise ValueError(f"{what}: no row is left.")
        meta["num_same_text"] = len(same)
        shown = ", ".join(raw.place(row) for row in same[:3].tolist())
        warnings.warn(f"{what} and are left out: {shown}.", stacklevel=3)
    return Dataset(
        name=name,
        comparisons=Comparisons(*(np.delete(column, same) for column in rows)),
        responses=tuple(texts[index] for index in keys % max(len(texts), 1)),
        prompt_index=keys // max(len(texts), 1),
        prompts=prompt.values,
        users=user.values,
        meta=meta,
    )


def _check_names(raw: RawColumns, votes: bool | None) -> None:
    if raw.num_rows == 0:
        raise ValueError("There are no comparisons: at least one row is needed.")
    needed = [column for column in _REQUIRED if column != "response_b"]
    if not set(needed) <= set(raw.names):
        expected = ", ".join(f"{column} ({kind})" for column, kind in _REQUIRED.items())
        found = ", ".join(map(repr, raw.names)).replace("'", "") or "none"
        raise ValueError(f"expected columns {expected}, found {found}.{_hint(raw.names)}")
    if {"weight", "sample_weight"} <= set(raw.names):
        raise ValueError("columns weight and sample_weight mean the same; keep one.")
    others = [column for column in raw.names if column not in _REQUIRED]
    for wanted, cutoff in (("response_b", 0.8), ("weight", 0.9), ("sample_weight", 0.9)):
        if wanted in raw.names or (wanted == "response_b" and votes):
            continue
        known = ("weight", "sample_weight")
        near = difflib.get_close_matches(
            wanted, [_plain(other) for other in others if other not in known], 1, cutoff
        )
        if near:
            alike = next(other for other in others if _plain(other) == near[0])
            remedy = ", or pass votes=True" if wanted == "response_b" else ""
            raise ValueError(
                f"column {alike!r} looks like {wanted}, which is not there; rename it{remedy}."
            )


def _hint(names: tuple[str, ...]) -> str:
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        return " The columns of a CSV file are separated by commas."
    if {"chosen", "rejected"} <= set(names):
        return (
            " Of chosen and rejected make response_a and response_b, in random order, with the "
            "label, and name the user."
        )
    return ""


def _plain(name: str) -> str:
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").split())


def _second(raw: RawColumns, votes: bool | None) -> Texts:
    """The second texts; rows without one are legal only where all are, or the caller says so."""
    second = raw.texts.get("response_b", Texts((), np.full(raw.num_rows, BASELINE, np.int32)))
    missing = np.flatnonzero(second.index == BASELINE)
    if len(missing) and (votes is False or (votes is None and len(missing) < raw.num_rows)):
        raise ValueError(
            f"column response_b has no value in {raw.place(int(missing[0]))} ({len(missing)} of "
            f"{raw.num_rows} rows). If these are votes on response_a alone, pass votes=True."
        )
    return second


def _check_texts(name: str, column: Texts, raw: RawColumns, *, nullable: bool = False) -> None:
    if not nullable and (column.index == BASELINE).any():
        row = int(np.argmax(column.index == BASELINE))
        raise ValueError(f"column {name} has no value in {raw.place(row)}.")
    bad = find_bad_text(column.values)
    if bad is not None:
        row = int(np.argmax(column.index == bad[0]))
        raise ValueError(f"column {name} in {raw.place(row)} {bad[1]}.")


def write_table(dataset: Dataset, path: Path) -> None:
    """Write the judgments of a data set as one flat file, all of it or nothing.

    Users and responses without a row are not written, nor is ``meta``.

    Args:
        dataset: What to write.
        path: A ``.jsonl``, ``.csv`` or ``.parquet`` file.

    Raises:
        ValueError: If the suffix is unknown or a row compares responses of two prompts, which the
            format cannot say.
    """
    path = Path(path)
    _check_suffix(path)
    rows = dataset.comparisons
    is_pair = rows.second != BASELINE
    prompt = dataset.prompt_index[rows.first]
    across = is_pair & (dataset.prompt_index[rows.second] != prompt)
    if across.any():
        raise ValueError(
            f"Row {np.flatnonzero(across)[0]} of data set {dataset.name!r} compares responses of "
            f"two prompts; a flat file has one prompt in each row."
        )
    responses = pa.array(dataset.responses, pa.large_string())
    table = pa.table(
        {
            "user": pa.array(dataset.users, pa.large_string()).take(pa.array(rows.user)),
            "prompt": pa.array(dataset.prompts, pa.large_string()).take(pa.array(prompt)),
            "response_a": responses.take(pa.array(rows.first)),
            "response_b": responses.take(pa.array(rows.second, mask=~is_pair)),
            "label": rows.label,
            "weight": rows.sample_weight,
        }
    )
    with atomic_file(path) as target:
        if path.suffix == ".parquet":
            pq.write_table(table, target)
        elif path.suffix == ".csv":
            pa_csv.write_csv(table, target)
        else:
            with target.open("w", encoding="utf-8") as lines:
                for row in table.to_pylist():
                    lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def _first_appearance(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys in order of first appearance, and the index of each row into them."""
    unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return unique[order], rank[inverse]


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: the suffix must be one of {', '.join(SUFFIXES)}.")
