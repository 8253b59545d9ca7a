"""Axes that can be read: the canonical ones, turned to where each person uses few of them.

On canonical axes (`prefjax.basis.gauge`) the weights of people have the identity as covariance and
the features, centered by prompt, the covariance D. They are unique only where the entries of D
differ: with equal ones any rotation is as canonical, and an eigenvector is then a mixture that
nobody would name. A rotation R keeps cov(λ) = I and the sum of the variances,

    φ' = Rᵀφ,   λ' = Rᵀλ,   Σ_j var(φ'_j) = Σ_j D_j,

and varimax takes the one for which the weights have the largest fourth moments, so that a person
weighs few axes and leaves the others. It is found from who the people are, never from a property
by which an axis is named later.

References:
    Kaiser (1958), "The varimax criterion for analytic rotation in factor analysis"; Rohe and Zeng
    (2020), arXiv 2004.05387 (varimax identifies the axes where weights have heavy tails).
"""

from collections.abc import Callable
from itertools import combinations
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from prefjax import basis as bases
from prefjax.person import describe
from prefjax.types import Array, FeatureGap, Gaussian, Items, RewardBasis

Rotation: TypeAlias = Literal["varimax", "canonical"]


class Axes(NamedTuple):
    """A reward basis whose factors are to be read, and the responses on them.

    Attributes:
        basis: On these axes; predicts what the basis that it was made from predicts.
        people: Training users on these axes.
        items: φ and t of every response.
        features: φ centered by group: what tells responses to one prompt apart.
        group: Prompt of every response.
        variance: Variance of reward that comes from people disagreeing along each axis.
        code: Gives the gaps of pairs where they are no difference of features, as in a sparse code
            of differences; None for a reward basis.
    """

    basis: RewardBasis
    people: Gaussian
    items: Items
    features: Float[np.ndarray, "response axis"]
    group: Int[np.ndarray, " response"]
    variance: Float[np.ndarray, " axis"]

    code: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None

    @property
    def num_axes(self) -> int:
        """Number of axes."""
        return self.features.shape[1]

    def gap(
        self, first: Int[Array, " pair"], second: Int[Array, " pair"]
    ) -> Float[np.ndarray, "pair axis"]:
        """What a person's weights are multiplied with: φ(first) − φ(second).

        Args:
            first: First response of each pair.
            second: Second response, or ``BASELINE`` for a vote on the first alone.
        """
        first, second = np.asarray(first), np.asarray(second)
        if self.code is not None:
            return self.code(first, second)
        features = np.asarray(self.items.features, np.float64)
        return features[first] - np.where(second[:, None] < 0, 0.0, features[second])

    def offset(
        self, first: Int[Array, " pair"], second: Int[Array, " pair"]
    ) -> Float[np.ndarray, " pair"]:
        """The logit that everybody shares, t(first) − t(second).

        Args:
            first: First response of each pair.
            second: Second response, or ``BASELINE``.
        """
        first, second = np.asarray(first), np.asarray(second)
        if self.code is not None:
            kernel = np.asarray(self.basis.params["out"]["kernel"], np.float64)
            return self.code(first, second) @ kernel[:, -1]
        utility = np.asarray(self.items.utility, np.float64)
        return utility[first] - np.where(second < 0, 0.0, utility[second])

    def pair_gap(self, first: Int[Array, " pair"], second: Int[Array, " pair"]) -> FeatureGap:
        """`gap` and `offset` of pairs, and how uncertain the reward gap is whoever answers.

        Args:
            first: First response of each pair.
            second: Second response, or ``BASELINE``.
        """
        first, second = np.asarray(first), np.asarray(second)
        variance = np.zeros(len(first), np.float32)
        if self.code is None and self.items.spread is not None:
            spread = np.asarray(self.items.spread)
            psi = spread[first] - np.where(second[:, None] < 0, 0.0, spread[second])
            variance = np.square(psi).sum(axis=1)
        return FeatureGap(self.gap(first, second), self.offset(first, second), variance)


def center_by_group(
    values: Float[Array, "response column"], group: Int[np.ndarray, " response"]
) -> Float[np.ndarray, "response column"]:
    """Every column minus its mean over the responses of the same group.

    Args:
        values: One row a response.
        group: Group of each response, from 0.

    >>> center_by_group(np.array([[1.0], [3.0], [5.0]]), np.array([0, 0, 1]))[:, 0].tolist()
    [-1.0, 1.0, 0.0]
    """
    values = np.asarray(values, np.float64)
    total = np.zeros((int(group.max(initial=-1)) + 1, values.shape[1]))
    np.add.at(total, group, values)
    count = np.maximum(np.bincount(group, minlength=len(total)), 1)
    return values - (total / count[:, None])[group]


def varimax(
    weights: Float[Array, "person axis"], *, max_steps: int = 500, tolerance: float = 1e-8
) -> Float[np.ndarray, "axis axis"]:
    """The rotation after which Σ_j (mean w_j⁴ − (mean w_j²)²) is largest, by turns of two axes.

    Args:
        weights: One row a person.
        max_steps: Most steps.
        tolerance: Stop when no two axes turn by more, in radians.

    Returns:
        R, orthogonal; the rotated weights are ``weights @ R``.

    >>> turned = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> np.abs(turned @ varimax(turned + 1e-3 * np.eye(4, 2))).round(2)[0].tolist()
    [1.41, 0.0]
    """
    rotated = np.array(weights, np.float64)
    num_axes = rotated.shape[1]
    rotation = np.eye(num_axes)
    for _ in range(max_steps):
        largest = 0.0
        for a, b in combinations(range(num_axes), 2):
            u = rotated[:, a] ** 2 - rotated[:, b] ** 2
            v = 2 * rotated[:, a] * rotated[:, b]
            sine = 2 * (np.mean(u * v) - np.mean(u) * np.mean(v))
            cosine = np.mean(u**2 - v**2) - (np.mean(u) ** 2 - np.mean(v) ** 2)
            angle = np.arctan2(sine, cosine) / 4
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            rotated[:, [a, b]] = rotated[:, [a, b]] @ turn
            rotation[:, [a, b]] = rotation[:, [a, b]] @ turn
            largest = max(largest, abs(angle))
        if largest < tolerance:
            break
    return rotation


