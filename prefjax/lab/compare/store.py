"""Cells on disk: one file for each data set, encoder, seed and method.

A comparison that was stopped thus goes on where it was. A cell remembers the settings it was
computed under, the grid of its family among them; under others it is computed again. A cell that
failed holds the reason and is tried again.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
from jaxtyping import Int

from prefjax.io.atomic import write_atomically
from prefjax.lab.compare._measure import Measured


class Cell(NamedTuple):
    """One method on one draw.

    Attributes:
        dataset: Name.
        encoder: Name.
        seed: Of the draw.
        method: Name of the family, or a baseline.
        users: Index of every new person in the data set.
        scores: By control, the method's own under ``""``; empty if it failed.
        about: Settings, commit of the code, seconds, chosen config, AUC of the grid, diagnostics,
            and ``error`` if any.
    """

    dataset: str
    encoder: str
    seed: int
    method: str
    users: Int[np.ndarray, " user"]
    scores: Mapping[str, Measured]
    about: Mapping[str, Any]


def cell_path(folder: Path, dataset: str, encoder: str, seed: int, method: str) -> Path:
    """Where a cell lies."""
    name = ".".join((dataset, quote(encoder, safe=""), str(seed), method))
    return folder / "cells" / f"{name}.npz"


def save_cell(folder: Path, cell: Cell) -> None:
    """Write a cell, whole or not at all."""
    path = cell_path(folder, cell.dataset, cell.encoder, cell.seed, cell.method)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {"users": cell.users, "about": np.array(json.dumps(cell.about))}
    for control, measured in cell.scores.items():
        arrays |= {f"auc/{control}": measured.auc, f"nll/{control}": measured.nll}

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_atomically(path, write)


def load_cell(path: Path) -> Cell | None:
    """Read a cell; None where there is none, a damaged file, or one of another name."""
    if not path.is_file():
        return None
    try:
        dataset, rest = path.stem.split(".", 1)
        encoder, seed, method = rest.rsplit(".", 2)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(str(arrays["about"]))
        users = arrays["users"]
        place = dataset, unquote(encoder), int(seed), method
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    controls = [name.removeprefix("auc/") for name in arrays if name.startswith("auc/")]
    scores = {name: Measured(arrays[f"auc/{name}"], arrays[f"nll/{name}"]) for name in controls}
    return Cell(*place, users, scores, about)
