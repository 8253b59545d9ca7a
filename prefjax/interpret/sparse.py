"""A sparse autoencoder over differences of responses: few features a pair, each to be read alone.

    z(Δ) = E Δ ∘ 1[|E Δ| ≥ θ],    Δ̂_m = Σ_{i ≤ m} z_i d_i,    ‖d_i‖ = 1,
    loss = Σ_m mean ‖Δ − Δ̂_m‖² / mean ‖Δ‖²    over prefixes m of the features (8 and 32).

While training, θ is what leaves K entries a pair active on average over a batch, whatever their
sign; afterwards it is the average of these. There are no biases anywhere, so that
z(−Δ) = −z(Δ) exactly: swapping two responses turns every feature round. The prefixes make the
first features say the most. Features that hardly any pair activates are counted as dead; a smaller
learning rate leaves fewer of them.

Δ is a difference of embeddings, or of base rewards φ, in which case the features are atoms of what
people disagree about. People weigh the features through a few factors, as in any other basis: the
code takes the place of an embedding, and the same fit finds who people are.

References:
    arXiv 2412.06410 (batch top-k), 2503.17547 (Matryoshka), 2510.26202 (sparse features of
    preference data, signed and over differences).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int

from prefjax.settings import check_settings
from prefjax.types import Array, PRNGKey


@dataclass(frozen=True)
class SparseConfig:
    """Settings of the autoencoder.

    Attributes:
        num_features: M.
        num_active: K, active features of a pair on average.
        prefixes: Numbers of leading features that must reconstruct on their own, ascending; the
            last is M.
        num_steps: Steps of Adam.
        batch_size: Pairs of a step.
        learning_rate: First learning rate; it decays to 0 by a cosine.
        min_rate: Share of the pairs that a feature must activate lest it counts as dead.

    Raises:
        ValueError: A number is below 1, K exceeds M, or the prefixes do not end at M.
    """

    num_features: int = 32
    num_active: int = 6
    prefixes: tuple[int, ...] = (8, 32)
    num_steps: int = 3000
    batch_size: int = 512
    learning_rate: float = 0.002
    min_rate: float = 1e-3

    def __post_init__(self):
        check_settings(self, "num_features", "num_active", "num_steps", "batch_size")
        if self.num_active > self.num_features:
            raise ValueError(
                f"num_active={self.num_active} of num_features={self.num_features} cannot be active"
            )
        ascending = all(a < b for a, b in zip(self.prefixes, self.prefixes[1:], strict=False))
        if not self.prefixes or self.prefixes[-1] != self.num_features or not ascending:
            raise ValueError(
                f"prefixes must rise to num_features={self.num_features}, got {self.prefixes}"
            )


class SparseCode(NamedTuple):
    """The autoencoder.

    Attributes:
        encoder: E.
        decoder: d_i, rows of length 1.
        threshold: θ.
    """

    encoder: Float[Array, "input feature"]
    decoder: Float[Array, "feature input"]
    threshold: Float[Array, ""]


class SparseInfo(NamedTuple):
    """How a code turned out, on the pairs that it was trained on.

    Attributes:
        explained: Share of the mean square of Δ that all features reconstruct.
        alive: Share of the features that at least ``min_rate`` of the pairs activates.
        num_dead: The features that are not alive.
        num_active: Active features of a pair on average.
        objective: Loss before each step.
    """

    explained: Float[Array, ""]
    alive: Float[Array, ""]
    num_dead: Int[Array, ""]
    num_active: Float[Array, ""]
    objective: Float[Array, " step"]


DEFAULT = SparseConfig()


def encode(
    code: SparseCode, difference: Float[Array, "*pair input"]
) -> Float[jax.Array, "*pair feature"]:
    """Z of differences, odd to the bit.

    Args:
        code: From `fit_sparse_code`.
        difference: First minus second response.
    """
    full = jnp.asarray(difference) @ code.encoder
    return jnp.where(jnp.abs(full) >= code.threshold, full, 0.0)


def decode(
    code: SparseCode, features: Float[Array, "*pair feature"]
) -> Float[jax.Array, "*pair input"]:
    """The difference that features stand for.

    Args:
        code: From `fit_sparse_code`.
        features: z.
    """
    return jnp.asarray(features) @ code.decoder


def _loss(params, batch, config: SparseConfig):
    decoder = _normalized(params)["decoder"]
    full = batch @ params["encoder"]
    size = jnp.abs(full)
    num_active = config.num_active * batch.shape[0]
    threshold = jax.lax.stop_gradient(jax.lax.top_k(size.reshape(-1), num_active)[0][-1])
    features = jnp.where(size >= threshold, full, 0.0)
    total = jnp.mean(jnp.sum(batch**2, axis=1))
    loss = jnp.zeros(())
    for prefix in config.prefixes:
        residual = batch - features[:, :prefix] @ decoder[:prefix]
        loss = loss + jnp.mean(jnp.sum(residual**2, axis=1)) / total
    return loss, threshold


def _normalized(params: Any) -> Any:
    norm = jnp.linalg.norm(params["decoder"], axis=1, keepdims=True)
    return {**params, "decoder": params["decoder"] / jnp.maximum(norm, 1e-12)}


@partial(jax.jit, static_argnames="config")
def _fit(key, differences, config: SparseConfig):
    start_key, draw_key = jax.random.split(key)
    num_pairs, num_inputs = differences.shape
    scale = jnp.sqrt(jnp.mean(jnp.sum(differences**2, axis=1)))
    data = differences / jnp.maximum(scale, 1e-30)
    decoder = jax.random.normal(start_key, (config.num_features, num_inputs))
    decoder = decoder / jnp.linalg.norm(decoder, axis=1, keepdims=True)
    params = {"encoder": decoder.T, "decoder": decoder}
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.num_steps))

    def step(carry, key):
        params, moments, threshold = carry
        batch = data[jax.random.randint(key, (config.batch_size,), 0, num_pairs)]
        (loss, own), gradient = jax.value_and_grad(_loss, has_aux=True)(params, batch, config)
        update, moments = optimizer.update(gradient, moments, params)
        params = _normalized(optax.apply_updates(params, update))
        # An average over the last hundred steps or so, when the parameters hardly move.
        return (params, moments, 0.99 * threshold + 0.01 * own), loss

    carry = params, optimizer.init(params), jnp.zeros(())
    keys = jax.random.split(draw_key, config.num_steps)
    (params, _, threshold), objective = jax.lax.scan(step, carry, keys)
    threshold = threshold / (1.0 - 0.99**config.num_steps) * scale
    code = SparseCode(params["encoder"], params["decoder"], threshold)
    features = encode(code, differences)
    residual = differences - decode(code, features)
    active = jnp.mean(features != 0, axis=0)
    alive = active >= config.min_rate
    info = SparseInfo(
        explained=1 - jnp.sum(residual**2) / jnp.maximum(jnp.sum(differences**2), 1e-30),
        alive=jnp.mean(alive),
        num_dead=jnp.sum(~alive),
        num_active=jnp.sum(active),
        objective=objective,
    )
    return code, info


def fit_sparse_code(
    key: PRNGKey, differences: Float[Array, "pair input"], *, config: SparseConfig = DEFAULT
) -> tuple[SparseCode, SparseInfo]:
    """Trains the autoencoder; pure.

    Args:
        key: Draws the start and the batches.
        differences: Δ of many pairs, in either order.
        config: Settings, static.
    """
    return _fit(key, jnp.asarray(differences, jnp.float32), config)
