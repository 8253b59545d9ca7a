"""The question of section 4.2: two responses between which the answer says most about a user.

The pair that would be best has features ±½ν along ν, the least certain direction of the posterior.
The default looks among given responses, exactly (`prefjax.person.select`). Steered generation is
the alternative: half of the new responses are drawn with weights +κν and half with −κν, scored like
all others, and added to the given ones, so the pair is never below the best pair of the pool.

References:
    PReF, arXiv 2503.06358, section 4.2 and Lemma 4.3.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax.person import ResponsePool, Rule, select, split_index
from prefjax.types import Array, Gaussian, PRNGKey


class QuestionPair(NamedTuple):
    """Two responses to one prompt.

    Attributes:
        first: Index of the one response; those beyond the pool's are the generated ones.
        second: Index of the other response.
        score: Score of the pair under the rule.
        pool_score: Score of the best pair of the pool alone, never above ``score``.
        generated: Whether a generated response is among them.
    """

    first: Int[Array, ""]
    second: Int[Array, ""]
    score: Float[Array, ""]
    pool_score: Float[Array, ""]
    generated: Bool[Array, ""]


def steering_weights(
    covariance: Float[Array, "factor factor"], kappa: float, num: int
) -> Float[jax.Array, "response factor"]:
    """Weights +κν for the first half of ``num`` responses and −κν for the rest.

    Args:
        covariance: Posterior covariance of the user's weights.
        kappa: κ, length of the weights; the further, the more strongly responses are steered.
        num: Number of responses, even.

    Raises:
        ValueError: If ``num`` is odd or below 2.
    """
    if num < 2 or num % 2:
        raise ValueError(f"num must be even and at least 2, got {num}")
    direction = jnp.linalg.eigh(covariance)[1][:, -1]
    side = jnp.repeat(jnp.array([1.0, -1.0]), num // 2)
    return kappa * side[:, None] * direction[None]


def question_pair(
    key: PRNGKey,
    belief: Gaussian,
    features: Float[Array, "response factor"],
    utility: Float[Array, " response"],
    generated: tuple[Float[Array, "new factor"], Float[Array, " new"]] | None = None,
    *,
    rule: Rule,
) -> QuestionPair:
    """The best question among the responses to one prompt; pure.

    Args:
        key: Random key of rules that draw.
        belief: What is known of the user's weights.
        features: φ of the pool's responses.
        utility: t of the pool's responses.
        generated: φ and t of steered responses, scored by the same basis; None for the pool alone.
        rule: How pairs are scored, an entry of `prefjax.person.RULES`.
    """
    asked = jnp.full((1,), -1, jnp.int32)

    def best(features, utility):
        pool = ResponsePool(features[None], utility[None], jnp.ones((1, len(utility)), bool))
        question = select(key, pool, belief, asked, rule)
        _, first, second = split_index(pool, question.index)
        return question.score, first, second

    score, first, second = pool_score, *_ = best(features, utility)
    if generated is not None:
        both = [jnp.concatenate(pair) for pair in zip((features, utility), generated, strict=True)]
        wide, *pair = best(*both)
        # Features are centered by prompt before they are compared, which rounds otherwise.
        better = wide > pool_score
        score = jnp.where(better, wide, score)
        first, second = (
            jnp.where(better, new, old) for new, old in zip(pair, (first, second), strict=True)
        )
    is_new = jnp.maximum(first, second) >= len(utility)
    return QuestionPair(first, second, score, pool_score, is_new)
