"""The whole test of the labels of a basis: one function, one result.

An axis has a name only if all of this holds for it, each p adjusted by Holm over the axes:

1. its label says which response lies higher, on pairs of prompts that had no say (`fidelity`);
2. the label fits the axis better than labels fit random directions of the same basis;
3. the label alone tells held-out people apart (`choices`);
4. the label fits this axis better than it fits any other, and better than length does;
5. refits find the axis again (`stability`), where there are any;
6. a reader finds the odd pair without any label (`intruder`).

An axis that fails is ``unnamed`` and says what it failed.

References:
    arXiv 2503.06358, section 5.6 and appendix E (axes named by their ends, untested).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from prefjax.data import Dataset, Split
from prefjax.interpret.axes import Axes
from prefjax.interpret.choices import ChoicePrediction, predict_choices
from prefjax.interpret.fidelity import (
    Fidelity,
    auc_matrix,
    fidelity,
    holm,
    random_directions,
    rotation_p,
)
from prefjax.interpret.intruder import Intruder, find_intruders
from prefjax.interpret.pairs import Parts, make_parts
from prefjax.interpret.readers import Label, Reader
from prefjax.interpret.stability import stability
from prefjax.settings import check_settings

UNNAMED = "unnamed"
SAME_AS_LENGTH = 0.95
"""AUC of a label for which of two responses is longer, from which it is another word for length."""


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
        length: AUC of the number of words on this axis, whichever way it points.
        is_length: Whether the label itself says little else than the number of words.
        shuffled: AUC of a label that was written from shuffled responses.
        stability: Median matched |corr| over the refits of the kind in which it is lowest; NaN
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
    length: float
    is_length: bool
    shuffled: float
    stability: float
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


DEFAULT = NamingConfig()


def name_axes(
    axes: Axes,
    dataset: Dataset,
    reader: Reader,
    *,
    split: Split | None = None,
    refits: Mapping[str, Sequence[Axes]] = MappingProxyType({}),
    usable: Bool[np.ndarray, " response"] | None = None,
    config: NamingConfig = DEFAULT,
) -> Naming:
    """Proposes, chooses and tests a label for every axis; see the module docstring.

    Args:
        axes: From `make_axes`.
        dataset: Texts and prompts of the responses.
        reader: Known properties, or a judge.
        split: The split whose training cell the basis was fitted to; its new prompts, if any, test
            the labels, and its new people's choices are predicted. Without it no choices are, and
            an axis can still be named.
        refits: Other fits on the same responses, by kind, such as those of other seeds and those
            of halves of the people.
        usable: Responses that may stand in a pair; all by default.
        config: Settings.

    Raises:
        ValueError: There are too few prompts to test on, or too few people.
    """
    is_new = None if split is None or not split.is_new_response.any() else split.is_new_response
    parts = make_parts(
        config.seed, axes.group, is_new=is_new, usable=usable, num_pairs=config.num_pairs
    )
    labels = _choose(axes, reader, parts, config)
    has_label = np.array([label is not None for label in labels])
    given = [label for label in labels if label is not None]
    test, gap = parts.test, axes.gap(parts.test.first, parts.test.second)
    annotation = reader.annotate(given, test.first, test.second)
    matrix = np.full((axes.num_axes, axes.num_axes), np.nan)
    matrix[has_label] = auc_matrix(annotation, gap)
    directions = random_directions(config.seed, axes, config.num_directions)
    p_rotation = np.ones(axes.num_axes)
    if given:
        p_rotation[has_label] = _against_rotation(axes, reader, parts, given, directions, has_label)
    intruder = find_intruders(
        config.seed,
        axes,
        directions[:, : 2 * config.num_intruders],
        test,
        reader,
        num_tasks=config.num_intruders,
    )
    choices = None
    p_choices = np.full(axes.num_axes, np.nan)
    if split is not None and config.predict and given:
        choices = predict_choices(
            config.seed, axes, given, split, reader, max_pairs=config.max_choice_pairs
        )
        p_choices[has_label] = choices.p
    on = parts.of_response == 2
    found = {kind: stability(axes, some, on=on) for kind, some in refits.items() if len(some)}
    medians = [np.median(table, axis=0) for table in found.values()]
    stable = np.min(medians, axis=0) if medians else np.full(axes.num_axes, np.nan)
    lengths = np.log1p([len(text.split()) for text in dataset.responses])
    longer = lengths[test.first] - lengths[test.second]
    length = auc_matrix(longer[None], gap)[0]
    by_axis = np.full((axes.num_axes, len(test.first)), np.nan)
    by_axis[has_label] = annotation
    fits = [
        fidelity(by_axis[axis], gap[:, axis], test.block) if has_label[axis] else None
        for axis in range(axes.num_axes)
    ]
    p_chance = np.array([1.0 if one is None else one.p for one in fits])
    # All of them must hold, so the largest p is a p of the conjunction.
    p = holm(np.fmax(np.fmax(np.fmax(p_chance, p_rotation), p_choices), intruder.p))
    shuffled = _shuffled(axes, reader, parts, config)
    entries = []
    for axis, label in enumerate(labels):
        others = np.abs(np.delete(matrix[axis], axis) - 0.5) + 0.5
        entry = NamedAxis(
            name=UNNAMED,
            label=label,
            variance=float(axes.variance[axis]),
            fidelity=fits[axis],
            p_rotation=float(p_rotation[axis]),
            p_choices=float(p_choices[axis]),
            p=float(p[axis]),
            best_other=float(np.max(others)) if len(others) else float("nan"),
            length=float(max(length[axis], 1 - length[axis])),
            is_length=_is_length(by_axis[axis], longer),
            shuffled=float(shuffled[axis]),
            stability=float(stable[axis]),
            failed=(),
        )
        failed = _failures(entry, axis, matrix, p_chance, intruder.p, config)
        name = UNNAMED if failed or label is None else label.text
        entries.append(entry._replace(name=name, failed=failed))
    named = [label for label, one in zip(labels, entries, strict=True) if one.is_named and label]
    named_choices = None
    if split is not None and config.predict and named:
        named_choices = predict_choices(
            config.seed, axes, named, split, reader, max_pairs=config.max_choice_pairs
        )
    return Naming(
        axes=tuple(entries),
        matrix=matrix,
        intruder=intruder,
        choices=choices,
        named_choices=named_choices,
        stability=found,
        parts=parts,
        reader=reader.report(),
    )


def _choose(axes: Axes, reader: Reader, parts: Parts, config: NamingConfig) -> list[Label | None]:
    """The proposal that fits best on the part that chooses; None where there is no proposal."""
    proposed = reader.propose(
        axes, parts.explain, parts.of_response == 0, num=config.num_candidates, seed=config.seed
    )
    pairs = parts.choose
    gap = axes.gap(pairs.first, pairs.second)
    labels: list[Label | None] = []
    for axis, candidates in enumerate(proposed):
        if not candidates:
            labels.append(None)
            continue
        annotation = reader.annotate(candidates, pairs.first, pairs.second)
        auc = auc_matrix(annotation, gap[:, axis, None])[:, 0]
        labels.append(candidates[int(np.argmax(auc))])
    return labels


def _against_rotation(
    axes: Axes,
    reader: Reader,
    parts: Parts,
    labels: list[Label],
    directions: Float[np.ndarray, "axis direction"],
    has_label: Bool[np.ndarray, " axis"],
) -> Float[np.ndarray, " label"]:
    """P of each label against random directions, which take their labels on the same parts."""
    pool, place = reader.pool(labels)
    sign = np.array([label.sign * pool[at].sign for label, at in zip(labels, place, strict=True)])
    chosen, tested = (
        auc_matrix(
            reader.annotate(pool, pairs.first, pairs.second),
            axes.gap(pairs.first, pairs.second) @ directions,
        )
        for pairs in (parts.choose, parts.test)
    )
    # A direction has no side of its own: a label is turned as it was chosen.
    side = np.where(chosen < 0.5, -1.0, 1.0)
    null = 0.5 + side * (tested - 0.5)
    own = auc_matrix(
        reader.annotate(pool, parts.test.first, parts.test.second),
        axes.gap(parts.test.first, parts.test.second)[:, has_label],
    )
    value = 0.5 + sign * (own[place, np.arange(len(labels))] - 0.5)
    return rotation_p(null, np.argmax(np.abs(chosen - 0.5), axis=0), value, place)


def _shuffled(
    axes: Axes, reader: Reader, parts: Parts, config: NamingConfig
) -> Float[np.ndarray, " axis"]:
    """AUC on each axis of a label that was read off responses in random order."""
    rng = np.random.default_rng(config.seed)
    inside = np.flatnonzero(parts.of_response == 0)
    order = np.arange(len(axes.features))
    order[inside] = rng.permutation(inside)
    items = axes.items._replace(features=np.asarray(axes.items.features)[order])
    mixed = axes._replace(items=items, features=axes.features[order], code=None)
    proposed = reader.propose(mixed, parts.explain, parts.of_response == 0, num=1, seed=config.seed)
    result = np.full(axes.num_axes, np.nan)
    known = [axis for axis, labels in enumerate(proposed) if labels]
    if known:
        pairs = parts.test
        labels = [proposed[axis][0] for axis in known]
        annotation = reader.annotate(labels, pairs.first, pairs.second)
        auc = auc_matrix(annotation, axes.gap(pairs.first, pairs.second)[:, known])
        result[known] = np.diagonal(auc)
    return result


def _is_length(annotation: Float[np.ndarray, " pair"], longer: Float[np.ndarray, " pair"]) -> bool:
    """Whether an annotation orders pairs as their lengths do."""
    known = ~np.isnan(annotation)
    auc = auc_matrix(annotation[None, known], longer[known, None])[0, 0]
    return bool(abs(auc - 0.5) > SAME_AS_LENGTH - 0.5)


def _failures(
    entry: NamedAxis,
    axis: int,
    matrix: Float[np.ndarray, "axis axis"],
    p_chance: Float[np.ndarray, " axis"],
    p_intruder: Float[np.ndarray, " axis"],
    config: NamingConfig,
) -> tuple[str, ...]:
    """What an axis failed, in words."""
    if entry.label is None or entry.fidelity is None:
        return ("no label was proposed",)
    failed = []
    if entry.p > config.level:
        parts = {
            "the label is no better than chance": p_chance[axis],
            "no better than labels of random directions": entry.p_rotation,
            "the label does not tell held-out people apart": entry.p_choices,
            "the odd pair is not found": p_intruder[axis],
        }
        worst = max(parts, key=lambda name: np.nan_to_num(parts[name], nan=-1.0))
        failed.append(f"{worst} (p = {entry.p:.2g} after Holm)")
    own, strength = matrix[axis, axis], np.abs(matrix - 0.5) + 0.5
    if np.nanmax(np.delete(strength[axis], axis), initial=0.0) >= own:
        failed.append("the label fits another axis better")
    if np.nanmax(np.delete(strength[:, axis], axis), initial=0.0) > own:
        failed.append("the label of another axis fits better")
    if entry.length > own and not entry.is_length:
        failed.append("length fits better")
    if entry.stability < config.min_stability:
        failed.append(f"refits do not find it again (|corr| = {entry.stability:.2f})")
    return tuple(failed)
