"""A data set as a folder: Parquet tables and one JSON file, read back exactly as written.

    comparisons.parquet   user, first, second (int32); label, sample_weight (float32)
    responses.parquet     prompt (int32), text; the row number is the response id
    prompts.parquet       text; the row number is the prompt id
    meta.json             name, users, num_comparisons, meta, version of this layout

The counts in ``meta.json`` are held against the tables, so a short file is noticed. Files and
tables of other layouts are read and written in :mod:`prefjax.data.reading` and
:mod:`prefjax.data.writing`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prefjax.data.dataset import Dataset
from prefjax.data.files import Kind, naming, read_parquet, texts
from prefjax.io.atomic import atomic_folder
from prefjax.types import Comparisons

_VERSION = 2
"""1 had the column ``weight`` where 2 has ``sample_weight``; both are read."""
_FILES = ("comparisons.parquet", "responses.parquet", "prompts.parquet", "meta.json")
_META_FIELDS = ("version", "name", "users", "num_comparisons", "num_responses", "num_prompts")


def write_folder(dataset: Dataset, folder: Path, *, overwrite: bool = False) -> None:
    """Write a data set as a folder, all of it or nothing.

    Args:
        dataset: What to write.
        folder: The folder to make.
        overwrite: Whether an existing data set may be replaced; a folder with anything else in it
            never is.

    Raises:
        FileExistsError: If the folder is there and ``overwrite`` is False, or it is not a folder
            that this function wrote.
        ValueError: If ``dataset.meta`` does not survive JSON.
    """
    meta = {
        "version": _VERSION,
        "name": dataset.name,
        "num_comparisons": len(dataset.comparisons.user),
        "num_responses": dataset.num_responses,
        "num_prompts": dataset.num_prompts,
        "users": list(dataset.users),
        "meta": _check_json(dataset),
    }
    responses = {
        "prompt": pa.array(dataset.prompt_index),
        "text": pa.array(dataset.responses, pa.large_string()),
    }
    prompts = {"text": pa.array(dataset.prompts, pa.large_string())}
    with atomic_folder(Path(folder), overwrite=overwrite, is_ours=_is_data_set) as target:
        pq.write_table(pa.table(dataset.comparisons._asdict()), target / "comparisons.parquet")
        pq.write_table(pa.table(responses), target / "responses.parquet")
        pq.write_table(pa.table(prompts), target / "prompts.parquet")
        (target / "meta.json").write_text(json.dumps(meta, ensure_ascii=False), encoding="utf-8")


def read_folder(folder: Path) -> Dataset:
    """Read what :func:`write_folder` wrote.

    Args:
        folder: The folder.

    Returns:
        The same data set, value for value.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, short, of another schema or version, or a row is not
            legal; the message names the file or the folder.
    """
    folder = Path(folder)
    meta = _read_meta(folder / "meta.json")
    columns: dict[str, Kind] = dict.fromkeys(Comparisons._fields, "number")
    if meta["version"] == 1:
        columns = {"weight" if name == "sample_weight" else name: "number" for name in columns}
    table = read_parquet(folder / "comparisons.parquet", columns)
    responses = read_parquet(folder / "responses.parquet", {"prompt": "integer", "text": "text"})
    prompts = read_parquet(folder / "prompts.parquet", {"text": "text"})
    for name, rows in (
        ("comparisons", table.num_rows),
        ("responses", responses.num_rows),
        ("prompts", prompts.num_rows),
    ):
        if rows != meta[f"num_{name}"]:
            raise ValueError(
                f"{folder / name}.parquet has {rows} rows, but {folder / 'meta.json'} says "
                f"{meta[f'num_{name}']}."
            )
    with naming(folder):
        return Dataset(
            name=meta["name"],
            comparisons=Comparisons(*(table[name].to_numpy() for name in columns)),
            responses=texts(responses, "text"),
            prompt_index=np.asarray(responses["prompt"]),
            prompts=texts(prompts, "text"),
            users=tuple(meta["users"]),
            meta=meta["meta"],
        )


def _read_meta(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: it is no folder of a data set.")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}).") from error
    expected = (*_META_FIELDS, "meta")
    found = sorted(meta) if isinstance(meta, dict) else type(meta).__name__
    if not isinstance(meta, dict) or not set(expected) <= set(meta):
        raise ValueError(f"{path}: expected fields {sorted(expected)}, found {found}.")
    if meta["version"] not in range(1, _VERSION + 1):
        raise ValueError(
            f"{path}: written in version {meta['version']}, this reader knows 1 to {_VERSION}."
        )
    if not isinstance(meta["name"], str) or not isinstance(meta["meta"], dict):
        raise ValueError(f"{path}: name must be a text and meta an object.")
    users = meta["users"]
    if not isinstance(users, list) or not all(isinstance(user, str) for user in users):
        raise ValueError(f"{path}: users must be a list of names.")
    return meta


def _is_data_set(folder: Path) -> bool:
    """Whether a folder holds a data set of this layout, and nothing besides."""
    if not folder.is_dir() or any(path.name not in _FILES for path in folder.iterdir()):
        return False
    try:
        _read_meta(folder / "meta.json")
    except (OSError, ValueError):
        return False
    return True


def _check_json(dataset: Dataset) -> dict[str, Any]:
    meta = dict(dataset.meta)
    try:
        survives = json.loads(json.dumps(meta)) == meta
    except TypeError:
        survives = False
    if not survives:
        raise ValueError(
            f"The meta of data set {dataset.name!r} must hold JSON types only (strings, numbers, "
            f"booleans, lists, dictionaries with string keys)."
        )
    return meta
