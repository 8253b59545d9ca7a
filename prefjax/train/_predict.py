"""What a trained run expects of its users: the probability that the first response is preferred.

    p = E_{z ~ N(s, v)} σ(z),   s = m_u·f + t,   v = Σ_j S_uj f_j²   (v = 0 for MAP)

The edge of the host: an index that does not exist is an error here and never the row of another.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax import variational
from prefjax.parallel import fetch
from prefjax.train.batch import Batch
from prefjax.train.layout import UserLayout
from prefjax.train.objective import feature_gap
from prefjax.train.problem import ModelConfig
from prefjax.train.state import TrainState
from prefjax.types import BASELINE, Array


def predict(
    state: TrainState,
    layout: UserLayout,
    embeddings: Float[Array, "response input"],
    user: Int[np.ndarray, " pair"],
    first: Int[np.ndarray, " pair"],
    second: Int[np.ndarray, " pair"],
    *,
    config: ModelConfig,
) -> Float[np.ndarray, " pair"]:
    """Gives the probabilities that training users prefer the first response.

    Args:
        state: State of a `TrainResult`.
        layout: Layout of the same result.
        embeddings: One a response, of the run or new ones.
        user: User of each pair.
        first: First response.
        second: Second response, or ``BASELINE``.
        config: What was fitted.

    Raises:
        KeyError: There is no such user or response.
    """
    for name, index, low, count in (
        ("user", user, 0, layout.num_users),
        ("response", first, 0, len(embeddings)),
        ("response", second, BASELINE, len(embeddings)),
    ):
        unknown = index[(index < low) | (index >= count)]
        if unknown.size:
            raise KeyError(f"no {name} {unknown[0]}: there are {count}")
    place = layout.locate(user)
    one = np.ones(len(user), np.float32)
    pairs = Batch(row=place[1], first=first, second=second, label=one, sample_weight=one)
    params = jax.tree.map(jnp.asarray, fetch(state.params))
    features, offset = feature_gap(params, jnp.asarray(embeddings), pairs, config)
    location = jnp.sum(fetch(state.users.mean)[place] * features, axis=-1) + offset
    if state.users.log_variance is None:
        return np.asarray(jax.nn.sigmoid(location))
    variance = np.exp(fetch(state.users.log_variance)[place])
    spread = jnp.sum(variance * jnp.square(features), axis=-1)
    return np.asarray(variational.quadrature(location, spread).slope)