def make_axes(
    basis: RewardBasis,
    people: Gaussian,
    embeddings: Float[Array, "response input"],
    group: Int[Array, " response"] | None = None,
    *,
    shown: Bool[Array, " response"] | None = None,
    rotation: Rotation = "varimax",
) -> Axes:
    """A fitted basis on axes that can be read, each pointing to where its features are skewed.

    Args:
        basis: As a fit returns it, or of a `PreferenceModel`.
        people: Posteriors of the training users.
        embeddings: One row a response.
        group: Prompt of each response; None if all answer the same.
        shown: The responses whose spread defines the axes, those of training; all by default.
        rotation: ``varimax`` or ``canonical``; see the module docstring.

    Raises:
        ValueError: An embedding is not legal.
    """
    items = describe(basis, embeddings)
    num_responses = len(items.utility)
    place = (
        np.zeros(num_responses, int) if group is None else np.unique(group, return_inverse=True)[1]
    )
    used = np.ones(num_responses, bool) if shown is None else np.asarray(shown, bool)
    centered = center_by_group(items.features, place)[used].astype(np.float32)
    gauge = bases.canonical(centered, np.asarray(basis.population.covariance))
    gauge = bases.Gauge(*(np.asarray(leaf, np.float64) for leaf in gauge))
    if rotation == "varimax":
        gauge = _turned(gauge, varimax(np.asarray(people.mean) @ gauge.weights))
    spread = centered @ gauge.features
    order = np.argsort(-np.var(spread, axis=0))
    sign = np.where(np.mean(spread[:, order] ** 3, axis=0) < 0, -1.0, 1.0)
    gauge = _turned(gauge, np.eye(len(order))[:, order] * sign[None])
    single = bases.Gauge(*(leaf.astype(np.float32) for leaf in gauge))
    turned, turned_people = bases.rotate(basis, people, single)
    return place_axes(turned, turned_people, embeddings, place, shown=used)


def place_axes(
    basis: RewardBasis,
    people: Gaussian,
    embeddings: Float[Array, "response input"],
    group: Int[Array, " response"],
    *,
    shown: Bool[Array, " response"] | None = None,
) -> Axes:
    """The factors of a basis as they stand, for a basis that is on readable axes already.

    Args:
        basis: For example one over sparse features, whose factors are not to be mixed.
        people: Posteriors of the training users.
        embeddings: One row a response.
        group: Prompt of each response.
        shown: The responses whose spread is the variance of an axis; all by default.
    """
    items = describe(basis, embeddings)
    group = np.asarray(group)
    features = center_by_group(items.features, group)
    used = np.ones(len(features), bool) if shown is None else np.asarray(shown, bool)
    weight_variance = np.diagonal(np.asarray(basis.population.covariance))
    variance = np.mean(features[used] ** 2, axis=0) * weight_variance
    return Axes(
        basis, Gaussian(*map(np.asarray, people)), items, features, group, np.asarray(variance)
    )


def turn_axes(axes: Axes, rotation: Float[np.ndarray, "axis axis"]) -> Axes:
    """The same model on rotated axes; a control, on which a test of names must fail.

    Args:
        axes: With the identity as covariance of the weights, as `make_axes` gives them.
        rotation: R, orthogonal; the new features are φ R.
    """
    single = np.asarray(rotation, np.float32)
    gauge = bases.Gauge(features=single, weights=single, variance=axes.variance)
    basis, people = bases.rotate(axes.basis, axes.people, gauge)
    features = axes.features @ rotation
    items = axes.items._replace(features=np.asarray(axes.items.features) @ single)
    spread = np.einsum("ia,ij,ja->a", rotation, axes.features.T @ axes.features, rotation)
    before = np.einsum("ra,ra->a", axes.features, axes.features)
    scale = axes.variance.sum() / max(before.sum(), 1e-30)
    return axes._replace(
        basis=basis,
        people=Gaussian(*map(np.asarray, people)),
        items=items,
        features=features,
        variance=spread * scale,
    )


def _turned(gauge: bases.Gauge, rotation: np.ndarray) -> bases.Gauge:
    return gauge._replace(features=gauge.features @ rotation, weights=gauge.weights @ rotation)


def ends(
    axes: Axes, axis: int, *, num: int = 8, among: Bool[Array, " response"] | None = None
) -> tuple[Int[np.ndarray, " high"], Int[np.ndarray, " low"]]:
    """Responses at both ends of an axis, the most extreme first and one a prompt.

    Args:
        axes: From `make_axes`.
        axis: Which.
        num: Most responses at an end.
        among: The responses that may be shown; all by default.
    """
    value = axes.features[:, axis]
    allowed = np.arange(len(value)) if among is None else np.flatnonzero(among)

    def first_of_each(order: np.ndarray) -> np.ndarray:
        chosen, seen = [], set()
        single = len(np.unique(axes.group[allowed])) < 2
        for response in order:
            prompt = response if single else axes.group[response]
            if prompt not in seen:
                seen.add(prompt)
                chosen.append(response)
            if len(chosen) == num:
                break
        return np.array(chosen, np.int64)

    order = allowed[np.argsort(-value[allowed], kind="stable")]
    return first_of_each(order), first_of_each(order[::-1])
