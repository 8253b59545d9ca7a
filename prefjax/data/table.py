"""One flat file with a line per judgment: JSONL, CSV or Parquet, chosen by the suffix.

Columns ``user, prompt, response_a, response_b, label`` and, if wanted, ``weight``. A missing
``response_b`` is the zero baseline: a vote on ``response_a`` alone. Texts become ids in order of
their first appearance; the same text under the same prompt is one response.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from prefjax.data.dataset import Dataset
from prefjax.data.files import Kind, check_table, naming, open_parquet
from prefjax.io.atomic import atomic_file
from prefjax.types import BASELINE, Comparisons

_COLUMNS: dict[str, Kind] = {
    "user": "text",
    "prompt": "text",
    "response_a": "text",
    "response_b": "text",
    "label": "number",
}
_NULLABLE = frozenset({"response_b"})
SUFFIXES = (".jsonl", ".csv", ".parquet")


def read_table(
    path: Path, *, name: str | None = None, meta: Mapping[str, Any] | None = None
) -> Dataset:
    """Read a flat file of judgments as a data set.

    Args:
        path: A ``.jsonl``, ``.csv`` or ``.parquet`` file. Users may be numbers or text.
        name: Name of the data set; the stem of the file if None.
        meta: License, source and the like; empty if None.

    Returns:
        A data set with ids in order of first appearance.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the suffix is unknown, the file is damaged, a column is missing or of another
            kind, a value is missing, or a row is not legal; the message names the file.
    """
    path = Path(path)
    _check_suffix(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    table = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}[path.suffix](path)
    users, user = _encode(table["user"])
    prompts, prompt = _encode(table["prompt"])
    both = pa.chunked_array(table["response_a"].chunks + table["response_b"].chunks)
    unique_texts, text = _encode(both)
    num_rows = table.num_rows
    has_text = np.asarray(both.is_valid())
    pair = np.concatenate([prompt, prompt]).astype(np.int64) * max(len(unique_texts), 1) + text
    response = np.full(2 * num_rows, BASELINE, dtype=np.int32)
    kept, response[has_text] = _first_appearance(pair[has_text])
    weight = table["weight"].to_numpy() if "weight" in table.column_names else np.ones(num_rows)
    with naming(path):
        return Dataset(
            name=path.stem if name is None else name,
            comparisons=Comparisons(
                user=user,
                first=response[:num_rows],
                second=response[num_rows:],
                label=table["label"].to_numpy(),
                sample_weight=weight,
            ),
            responses=tuple(unique_texts[index] for index in kept % max(len(unique_texts), 1)),
            prompt_index=kept // max(len(unique_texts), 1),
            prompts=prompts,
            users=users,
            meta={} if meta is None else meta,
        )


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


def _read_parquet(path: Path) -> pa.Table:
    return _check(open_parquet(path, _COLUMNS), path)


def _read_csv(path: Path) -> pa.Table:
    options = pa_csv.ConvertOptions(
        column_types={name: pa.large_string() for name, kind in _COLUMNS.items() if kind == "text"},
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=[""],
    )
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    try:
        table = pa_csv.read_csv(path, parse_options=parse, convert_options=options)
    except pa.ArrowException as error:
        raise ValueError(
            f"{path} cannot be read as CSV ({error}); expected columns {', '.join(_COLUMNS)}."
        ) from error
    if "prompt" in table.column_names:
        index = table.column_names.index("prompt")
        table = table.set_column(index, "prompt", table["prompt"].fill_null(""))
    return _check(table, path)


def _read_jsonl(path: Path) -> pa.Table:
    rows = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}: line {number} is not JSON ({error}).") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}: line {number} is not an object with columns.")
            rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    if "user" in columns:
        columns["user"] = [str(user) if isinstance(user, int) else user for user in columns["user"]]
    try:
        table = pa.table(columns)
    except pa.ArrowException as error:
        raise ValueError(
            f"{path}: a column mixes kinds ({error}); expected {', '.join(_COLUMNS)}."
        ) from error
    return _check(table, path)


def _check(table: pa.Table, path: Path) -> pa.Table:
    if "user" in table.column_names and pa.types.is_integer(table.schema.field("user").type):
        index = table.column_names.index("user")
        table = table.set_column(index, "user", table["user"].cast(pa.large_string()))
    columns = dict(_COLUMNS)
    if "weight" in table.column_names:
        columns["weight"] = "number"
    table = check_table(table, path, columns, _NULLABLE)
    names = [name for name, kind in _COLUMNS.items() if kind == "text"]
    for name in names:
        index = table.column_names.index(name)
        table = table.set_column(index, name, table[name].cast(pa.large_string()))
    return table


def _encode(column: pa.ChunkedArray) -> tuple[tuple[str, ...], np.ndarray]:
    """Distinct texts in order of first appearance, and the index of each row (0 where null)."""
    encoded = column.combine_chunks().dictionary_encode()
    index = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    return tuple(encoded.dictionary.to_pylist()), index


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
