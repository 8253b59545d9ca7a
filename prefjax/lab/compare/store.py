"""Cells on disk: one file for each data set, encoder, seed and method.

A comparison that was stopped thus goes on where it was. A cell names itself and remembers what it
was computed from: the settings, the grid of its family among them, and the digests of the data
and of the code. Under others it is computed again. A cell that failed holds the reason and is tried
again.
"""

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from jaxtyping import Int

from prefjax.io.atomic import write_atomically
from prefjax.lab.compare.scoring import Measured


class Cell(NamedTuple):
    """One method on one draw.

    Attributes:
        dataset: Name of the data set.
        encoder: Name of the encoder.
        seed: Seed of the draw.
        method: Name of the family, or a baseline.
        users: Index of every new person in the data set.
        scores: By rule of the questions and control, the method's own under ``("random", "")``;
            empty if it failed.
        about: Settings, commit of the code, seconds, chosen config, AUC of the grid, diagnostics,
            and ``error`` if any.
    """

    dataset: str
    encoder: str
    seed: int
    method: str
    users: Int[np.ndarray, " user"]
    scores: Mapping[tuple[str, str], Measured]
    about: Mapping[str, Any]


NAME = re.compile(r"\w[\w.-]*")


def check_name(name: str) -> str:
    """The name of a data set or of a method.

    Raises:
        ValueError: It could name another file, or one outside of the folder.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a data set or a method: letters, digits, '.', '-' and '_' only, "
            "beginning with a letter or a digit"
        )
    return name


def cell_path(folder: Path, dataset: str, encoder: str, seed: int, method: str) -> Path:
    """Where a cell lies.

    Raises:
        ValueError: A name is none; see `check_name`.
    """
    parts = check_name(dataset), encoder, str(seed), check_name(method)
    # A dot parts the names, so one inside a name is written as its code.
    name = ".".join(quote(part, safe="").replace(".", "%2E") for part in parts)
    return folder / "cells" / f"{name}.npz"


def save_cell(folder: Path, cell: Cell) -> None:
    """Write a cell, whole or not at all."""
    name = cell.dataset, cell.encoder, cell.seed, cell.method
    path = cell_path(folder, *name)
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = [list(kind) for kind in cell.scores]
    header = {"name": name, "kinds": kinds, "about": dict(cell.about)}
    arrays: dict[str, Any] = {"users": cell.users, "header": np.array(json.dumps(header))}
    for place, measured in enumerate(cell.scores.values()):
        for field, values in measured._asdict().items():
            if values is not None:
                arrays[f"{field}/{place}"] = values

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_atomically(path, write)


def load_cell(path: Path) -> Cell | None:
    """Read a cell; None where there is none, a damaged file, or one of another name."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        header = json.loads(str(arrays["header"]))
        dataset, encoder, seed, method = header["name"]
        if cell_path(path.parent.parent, dataset, encoder, seed, method).name != path.name:
            return None
        scores = {
            (questions, control): Measured(
                **{field: arrays.get(f"{field}/{place}") for field in Measured._fields}  # pyright: ignore
            )
            for place, (questions, control) in enumerate(header["kinds"])
        }
        return Cell(dataset, encoder, seed, method, arrays["users"], scores, header["about"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
