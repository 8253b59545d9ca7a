"""Arrays that took long to make, kept on disk, so that a run that is repeated makes them once."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from prefjax.io import digest_json
from prefjax.io.atomic import write_atomically
from prefjax.lm import fingerprint


def stored(
    folder: Path | None,
    about: Mapping[str, Any],
    make: Callable[[], Mapping[str, np.ndarray]],
    *,
    model: Path | None = None,
) -> dict[str, np.ndarray]:
    """What ``make()`` returns, read from the folder if it was made there before.

    Args:
        folder: Where files lie, one for each ``about``; None makes it anew and keeps nothing.
        about: Everything else that the arrays depend on, JSON-able.
        make: Makes the arrays, by name.
        model: Files of the language model that they depend on, which are read once; None for none.

    Raises:
        OSError: If the folder cannot be read or written.
    """
    if folder is None:
        return dict(make())
    about = {**about, "model": None if model is None else _fingerprint(model)}
    path = folder / f"{digest_json(about)[:32]}.npz"
    if not path.exists():
        arrays = make()
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda place: _save(place, arrays))
    with np.load(path) as found:
        return {name: found[name] for name in found.files}


_fingerprint = cache(fingerprint)


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
