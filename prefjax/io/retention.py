"""Which steps stay on disk: Orbax's protocol of a preservation policy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NewestAndBest:
    """Keeps the newest steps and the best one.

    Attributes:
        num_newest: How many of the newest.
        best: Gives the number of the best step, or None.
    """

    num_newest: int
    best: Callable[[], int | None]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """One answer for each checkpoint, oldest first."""
        first = len(checkpoints) - self.num_newest
        return [
            place >= first or info.step == self.best() for place, info in enumerate(checkpoints)
        ]
