"""Containers that every package shares, and the axis vocabulary of their shapes.

Axes: ``user item pair response factor feature batch candidate token vocab layer head seed``.

A comparison is ``(user, first, second, label)``: the user saw responses ``first`` and ``second``
and preferred the first with probability ``label``; 1 first, 0 second, ½ a tie. A vote or a rating
of one response alone is a comparison against a **zero baseline**, written ``second = BASELINE``:
the features and the utility of the baseline are zero.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Key, Shaped

Array: TypeAlias = jax.Array | np.ndarray
"""Either side of the host edge: kernels take both, `data` hands out NumPy."""

PRNGKey: TypeAlias = Key[jax.Array, ""]
Params: TypeAlias = Mapping[str, Any]

BASELINE = -1
"""The id of the zero baseline; legal as ``second`` only."""


class Embeddings(np.ndarray):
    """An array of embeddings that knows which encoder made it; everywhere else a NumPy array.

    Views and selections know it too; arithmetic and joining give arrays that do not. Encoders hand
    these out, and a model refuses those of another encoder by name.

    Attributes:
        encoder: Fingerprint of the encoder, None where nobody said.

    >>> made = Embeddings.of(np.ones((3, 2), np.float32), "hashed-1")
    >>> made[:2].encoder, getattr(2 * made, "encoder", None)
    ('hashed-1', None)
    """

    encoder: str | None = None

    @classmethod
    def of(cls, vectors: np.ndarray, encoder: str | None) -> "Embeddings":
        """The same numbers with the name of their encoder.

        Args:
            vectors: One row a response; not copied.
            encoder: Fingerprint of the encoder.
        """
        named = np.asarray(vectors).view(cls)
        named.encoder = encoder
        return named

    def __array_finalize__(self, obj: Any) -> None:
        """NumPy's hook for views and selections."""
        self.encoder = getattr(obj, "encoder", None)

    def __array_wrap__(self, array, context=None, return_scalar=False):
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain


class Comparisons(NamedTuple):
    """Flat table of comparisons, one row each; the layout for gathers.

    Attributes:
        user: User index of the row, in ``[0, num_users)``.
        first: Response index of the first response, in ``[0, num_responses)``.
        second: Response index of the second response, or ``BASELINE``.
        label: Probability that the first is preferred, in ``[0, 1]``.
        sample_weight: Non-negative weight of the row; ``2`` means the same as the row twice.
    """

    user: Int[Array, " pair"]
    first: Int[Array, " pair"]
    second: Int[Array, " pair"]
    label: Float[Array, " pair"]
    sample_weight: Float[Array, " pair"]


class Choices(NamedTuple):
    """Flat table of choices of one among several that were shown, one row each.

    A choice is one observation: ``log softmax`` of the rewards of what was shown. `Comparisons` are
    choices among two. `prefjax.data.choices` makes them of rankings and of pairs.

    Attributes:
        user: User index of the choice, in ``[0, num_users)``.
        shown: Response indices, each in ``[0, num_responses)`` or ``BASELINE``, whose reward is 0.
        label: Probability that each is the chosen one: one-hot, or less sure; sums to 1.
        mask: False where nothing is shown; choices may show different numbers.
        sample_weight: Non-negative weight of the choice.
    """

    user: Int[Array, " choice"]
    shown: Int[Array, "choice shown"]
    label: Float[Array, "choice shown"]
    mask: Bool[Array, "choice shown"]
    sample_weight: Float[Array, " choice"]


class UserBatch(NamedTuple):
    """Comparisons grouped by user and padded to one length; the layout for per-user solves.

    Padded entries have ``mask`` False, ``sample_weight`` 0, ``first`` 0, ``second`` ``BASELINE``
    and ``label`` ½, so that every gather stays in range. Masked rows equal deleted rows.
    """

    first: Int[Array, "user pair"]
    second: Int[Array, "user pair"]
    label: Float[Array, "user pair"]
    sample_weight: Float[Array, "user pair"]
    mask: Bool[Array, "user pair"]


class Gaussian(NamedTuple):
    """N(mean, covariance): what is known of one person's weights λ, or how people differ.

    With a leading user axis on both fields it is many people at once.

    Attributes:
        mean: Expected weights.
        covariance: Their covariance, symmetric and positive semi-definite.
    """

    mean: Float[Array, "*user factor"]
    covariance: Float[Array, "*user factor factor"]


