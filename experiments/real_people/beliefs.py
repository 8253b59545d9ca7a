"""What is believed of new people after each number of answers, and how well it orders pairs."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax import metrics
from prefjax.numerics import positive_inverse
from prefjax.person import ElicitConfig, PairPool, adapt_path, elicit, laplace, make_recorded


class Path(NamedTuple):
    """Weights of every new person after each number of answers, and how uncertain they are."""

    weights: Float[jax.Array, "answers user factor"]
    covariance: Float[jax.Array, "answers user factor factor"]


@jax.jit
def random_path(features, offset, batch, counts, prior) -> Path:
    """Beliefs after the first answers of every user; they come in random order."""
    columns = features, offset, batch.label, batch.sample_weight
    fits = adapt_path(*columns, counts, prior=prior)
    return Path(jnp.asarray(fits.weights), jax.vmap(jax.vmap(positive_inverse))(fits.hessian))


@jax.jit
def adaptive_path(key, features, offset, batch, counts, prior) -> Path:
    """Beliefs after answers to questions chosen among those the person did answer."""
    num_users, num_questions = batch.label.shape
    config = ElicitConfig(num_questions=num_questions, rule="d_optimal")

    def interview(key, features, offset, label, mask):
        pool = PairPool(features=features, offset=offset, mask=mask)
        path = elicit(key, pool, make_recorded(label), prior, config)
        return Path(
            jnp.asarray(path.weights)[counts], jax.vmap(positive_inverse)(path.hessian[counts])
        )

    keys = jax.random.split(key, num_users)
    paths = jax.vmap(interview)(keys, features, offset, batch.label, batch.mask)
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), paths)


@partial(jax.jit, static_argnames="mirrored")
def user_auc(features, offset, path, tests, mirrored):
    """AUC of every user after each number of answers, by the moderated logit: [answers, user]."""
    mean = jnp.einsum("upj,nuj->nup", features, path.weights) + offset[None]
    variance = jnp.einsum("upi,nuij,upj->nup", features, path.covariance, features)
    one = partial(metrics.auc, mirrored=mirrored)
    score = laplace.moderated_logit(mean, variance)
    return jax.vmap(jax.vmap(one), in_axes=(0, None, None))(score, tests.label, tests.mask)
