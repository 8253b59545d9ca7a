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
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float

from prefjax.data import Dataset, Split
from prefjax.interpret.axes import Axes
from prefjax.interpret.baselines import (
    against_rotation,
    against_shuffled,
    choose_labels,
    component_gaps,
    is_length,
    label_agreement,
)
from prefjax.interpret.choices import predict_choices
from prefjax.interpret.fidelity import auc_matrix, fidelity, holm, random_directions
from prefjax.interpret.intruder import find_intruders
from prefjax.interpret.naming import UNNAMED, NamedAxis, Naming, NamingConfig
from prefjax.interpret.pairs import make_parts
from prefjax.interpret.readers import Reader
from prefjax.interpret.stability import stability
from prefjax.types import Array

DEFAULT = NamingConfig()


def name_axes(
    axes: Axes,
    dataset: Dataset,
    reader: Reader,
    *,
    split: Split | None = None,
    refits: Mapping[str, Sequence[Axes]] = MappingProxyType({}),
    embeddings: Float[Array, "response input"] | None = None,
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
        embeddings: Of the responses; as many of their principal components as there are axes stand
            beside the axes as a baseline.
        usable: Responses that may stand in a pair; all by default.
        config: Settings.

    Raises:
        ValueError: Axes, refits, split and data set are not of the same responses, or there are too
            few prompts to test on, or too few people.
    """
    _check_sizes(axes, dataset, split, refits)
    is_new = None if split is None or not split.is_new_response.any() else split.is_new_response
    parts = make_parts(
        config.seed, axes.group, is_new=is_new, usable=usable, num_pairs=config.num_pairs
    )
    labels = choose_labels(axes, reader, parts, config)
    has_label = np.array([label is not None for label in labels])
    given = [label for label in labels if label is not None]
    test, gap = parts.test, axes.gap(parts.test.first, parts.test.second)
    annotation = reader.annotate(given, test.first, test.second)
    matrix = np.full((axes.num_axes, axes.num_axes), np.nan)
    matrix[has_label] = auc_matrix(annotation, gap)
    directions = random_directions(config.seed, axes, config.num_directions)
    p_rotation = np.ones(axes.num_axes)
    if given:
        p_rotation[has_label] = against_rotation(axes, reader, parts, given, directions, has_label)
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
    agreement = label_agreement(axes, labels, reader, parts, refits, config)
    component = np.full(axes.num_axes, np.nan)
    if embeddings is not None and given:
        others = component_gaps(np.asarray(embeddings), axes, parts)
        fit = np.abs(auc_matrix(annotation, others) - 0.5) + 0.5
        component[has_label] = fit.max(axis=1)
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
    shuffled = against_shuffled(axes, reader, parts, config)
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
            component=float(component[axis]),
            length=float(max(length[axis], 1 - length[axis])),
            is_length=is_length(by_axis[axis], longer),
            shuffled=float(shuffled[axis]),
            stability=float(stable[axis]),
            agreement=float(agreement[axis]),
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


def _check_sizes(
    axes: Axes, dataset: Dataset, split: Split | None, refits: Mapping[str, Sequence[Axes]]
) -> None:
    """Everything must speak of the responses of the data set."""
    sizes = {"the axes": len(axes.features)}
    if split is not None:
        sizes["the split"] = len(split.group)
    for kind, some in refits.items():
        for place, refit in enumerate(some):
            sizes[f"refit {place} of {kind!r}"] = len(refit.features)
    for name, size in sizes.items():
        if size != dataset.num_responses:
            raise ValueError(
                f"{size} responses in {name}, {dataset.num_responses} in data set "
                f"{dataset.name!r}; they must be the same responses in the same order"
            )


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
