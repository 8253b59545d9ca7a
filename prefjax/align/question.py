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
from prefjax.types import Array, Gaussian, Items, PRNGKey


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
    items: Items,
    generated: Items | None = None,
    *,
    rule: Rule,
) -> QuestionPair:
    """The best question among the responses to one prompt; pure.

    Args:
        key: Random key of rules that draw.
        belief: What is known of the user's weights.
        items: φ and t of the pool's responses, and how uncertain they are.
        generated: The same of steered responses by the same basis; None for the pool alone.
        rule: How pairs are scored, an entry of `prefjax.person.RULES`.
    """
    asked = jnp.full((1,), -1, jnp.int32)

    def best(items: Items):
        features, utility, spread = jax.tree.map(lambda part: part[None], items)
        pool = ResponsePool(features, utility, jnp.ones(utility.shape, bool), spread)
        question = select(key, pool, belief, asked, rule)
        _, first, second = split_index(pool, question.index)
        return question.score, first, second

    score, first, second = pool_score, *_ = best(items)
    if generated is not None:
        both = jax.tree.map(lambda *parts: jnp.concatenate(parts), items, generated)
        wide, *pair = best(both)
        # Features are centered by prompt before they are compared, which rounds otherwise.
        better = wide > pool_score
        score = jnp.where(better, wide, score)
        first, second = (
            jnp.where(better, new, old) for new, old in zip(pair, (first, second), strict=True)
        )
    is_new = jnp.maximum(first, second) >= len(items.utility)
    return QuestionPair(first, second, score, pool_score, is_new)
