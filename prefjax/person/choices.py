"""One person who chooses one among several: weights from such choices, and what to show next.

The likelihood is that of `prefjax.logistic.softmax`; what comes of it is a belief like any.
How much a question with several responses tells is the gain in ``log det H``,

    log det(I + C V),    C = diag p − p pᵀ,    V = F S Fᵀ,

with p the probabilities of the choice under the mean weights: with two shown it is ``d_optimal`` of
`prefjax.person.acquisition`. The best k of many are found greedily from the best pair: each gain is
what the choice as a whole would tell.

References:
    arXiv 2503.06358, Eq. 8, for pairs.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax import logistic
from prefjax.logistic import LogisticFit, Solver, softmax_expectation
from prefjax.types import Array, Gaussian, Population


def adapt_choices(
    features: Float[Array, "user choice shown factor"],
    offset: Float[Array, "user choice shown"],
    label: Float[Array, "user choice shown"],
    mask: Bool[Array, "user choice shown"],
    sample_weight: Float[Array, "user choice"],
    *,
    prior: Population,
    posterior_scale: Float[Array, ""] | float = 1.0,
    config: Solver = logistic.GAUSSIAN,
) -> LogisticFit:
    """Fits the weights of many users under one prior, as `adapt` does from pairs; pure.

    Args:
        features: φ of everything that was shown to each user, padded to one size.
        offset: t of it.
        label: Probability that each was chosen, summing to 1.
        mask: What was shown; padding may hold anything.
        sample_weight: Weight of each choice, 0 for padding.
        prior: Population of a `RewardBasis`, or `ridge_prior`.
        posterior_scale: That of the basis; the MAP of a `NewtonConfig` knows none.
        config: Which posterior, and when to stop.

    Returns:
        A ``LogisticFit`` with a leading user axis; users without choices have the prior mean.
    """
    solve = partial(
        logistic.fit_choices_under,
        prior=prior,
        posterior_scale=posterior_scale,
        config=config,
    )
    return jax.vmap(lambda f, o, y, m, w: solve(f, y, m, w, offset=o))(
        features, offset, label, mask, sample_weight
    )


def choice_gain(
    belief: Gaussian,
    features: Float[Array, "shown factor"],
    offset: Float[Array, " shown"],
    mask: Bool[Array, " shown"],
) -> Float[jax.Array, ""]:
    """Gain in ``log det H`` from one choice among the responses shown, in nats.

    Args:
        belief: What is known of the user.
        features: φ of each response.
        offset: t of each.
        mask: Which are shown.

    >>> belief = Gaussian(jnp.zeros(1), jnp.eye(1))
    >>> pair = jnp.array([[1.0], [0.0]]), jnp.zeros(2), jnp.ones(2, bool)
    >>> round(float(choice_gain(belief, *pair)), 4)  # log(1 + v / 4) at v = 1
    0.2231
    """
    features = jnp.where(mask[:, None], features, 0)
    rewards = features @ belief.mean + jnp.where(mask, offset, 0)
    curvature = softmax_expectation.expect(rewards, None, mask).curvature
    told = features.T @ curvature @ features
    root = jnp.linalg.cholesky(belief.covariance)
    eye = jnp.eye(len(root), dtype=root.dtype)
    return jnp.linalg.slogdet(eye + root.T @ told @ root)[1]


@partial(jax.jit, static_argnames="num_shown")
def select_choice(
    belief: Gaussian,
    features: Float[Array, "response factor"],
    offset: Float[Array, " response"],
    mask: Bool[Array, " response"],
    num_shown: int,
) -> tuple[Int[jax.Array, " shown"], Float[jax.Array, ""]]:
    """The responses of one prompt to choose among, the best pair first, and their gain.

    Args:
        belief: What is known of the user.
        features: φ of every response to the prompt.
        offset: t of each.
        mask: False for padding; at least ``num_shown`` must be True.
        num_shown: How many are shown, static.
    """
    features, offset, mask = (jnp.asarray(part) for part in (features, offset, mask))
    size = len(offset)

    def gain(place: Int[Array, " shown"]) -> Float[Array, ""]:
        ones = jnp.ones(place.shape, bool)
        return choice_gain(belief, features[place], offset[place], ones)

    first, second = jnp.triu_indices(size, 1)
    pairs = jnp.stack([first, second], axis=1)
    gains = jnp.where(mask[first] & mask[second], jax.lax.map(gain, pairs), -jnp.inf)
    chosen, best = pairs[jnp.argmax(gains)], jnp.max(gains)
    for _ in range(2, num_shown):
        sets = jnp.concatenate(
            [jnp.broadcast_to(chosen, (size, len(chosen))), jnp.arange(size)[:, None]], axis=1
        )
        is_free = mask & ~jnp.any(jnp.arange(size)[:, None] == chosen[None, :], axis=1)
        gains = jnp.where(is_free, jax.vmap(gain)(sets), -jnp.inf)
        chosen = jnp.append(chosen, jnp.argmax(gains))
        best = jnp.max(gains)
    return chosen, best