class Mixture(NamedTuple):
    """Σ_k π_k N(μ_k, Σ_k): how people differ where one Gaussian does not tell.

    It stands wherever a population is read: its mean and covariance are the moments.

    Attributes:
        log_weight: log π_k; the π_k sum to 1.
        components: N(μ_k, Σ_k), with a leading component axis.

    Examples:
        >>> two = Gaussian(jnp.array([[-1.0], [1.0]]), jnp.full((2, 1, 1), 0.5))
        >>> half = Mixture(jnp.log(jnp.full(2, 0.5)), two)
        >>> half.mean.tolist(), half.covariance.tolist()
        ([0.0], [[1.5]])
    """

    log_weight: Float[Array, " component"]
    components: Gaussian

    @property
    def mean(self) -> Float[jax.Array, " factor"]:
        """Σ_k π_k μ_k."""
        return jnp.exp(self.log_weight) @ self.components.mean

    @property
    def covariance(self) -> Float[jax.Array, "factor factor"]:
        """Σ_k π_k (Σ_k + (μ_k − μ)(μ_k − μ)ᵀ)."""
        weight = jnp.exp(self.log_weight)
        away = self.components.mean - self.mean[None]
        between = (weight[:, None] * away).T @ away
        return jnp.tensordot(weight, self.components.covariance, 1) + between


Population: TypeAlias = Gaussian | Mixture
"""How people differ: the prior of a new person."""


class Penalties(NamedTuple):
    """How strongly a fit of a basis is held back; arrays, so that one program fits them all.

    Attributes:
        factor: τ of the base rewards, the prior precision of φ_j of one response.
        utility: τ of the shared utility t, in the same units.
        posterior_scale: Factor on a person's covariance wherever it enters a prediction: 1
            integrates people out (the marginal fit), 0 takes their weights as known (joint MAP).
    """

    factor: Float[Array, "*candidate"]
    utility: Float[Array, "*candidate"]
    posterior_scale: Float[Array, "*candidate"]


class RewardBasis(NamedTuple):
    """Base rewards of any response, and the population of people who weigh them.

    The reward of person u is ``λ_u·φ(e) + t(e)`` with ``λ_u`` from the population; `basis.apply`
    gives φ and t of an embedding e.

    Attributes:
        params: The head, ``{"out": {"kernel", "bias"}, "trunk": …}``; see `prefjax.basis.heads`.
            Beside it ``"spread"``, how uncertain it is; see `prefjax.basis.uncertainty`.
        population: How λ differs between people; the prior of a new person. A `Mixture` where one
            Gaussian does not tell.
        posterior_scale: Factor on a person's covariance in every prediction, as it was chosen with
            the penalties.
    """

    params: Params
    population: Population
    posterior_scale: Float[Array, ""]


class FitInfo(NamedTuple):
    """How a basis was reached: beside the result, never in it.

    Attributes:
        converged: Whether the last round gained less than the tolerance.
        num_steps: Rounds taken.
        objective: The objective before each round, in nats, NaN for rounds not taken.
        penalties: Those of the fit.
        search: The candidates with their held-out losses, None where the penalties were given.
    """

    converged: Bool[Array, "*seed"]
    num_steps: Int[Array, "*seed"]
    objective: Float[Array, "*seed round"]
    penalties: Penalties
    search: Any = None


class Items(NamedTuple):
    """What a model knows of every response: the reward of user u is ``λ_u·features + utility``.

    Attributes:
        features: φ, the basis rewards of each response.
        utility: t, the part of the reward that all users share.
        spread: ψ: the reward gap of two responses is uncertain by ``‖ψ_a − ψ_b‖²`` whatever is
            known of the person, because φ and t were learned; None where they are taken as known.
    """

    features: Float[Array, "response factor"]
    utility: Float[Array, " response"]
    spread: Float[Array, "response column"] | None = None

    def at(self, index: Any) -> "Items":
        """Some of the responses, or one.

        Args:
            index: Whatever indexes the leading axes of the fields.
        """
        return Items(*(None if part is None else part[index] for part in self))  # pyright: ignore

    def gap_to(self, second: "Items | None" = None) -> "FeatureGap":
        """These responses minus others, each one its own, with any leading axes that broadcast.

        Args:
            second: What they are compared with; None is the zero baseline.

        >>> items = Items(np.ones((2, 3)), np.zeros(2), np.array([[2.0], [0.5]]))
        >>> items.gap_to().variance
        array([4.  , 0.25])
        """
        if second is None:
            features, offset, spread = self
        else:
            features = self.features - second.features
            offset, spread = self.utility - second.utility, None
            if self.spread is not None and second.spread is not None:
                spread = self.spread - second.spread
        if spread is None:
            return FeatureGap(features, offset, np.zeros(np.shape(offset), np.float32))
        return FeatureGap(features, offset, (spread**2).sum(axis=-1))


class FeatureGap(NamedTuple):
    """First minus second response of each pair, the input of every per-user kernel.

    Attributes:
        features: φ(first) − φ(second).
        offset: t(first) − t(second), the logit everybody shares.
        variance: Variance of the logit that no answer of the person removes.
    """

    features: Shaped[Array, "*pairs factor"]
    offset: Shaped[Array, "*pairs"]
    variance: Shaped[Array, "*pairs"] | float = 0.0
