"""Acquisition rules: how much one question would teach about one user.

A question is a pair of responses with feature gap ``f`` and shared offset ``t``; the user prefers
the first with probability ``σ(λ·f + t)``. The belief about the user is the Laplace posterior
``λ ~ N(λ̂, H⁻¹)``. With ``m = λ̂·f + t``, ``v = fᵀH⁻¹f`` and ``σ' = σ(m)σ(−m)`` the rules are

=================  ====================================================================
``eq8``            ``v`` (arXiv 2503.06358, Eq. 8)
``prob_variance``  ``σ'² v``, the variance of the answer's probability to first order
``official``       ``prob_variance`` as in the code published with the paper
``d_optimal``      ``log(1 + σ' v)``, the drop of ``log det H⁻¹`` (default)
``bald``           ``H(E p) − E H(p)``, the mutual information of answer and weights
``v_optimal``      ``σ' fᵀH⁻¹CH⁻¹f / (1 + σ' v)``, the drop of ``tr(C H⁻¹)``
``thompson``       ``|σ(w₁·f + t) − σ(w₂·f + t)|`` with ``w₁, w₂ ~ N(λ̂, H⁻¹)``
``entropy``        ``−|m|``
``random``         uniform
=================  ====================================================================

Where φ and t are uncertain themselves, a rule that asks for what the answer tells of the person
sees the moments of `teachable` instead; ``entropy`` and ``official`` are as they are written,
whatever an answer can teach. A rule reads only the `Moments` of a question, elementwise, so the
same formula scores a list of candidates and the grid of all pairs of a prompt. The offset enters
``m`` and never ``v``.

References:
    PReF, arXiv 2503.06358, Eq. 6–8; BALD, arXiv 1112.5745, Eq. 2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from prefjax.numerics import gauss_hermite, logit_shrinkage
from prefjax.types import Array, FeatureGap, Gaussian, PRNGKey


class Moments(NamedTuple):
    """What a rule may know of each question; all fields have the shape of the questions.

    Attributes:
        logit: m = λ̂·f + t.
        variance: v = fᵀH⁻¹f, the variance of the logit.
        reduction: fᵀH⁻¹CH⁻¹f, with C the second moment of the gaps of the target pool.
        first_sample: w₁·f + t for one draw w₁ of the belief.
        second_sample: w₂·f + t for another.
        noise: Uniform in [0, 1).
    """

    logit: Float[jax.Array, "*question"]
    variance: Float[jax.Array, "*question"]
    reduction: Float[jax.Array, "*question"]
    first_sample: Float[jax.Array, "*question"]
    second_sample: Float[jax.Array, "*question"]
    noise: Float[jax.Array, "*question"]


_RULE = gauss_hermite(64)
# The outer nodes carry weights far below the rounding of a double and cost as much as the others.
_COUNTED = _RULE.weight > 1e-17
_NODES, _WEIGHTS = _RULE.node[_COUNTED], _RULE.weight[_COUNTED]


def _slope(logit: Float[Array, "*question"]) -> Float[jax.Array, "*question"]:
    """``σ'(m) = e^{−|m|} / (1 + e^{−|m|})²``, with a single exponential."""
    tail = jnp.exp(-jnp.abs(logit))
    return tail / (1 + tail) ** 2


def eq8(moments: Moments) -> Float[jax.Array, "*question"]:
    """Variance of the logit, ``v`` (PReF, arXiv 2503.06358, Eq. 8)."""
    return jnp.asarray(moments.variance)


def prob_variance(moments: Moments) -> Float[jax.Array, "*question"]:
    """Variance of the probability to first order, ``σ'(m)² v``."""
    return _slope(moments.logit) ** 2 * moments.variance


def d_optimal(moments: Moments) -> Float[jax.Array, "*question"]:
    """Gain in ``log det H`` from one answer, ``log(1 + σ'(m) v)``."""
    return jnp.log1p(_information(moments))


def _information(moments: Moments) -> Float[jax.Array, "*question"]:
    return _slope(moments.logit) * moments.variance


