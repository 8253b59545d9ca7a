"""How labels are chosen, and what stands beside a label: the baselines on the same pairs.

Labels of random directions, labels written from shuffled responses, principal components of the
embeddings, the number of words, and the labels of other fits.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from prefjax.interpret.axes import Axes, center_by_group
from prefjax.interpret.fidelity import auc_matrix, rotation_p
from prefjax.interpret.naming import NamingConfig
from prefjax.interpret.pairs import Parts
from prefjax.interpret.readers import Label, Reader
from prefjax.interpret.stability import match_axes

SAME_AS_LENGTH = 0.95
"""AUC of a label for which of two responses is longer, from which it is another word for length."""


def choose_labels(
    axes: Axes, reader: Reader, parts: Parts, config: NamingConfig
) -> list[Label | None]:
    """The proposal that fits best on the part that chooses; None where there is no proposal.

    Args:
        axes: The axes that are named.
        reader: Who labels.
        parts: Pairs of each part.
        config: Settings of the test.
    """
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


def against_rotation(
    axes: Axes,
    reader: Reader,
    parts: Parts,
    labels: list[Label],
    directions: Float[np.ndarray, "axis direction"],
    has_label: Bool[np.ndarray, " axis"],
) -> Float[np.ndarray, " label"]:
    """P of each label against random directions, which take their labels on the same parts.

    Args:
        axes: The axes that are named.
        reader: Who labels.
        parts: Pairs of each part.
        labels: Of the axes that have one.
        directions: From `random_directions`.
        has_label: Which axes these are.
    """
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


def against_shuffled(
    axes: Axes, reader: Reader, parts: Parts, config: NamingConfig
) -> Float[np.ndarray, " axis"]:
    """AUC on each axis of a label that was read off responses in random order.

    Args:
        axes: The axes that are named.
        reader: Who labels.
        parts: Pairs of each part.
        config: Settings of the test.
    """
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


def component_gaps(
    embeddings: Float[np.ndarray, "response input"], axes: Axes, parts: Parts
) -> Float[np.ndarray, "pair component"]:
    """Gaps of the test pairs on the principal components of responses within prompts.

    Args:
        embeddings: Of all responses.
        axes: Say how many components, and the prompts.
        parts: The components are those of the part that explains.
    """
    centered = center_by_group(embeddings, axes.group)
    _, _, right = np.linalg.svd(centered[parts.of_response == 0], full_matrices=False)
    scores = centered @ right[: axes.num_axes].T
    return scores[parts.test.first] - scores[parts.test.second]


def label_agreement(
    axes: Axes,
    labels: Sequence[Label | None],
    reader: Reader,
    parts: Parts,
    refits: Mapping[str, Sequence[Axes]],
    config: NamingConfig,
) -> Float[np.ndarray, " axis"]:
    """Part of the refits that give the matched axis the same label, in either direction.

    Args:
        axes: The axes that are named.
        labels: Their labels.
        reader: Who labels the refits.
        parts: Pairs of each part.
        refits: By kind.
        config: Settings of the test.
    """
    same = []
    for refit in (one for some in refits.values() for one in some):
        match = match_axes(axes, refit, on=parts.of_response == 2).match
        others = choose_labels(refit, reader, parts, config)
        pairs = [
            (label, others[at] if at >= 0 else None)
            for label, at in zip(labels, match, strict=True)
        ]
        same.append([_poles(one) is not None and _poles(one) == _poles(two) for one, two in pairs])
    return np.mean(same, axis=0) if same else np.full(axes.num_axes, np.nan)


def _poles(label: Label | None) -> frozenset[str] | None:
    return None if label is None else frozenset(label.text.split(" vs. "))


def is_length(annotation: Float[np.ndarray, " pair"], longer: Float[np.ndarray, " pair"]) -> bool:
    """Whether an annotation orders pairs as their lengths do.

    Args:
        annotation: Of a label.
        longer: How much longer the first response is.
    """
    known = ~np.isnan(annotation)
    auc = auc_matrix(annotation[None, known], longer[known, None])[0, 0]
    return bool(abs(auc - 0.5) > SAME_AS_LENGTH - 0.5)
