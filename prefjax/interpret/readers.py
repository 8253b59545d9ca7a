"""Who reads texts to name an axis: known properties, or a judge.

A reader proposes labels from the ends of an axis, says which of two responses has more of what a
label names, and finds the odd one among pairs without any label.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from prefjax.interpret.axes import Axes
from prefjax.interpret.fidelity import auc_matrix
from prefjax.interpret.pairs import Pairs
from prefjax.interpret.properties import Properties
from prefjax.types import BASELINE, Array


class Label(NamedTuple):
    """A label "X vs. Y", X at the high end of an axis.

    Attributes:
        text: The label.
        column: The property that it stands for, −1 for a judge's own words.
        sign: 1 if the axis rises with the property, −1 if it falls.
    """

    text: str
    column: int = -1
    sign: float = 1.0


@runtime_checkable
class Reader(Protocol):
    """Reads texts for `name_axes`."""

    def propose(
        self, axes: Axes, pairs: Pairs, among: Array, *, num: int, seed: int
    ) -> list[list[Label]]:
        """At most ``num`` labels of every axis, from the part that explains."""
        ...

    def annotate(
        self, labels: Sequence[Label], first: Array, second: Array
    ) -> Float[np.ndarray, "label pair"]:
        """Positive where the first response has more of X, NaN where nothing is known."""
        ...

    def odd_one(
        self, first: Int[np.ndarray, "task pair"], second: Int[np.ndarray, "task pair"]
    ) -> Int[np.ndarray, " task"]:
        """The pair of each task that differs from the others; −1 without an answer."""
        ...

    def pool(self, labels: Sequence[Label]) -> tuple[list[Label], Int[np.ndarray, " label"]]:
        """Labels among which a random direction takes its own, and the places of the given ones."""
        ...

    def report(self) -> dict[str, float]:
        """What is to be known of the reading itself, in plain numbers."""
        ...


class PropertyReader:
    """Reads known properties: the label of an axis is the property that fits it best.

    Args:
        properties: Of all responses.
    """

    def __init__(self, properties: Properties):
        self.properties = properties
        spread = properties.values.std(axis=0)
        self._scaled = properties.values / np.where(spread > 0, spread, 1.0)

    def _gap(self, first: Array, second: Array) -> np.ndarray:
        """Property gaps of pairs; a vote is compared with the mean response."""
        first, second = np.asarray(first), np.asarray(second)
        other = np.where(
            (second == BASELINE)[..., None], self._scaled.mean(axis=0), self._scaled[second]
        )
        return self._scaled[first] - other

    def propose(
        self, axes: Axes, pairs: Pairs, among: Array, *, num: int, seed: int
    ) -> list[list[Label]]:
        """The properties that fit each axis best, best first.

        Raises:
            ValueError: The properties are of another number of responses than the axes.
        """
        if len(self._scaled) != len(axes.features):
            raise ValueError(
                f"properties of {len(self._scaled)} responses for axes of {len(axes.features)}"
            )
        auc = auc_matrix(
            self._gap(pairs.first, pairs.second).T, axes.gap(pairs.first, pairs.second)
        )
        best = np.argsort(-np.abs(auc - 0.5), axis=0, kind="stable")[:num]
        return [
            [self._label(int(column), auc[column, axis] - 0.5) for column in best[:, axis]]
            for axis in range(axes.num_axes)
        ]

    def annotate(
        self, labels: Sequence[Label], first: Array, second: Array
    ) -> Float[np.ndarray, "label pair"]:
        """Gaps of the properties, in standard deviations."""
        column = np.array([label.column for label in labels], int)
        sign = np.array([label.sign for label in labels])
        return (self._gap(first, second)[:, column] * sign[None]).T

    def odd_one(
        self, first: Int[np.ndarray, "task pair"], second: Int[np.ndarray, "task pair"]
    ) -> Int[np.ndarray, " task"]:
        """The pair whose property gaps point furthest from those of the others."""
        gap = self._gap(first, second)
        gap = gap / np.maximum(np.linalg.norm(gap, axis=-1, keepdims=True), 1e-12)
        alike = np.einsum("tpk,tqk->tpq", gap, gap)
        return np.argmin(alike.sum(axis=2), axis=1)

    def pool(self, labels: Sequence[Label]) -> tuple[list[Label], Int[np.ndarray, " label"]]:
        """All properties."""
        everything = [self._label(column, 1.0) for column in range(len(self.properties.names))]
        return everything, np.array([label.column for label in labels], int)

    def report(self) -> dict[str, float]:
        """How many properties there are to choose from."""
        return {"num_properties": float(len(self.properties.names))}

    def _label(self, column: int, sign: float) -> Label:
        sign = 1.0 if sign >= 0 else -1.0
        return Label(self.properties.label(column, sign), column, sign)