def bald(moments: Moments) -> Float[jax.Array, "*question"]:
    """Mutual information of answer and weights in nats, ``H(E p) − E H(p)``.

    ``p = σ(m + √v z)`` with ``z ~ N(0, 1)``; the expectations use the 64-node Gauss–Hermite rule.

    References:
        arXiv 1112.5745, Eq. 2.
    """
    mean, deviation = jnp.asarray(moments.logit), jnp.sqrt(moments.variance)
    nodes = jnp.asarray(_NODES, mean.dtype)
    weights = jnp.asarray(_WEIGHTS, mean.dtype)

    def add_node(index, sums):
        logit = mean + deviation * nodes[index]
        size = jnp.abs(logit)
        tail = jnp.exp(-size)
        smaller = tail / (1 + tail)  # the probability of the less likely answer
        first = jnp.where(logit < 0, smaller, 1 - smaller)
        second = jnp.where(logit < 0, 1 - smaller, smaller)
        entropy = jnp.log1p(tail) + size * smaller
        share = weights[index]
        return sums[0] + share * first, sums[1] + share * second, sums[2] + share * entropy

    zero = jnp.zeros_like(mean)
    first, second, conditional = lax.fori_loop(0, len(_NODES), add_node, (zero, zero, zero))
    total = jax.scipy.special.entr(first) + jax.scipy.special.entr(second)
    return total - conditional


def v_optimal(moments: Moments) -> Float[jax.Array, "*question"]:
    """Drop of the mean logit variance over the target pool, ``tr(C H⁻¹)``, from one answer.

    ``σ' fᵀH⁻¹CH⁻¹f / (1 + σ' v)``, the Sherman–Morrison update traced against ``C``.
    """
    slope = _slope(moments.logit)
    return slope * moments.reduction / (1 + slope * moments.variance)


def thompson(moments: Moments) -> Float[jax.Array, "*question"]:
    """Disagreement of two plausible users, ``|σ(w₁·f + t) − σ(w₂·f + t)|``."""
    return jnp.abs(jax.nn.sigmoid(moments.first_sample) - jax.nn.sigmoid(moments.second_sample))


def entropy(moments: Moments) -> Float[jax.Array, "*question"]:
    """Uncertainty of the answer under the point estimate alone, ``−|m|``."""
    return -jnp.abs(moments.logit)


def random(moments: Moments) -> Float[jax.Array, "*question"]:
    """A uniform number for every question: questions in random order."""
    return jnp.asarray(moments.noise)


def _same(rank: jax.Array) -> jax.Array:
    return rank


@dataclass(frozen=True)
class Rule:
    """A score and the two habits in which published code departs from ``λ ~ N(λ̂, H⁻¹)``.

    The score is ``finish(rank(moments))``. A search ranks every question and finishes the winner
    only: the logarithm of ``d_optimal`` would take half of the time of an exact search.

    Attributes:
        rank: Elementwise function of `Moments`; the largest wins.
        finish: Strictly increasing function from rank to score.
        ridge: When given, scores use ``H = ridge·I + Σ σ' f fᵀ`` in place of the prior's precision.
        num_random: The first ``num_random`` questions are drawn uniformly.
        as_written: The score is of m and v themselves where φ and t are uncertain, not of
            `teachable`.
    """

    rank: Callable[[Moments], jax.Array]
    finish: Callable[[jax.Array], jax.Array] = _same
    ridge: float | None = None
    num_random: int = 0
    as_written: bool = False

    def rank_of(
        self, moments: Moments, variance: Float[Array, "*known"] | float
    ) -> Float[Array, "*question"]:
        """The rank of questions about responses whose rewards are uncertain themselves.

        Args:
            moments: Of the weights alone.
            variance: C of `teachable`.
        """
        return self.rank(moments if self.as_written else teachable(moments, variance))


RULES = MappingProxyType(
    {
        "eq8": Rule(eq8),
        "prob_variance": Rule(prob_variance),
        "official": Rule(prob_variance, ridge=1e-3, num_random=1, as_written=True),
        "d_optimal": Rule(_information, finish=jnp.log1p),
        "bald": Rule(bald),
        "v_optimal": Rule(v_optimal),
        "thompson": Rule(thompson),
        "entropy": Rule(entropy, as_written=True),
        "random": Rule(random),
    }
)
"""The rules by the name they have in results."""


def get_rule(name: str) -> Rule:
    """Look a rule up by name.

    Raises:
        ValueError: The name is not in `RULES`; the message lists the valid ones.
    """
    if name not in RULES:
        raise ValueError(f"unknown acquisition rule {name!r}; valid rules: {', '.join(RULES)}")
    return RULES[name]


