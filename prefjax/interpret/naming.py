"""Settings and result of the test of labels; `name_axes` runs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from prefjax.interpret.choices import ChoicePrediction
from prefjax.interpret.fidelity import Fidelity
from prefjax.interpret.intruder import Intruder
from prefjax.interpret.pairs import Parts
from prefjax.interpret.readers import Label
from prefjax.settings import check_settings

UNNAMED = "unnamed"


@dataclass(frozen=True)
class NamingConfig:
    """Settings of the test.

    Attributes:
        num_candidates: Labels that are proposed for an axis.
        num_pairs: Pairs of each part; 300 detect a correlation of .2 at p < .05 / 32.
        num_directions: Random directions.
        num_intruders: Tasks of the intruder test on each axis.
        level: Level of the family of axes.
        min_stability: Least matched |corr|, the median over refits of one kind.
        predict: Whether the choices of new people are predicted from labels, where there are some.
        max_choice_pairs: Different pairs of a cell that are annotated for the prediction of
            choices; None for all.
        seed: Of everything drawn.

    Raises:
        ValueError: A number is below 1, or the level or the stability outside (0, 1).
    """

    num_candidates: int = 5
    num_pairs: int = 400
    num_directions: int = 5000
    num_intruders: int = 40
    level: float = 0.05
    min_stability: float = 0.9
    predict: bool = True
    max_choice_pairs: int | None = None
    seed: int = 0

    def __post_init__(self):
        check_settings(self, "num_candidates", "num_pairs", "num_directions", "num_intruders")
        for name in ("level", "min_stability"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)}")


class NamedAxis(NamedTuple):
    """One axis and what its label was put through.

    Attributes:
        name: The label, or ``unnamed``.
        label: The label that was tested, None if there was none.
        variance: Variance of reward along the axis.
        fidelity: Of the label, on the pairs that test; None without a label.
        p_rotation: Of a label that fits as a label fits a random direction.
        p_choices: Of held-out people being interchangeable by this label; NaN where not tested.
        p: Largest of the p-values, adjusted by Holm.
        best_other: Largest AUC of the label on another axis.
        component: Largest AUC of the label on a principal component of the embeddings; NaN without
            embeddings.
        length: AUC of the number of words on this axis, whichever way it points.
        is_length: Whether the label itself says little else than the number of words.
        shuffled: AUC of a label that was written from shuffled responses.
        stability: Median matched |corr| over the refits of the kind in which it is lowest; NaN
            without any.
        agreement: Part of all refits in which the matched axis is given the same label; NaN
            without any.
        failed: What the axis failed, in words; empty for a named axis.
    """

    name: str
    label: Label | None
    variance: float
    fidelity: Fidelity | None
    p_rotation: float
    p_choices: float
    p: float
    best_other: float
    component: float
    length: float
    is_length: bool
    shuffled: float
    stability: float
    agreement: float
    failed: tuple[str, ...]

    @property
    def is_named(self) -> bool:
        """Whether the axis passed everything."""
        return not self.failed


class Naming(NamedTuple):
    """What the axes of a basis mean, as far as it could be shown.

    Attributes:
        axes: One entry an axis, in the order of the axes.
        matrix: AUC of every label (row) on every axis (column); NaN for an axis without a label.
        intruder: The intruder test.
        choices: Label-only prediction with the labels of all axes; None without new people.
        named_choices: The same with the labels of named axes alone; None if there are none.
        stability: Matched |corr| of every axis in every refit, by kind.
        parts: The pairs of each part.
        reader: What is to be known of the reading.
    """

    axes: tuple[NamedAxis, ...]
    matrix: Float[np.ndarray, "axis axis"]
    intruder: Intruder
    choices: ChoicePrediction | None
    named_choices: ChoicePrediction | None
    stability: Mapping[str, Float[np.ndarray, "refit axis"]]
    parts: Parts
    reader: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every axis."""
        return tuple(axis.name for axis in self.axes)

    @property
    def num_named(self) -> int:
        """Axes with a name."""
        return sum(axis.is_named for axis in self.axes)
