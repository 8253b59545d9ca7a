"""What people wrote that they looked for, beside the axes that predicted them.

An axis predicts a person by ``a_j = m_j s_j``, with m the belief after all answers and s_j the root
mean square of the gap of base reward j in the person's own test trials. If reasons and axes speak
of the same, people who wrote alike have alike a: over all pairs of people

    r = corr(cosine of the reasons, cosine of a)

with reasons as TF-IDF weights of their n-grams. Its p-value is that of permutations of the reasons
over people (Mantel), since pairs that share a person are not independent. Nobody's words are
interpreted, so an axis needs no name.

References:
    N. Mantel, "The detection of disease clustering and a generalized regression approach", Cancer
    Research 27 (1967).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from prefjax.study._export import StudyExport

MIN_PEOPLE = 8
"""People with reasons below whom no correlation is given."""
NUM_PERMUTATIONS = 999
MOST_QUOTED = 3
"""Reasons that are quoted of each axis."""


class Reasons(NamedTuple):
    """Reasons beside axes.

    Attributes:
        names: People who finished and wrote something.
        texts: What they wrote.
        profile: a of each of them.
        correlation: r; NaN below `MIN_PEOPLE` or where all wrote or were predicted alike.
        p: One-sided p-value of r.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    profile: Float[np.ndarray, "person factor"]
    correlation: float
    p: float

    def most_predicted(self, axis: int) -> list[int]:
        """People whose prediction rests most on an axis, the largest share first.

        Args:
            axis: Number of the axis.
        """
        squares = np.square(self.profile)
        share = squares[:, axis] / np.maximum(squares.sum(1), 1e-30)
        first = [int(one) for one in np.argsort(-share, kind="stable")[:MOST_QUOTED]]
        return [one for one in first if share[one] > 1 / self.profile.shape[1]]


def compare_reasons(study: StudyExport, seed: int = 0) -> Reasons:
    """Sets the reasons of everybody who finished beside the axes.

    Args:
        study: The export.
        seed: Of the permutations.
    """
    tests: dict[str, list[tuple[int, int]]] = {}
    for row in study.trials:
        if row["kind"] == "test":
            tests.setdefault(row["participant"], []).append((row["left"], row["right"]))
    names, texts, profile = [], [], []
    for row in study.participants:
        text = " ".join((row["reasons"] or "").split())
        pairs = tests.get(row["participant"])
        if row["end"] == "complete" and text and pairs:
            left, right = np.array(pairs).T
            gap = np.asarray(study.items.features)[left] - np.asarray(study.items.features)[right]
            spread = np.sqrt(np.mean(np.square(gap), axis=0))
            names.append(row["participant"])
            texts.append(text)
            profile.append(np.asarray(row["final_mean"]) * spread)
    num_factors = np.shape(study.items.features)[-1]
    table = np.array(profile, float).reshape(len(names), num_factors)
    return Reasons(tuple(names), tuple(texts), table, *_mantel(texts, table, seed))


def _mantel(texts: list[str], profile: np.ndarray, seed: int) -> tuple[float, float]:
    """The correlation and its p-value."""
    none = float("nan"), float("nan")
    if len(texts) < MIN_PEOPLE:
        return none
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    table = words.fit_transform(texts).toarray()
    unit = profile / np.maximum(np.linalg.norm(profile, axis=1, keepdims=True), 1e-30)
    pairs = np.triu_indices(len(texts), 1)
    said, predicted = table @ table.T, (unit @ unit.T)[pairs]
    if min(said[pairs].std(), predicted.std()) < 1e-9:
        return none
    rng, orders = np.random.default_rng(seed), [np.arange(len(texts))]
    orders += [rng.permutation(len(texts)) for _ in range(NUM_PERMUTATIONS)]
    found = [np.corrcoef(said[np.ix_(one, one)][pairs], predicted)[0, 1] for one in orders]
    return float(found[0]), float(np.mean(np.array(found) >= found[0] - 1e-12))
