"""Damaged files and folders are moved to ``quarantine/`` beside them with a warning, never deleted.

What stays in place is good, what was damaged can still be looked at.
"""

import os
import warnings
from pathlib import Path

QUARANTINE = "quarantine"
"""Name of the folder that damaged things are moved to."""


def quarantine(
    path: Path, *beside: Path, problem: str, remedy: str, stacklevel: int = 3
) -> Path | None:
    """Moves a damaged file or folder to ``quarantine/`` in its own folder, and warns.

    Args:
        path: What is damaged.
        beside: Files that belong to it and are moved with it where they exist.
        problem: What is wrong, for the warning.
        remedy: What happens now, for the warning.
        stacklevel: How many calls above this function the warning points to, plus one.

    Returns:
        Where it lies now, under a name that nothing there had; None if another process was faster.

    Warns:
        RuntimeWarning: What was moved, and why.

    Raises:
        OSError: It cannot be moved.
    """
    targets = [_move(one) for one in (path, *beside)]
    moved = next((target for target in targets if target is not None), None)
    if moved is not None:
        warnings.warn(
            f"{path} is damaged ({problem}); moved to {QUARANTINE}/{moved.name}, {remedy}.",
            RuntimeWarning,
            stacklevel=stacklevel,
        )
    return moved


def _move(path: Path) -> Path | None:
    folder = path.parent / QUARANTINE
    folder.mkdir(exist_ok=True)
    target, number = folder / path.name, 1
    while target.exists():
        number += 1
        target = folder / f"{path.name}-{number}"
    try:
        os.rename(path, target)
    except FileNotFoundError:
        return None
    return target
