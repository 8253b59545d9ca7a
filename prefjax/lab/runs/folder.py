"""One run folder on disk: tidy results, arrays and a summary, written whole or not at all."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prefjax.io.atomic import write_atomically

SCHEMA = pa.schema(
    [
        ("method", pa.string()),
        ("dataset", pa.string()),
        ("questions", pa.string()),
        ("control", pa.string()),
        ("seed", pa.int64()),
        ("num_answers", pa.int64()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
    ]
)
"""Columns of the tidy results. ``seed`` is empty for a row that sums up all seeds, ``questions``
and ``control`` where they do not apply, ``low`` and ``high`` where a row has no interval."""

COLUMNS = tuple(SCHEMA.names)


@dataclasses.dataclass(frozen=True)
class Result:
    """What an experiment returns, and what ``load`` reads back.

    Attributes:
        rows: Tidy results; each has at least ``method``, ``dataset``, ``metric`` and ``value``.
            Columns beyond ``COLUMNS`` are kept.
        arrays: Named numeric arrays.
        summary: Text table to print and save.
        metrics: Anything logged on the way, in order.
    """

    rows: Sequence[Mapping[str, Any]]
    arrays: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    summary: str = ""
    metrics: Sequence[Mapping[str, Any]] = ()

    @property
    def table(self) -> pa.Table:
        """The rows as an Arrow table with the columns of ``SCHEMA`` first."""
        return tidy(self.rows)


def tidy(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as an Arrow table with the columns of ``SCHEMA`` first and any others after them.

    Args:
        rows: Tidy results as dictionaries; NumPy scalars are welcome.

    Raises:
        ValueError: If a row lacks ``method``, ``dataset``, ``metric`` or ``value``.

    >>> row = {"method": "pref", "dataset": "jester5k", "metric": "nll", "value": 0.5}
    >>> tidy([row])["value"].to_pylist()
    [0.5]
    """
    for index, row in enumerate(rows):
        missing = [name for name in ("method", "dataset", "metric", "value") if name not in row]
        if missing:
            raise ValueError(f"Result row {index} lacks {', '.join(missing)}: {dict(row)}.")
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    extra = dict.fromkeys(name for row in plain for name in row if name not in COLUMNS)
    columns = {f.name: pa.array([r.get(f.name) for r in plain], f.type) for f in SCHEMA}
    columns |= {name: pa.array([row.get(name) for row in plain]) for name in extra}
    return pa.table(columns)


def create(experiment: str, preset: str, *, commit: str | None = None) -> Path:
    """Make a new run folder and prove that it can be written to.

    Args:
        experiment: Name of the experiment.
        preset: Name of the preset.
        commit: Commit of the code, shortened in the folder's name.

    Raises:
        OSError: If the folder cannot be created or written, before anything is computed.
    """
    root = Path(os.environ.get("PREFJAX_RUNS", "runs")) / experiment
    stem = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{preset}-{commit[:7] if commit else 'nogit'}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, 1000):
            folder = root / (stem if attempt == 1 else f"{stem}-{attempt}")
            try:
                folder.mkdir()
                break
            except FileExistsError:
                continue
        else:
            raise FileExistsError(f"a thousand folders named {stem}")
        (folder / "config.json").write_text("{}\n")
    except OSError as error:
        raise OSError(
            f"Cannot write the run folder in {root} ({error.strerror or error}). Choose another "
            "place with the environment variable PREFJAX_RUNS."
        ) from error
    return folder


def save(folder: Path, result: Result) -> None:
    """Write a result into a run folder; each file appears whole or not at all.

    Args:
        folder: The run folder.
        result: What to write.

    Raises:
        ValueError: If a row is not tidy (see ``tidy``) or an array is not numeric.
    """
    table = result.table
    arrays = {name: np.asarray(value) for name, value in result.arrays.items()}
    for name, value in arrays.items():
        if value.dtype.hasobject:
            raise ValueError(f"Array {name!r} holds Python objects; save numbers or strings.")
    lines = "".join(json.dumps(_jsonable(line)) + "\n" for line in result.metrics)
    write_atomically(folder / "results.parquet", lambda path: pq.write_table(table, path))
    write_atomically(folder / "arrays.npz", lambda path: _write_arrays(path, arrays))
    write_atomically(folder / "metrics.jsonl", lambda path: path.write_text(lines))
    if result.summary:
        write_atomically(folder / "summary.md", lambda path: path.write_text(result.summary + "\n"))


def load(folder: Path) -> Result:
    """Read back what ``save`` wrote.

    Args:
        folder: A run folder.

    Raises:
        FileNotFoundError: If the folder holds no results; the run then did not finish.
    """
    if not (folder / "results.parquet").is_file():
        raise FileNotFoundError(f"{folder} holds no results.parquet: not a finished run.")
    with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    summary = folder / "summary.md"
    return Result(
        rows=pq.read_table(folder / "results.parquet").to_pylist(),
        arrays=arrays,
        summary=summary.read_text().rstrip("\n") if summary.is_file() else "",
        metrics=[json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()],
    )


def write_json(path: Path, value: Any) -> None:
    """Write dataclasses, arrays, mappings and sequences as JSON; NaN and infinity become null.

    Args:
        path: File to write.
        value: What to write.
    """
    write_atomically(
        path, lambda partial: partial.write_text(json.dumps(_jsonable(value), indent=2) + "\n")
    )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray | np.generic | jax.Array) else value


def _jsonable(value: Any) -> Any:
    """Dataclasses, arrays, paths and enums as JSON; NaN and infinity as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(name): _jsonable(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        value = np.asarray(value).tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