def sample_weights(key: PRNGKey, belief: Gaussian) -> Float[jax.Array, "2 factor"]:
    """Two independent draws of the weights from the belief."""
    root = jnp.linalg.cholesky(belief.covariance)
    noise = jax.random.normal(key, (2, root.shape[0]), root.dtype)
    return jnp.asarray(belief.mean)[None, :] + noise @ root.T


def moments_of(
    key: PRNGKey,
    gap: FeatureGap,
    belief: Gaussian,
    target: Float[Array, "factor factor"],
) -> Moments:
    """Moments of a list of candidate questions for one user, of the weights alone.

    Args:
        key: Drives ``thompson`` and ``random``; the other rules ignore it.
        gap: Feature gaps ``[candidate, factor]`` and offsets ``[candidate]``.
        belief: What is known of the user.
        target: C, the second moment of the gaps on which ``v_optimal`` wants certainty.

    Returns:
        Moments of shape ``[candidate]``. Under ``jit`` only those the rule reads are computed.
    """
    key_sample, key_noise = jax.random.split(key)
    features, offset = jnp.asarray(gap.features), jnp.asarray(gap.offset)
    spread = features @ belief.covariance
    samples = features @ sample_weights(key_sample, belief).T + offset[:, None]
    return Moments(
        logit=features @ belief.mean + offset,
        variance=jnp.maximum(jnp.sum(spread * features, axis=-1), 0),
        reduction=jnp.maximum(jnp.sum(spread @ target * spread, axis=-1), 0),
        first_sample=samples[:, 0],
        second_sample=samples[:, 1],
        noise=jax.random.uniform(key_noise, offset.shape, offset.dtype),
    )


def teachable(moments: Moments, variance: Float[Array, "*question"] | float) -> Moments:
    """What a rule may know where a part of the logit is uncertain whoever answers.

    With ``κ = 1 / √(1 + π c / 8)`` the answer to ``z + N(0, c)`` is nearly that to ``κ z``, so that
    the logit and the variance of which it tells are smaller by κ and κ²: such a question teaches
    less of the person than one about responses whose rewards are known.

    Args:
        moments: Of the weights alone.
        variance: C, the variance that the weights have no part in.
    """
    kappa = logit_shrinkage(variance).astype(moments.logit.dtype)
    if kappa.ndim == 0:
        kappa = kappa.reshape((1,) * moments.logit.ndim)
    return Moments(
        logit=kappa * moments.logit,
        variance=jnp.square(kappa) * moments.variance,
        reduction=jnp.square(kappa) * moments.reduction,
        first_sample=kappa * moments.first_sample,
        second_sample=kappa * moments.second_sample,
        noise=moments.noise,
    )


def score(
    key: PRNGKey,
    gap: FeatureGap,
    belief: Gaussian,
    *,
    rule: str = "d_optimal",
    target: Float[Array, "factor factor"] | None = None,
) -> Float[jax.Array, " candidate"]:
    """Score a list of candidate questions for one user; the largest is the one to ask.

    Args:
        key: Drives ``thompson`` and ``random``.
        gap: Feature gaps ``[candidate, factor]`` and offsets ``[candidate]``.
        belief: What is known of the user.
        rule: A name in `RULES`. ``official`` differs from ``prob_variance`` only inside a loop.
        target: C of ``v_optimal``; by default the mean of ``f fᵀ`` over the candidates.

    Raises:
        ValueError: The rule is unknown.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from prefjax.types import FeatureGap, Gaussian
        >>> gap = FeatureGap(features=jnp.array([[1.0, 0.0], [0.0, 2.0]]), offset=jnp.zeros(2))
        >>> belief = Gaussian(mean=jnp.zeros(2), covariance=jnp.eye(2))
        >>> [float(x) for x in score(jax.random.key(0), gap, belief, rule="eq8")]
        [1.0, 4.0]
    """
    features = jnp.asarray(gap.features)
    if target is None:
        target = features.T @ features / features.shape[0]
    chosen = get_rule(rule)
    moments = moments_of(key, gap, belief, target)
    return chosen.finish(jnp.asarray(chosen.rank_of(moments, gap.variance)))
