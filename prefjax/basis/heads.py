"""The reward head: from a frozen embedding to base rewards, in Flax (NNX).

    [φ_1 … φ_J, t] = zᵀ θ,    z = e                      linear
                              z = [e, h(e)/√width]       with hidden layers,  h = gelu ∘ … ∘ gelu

e is the embedding of a response, φ its features, t the utility that everybody shares. Hidden layers
are added beside the linear map, never instead of it, so an MLP starts as good as the linear head
and θ stays a closed-form problem in both. There is no output bias: it would cancel in every
comparison.

Layers are declared in NNX; parameters travel as a plain dict, ``{"out": {"kernel": θ}, "trunk":
{"layer0": {"kernel", "bias"}, …}}``, without ``trunk`` in the linear head.

References:
    arXiv 2503.06358, eq. 2 and section 4 (φ is a linear map or an MLP over embeddings).
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float

from prefjax.basis.state import EMConfig
from prefjax.types import Array, Items, Params, PRNGKey


@dataclass(frozen=True)
class HeadConfig(EMConfig):
    """Settings of a head and of its fit, on top of those of `EMConfig`.

    A linear head stops when a round gains too little; a head with hidden layers takes all
    ``max_steps`` rounds, because the size of its steps decays over them.

    Attributes:
        hidden: Widths of the hidden layers; empty for a linear head.
        trunk_penalty: Prior precision of the hidden kernels, in units of their spread at `init`.
        learning_rate: Of Adam on the hidden layers at the start; it decays to 0 by a cosine.
        trunk_steps: Adam steps on the hidden layers in a round.
        regression_steps: Adam steps on the hidden layers in the regression on target factors.
    """

    hidden: tuple[int, ...] = ()
    trunk_penalty: float = 1.0
    learning_rate: float = 0.03
    trunk_steps: int = 4
    regression_steps: int = 100


class RewardHead(nnx.Module):
    """The network of the module's equation.

    Args:
        num_inputs: Width D of an embedding.
        config: Its ``hidden`` and ``num_factors``.
        rngs: Source of the hidden kernels. They suit inputs of mean squared norm 1.
    """

    def __init__(self, num_inputs: int, config: HeadConfig, *, rngs: nnx.Rngs):
        widths = (num_inputs, *config.hidden)
        self.trunk = nnx.Dict()
        for i, (fan_in, width) in enumerate(pairwise(widths)):
            spread = math.sqrt(1 / kernel_precision(i, fan_in))
            self.trunk[f"layer{i}"] = nnx.Linear(
                fan_in, width, kernel_init=nnx.initializers.normal(spread), rngs=rngs
            )
        num_expanded = num_inputs + (config.hidden[-1] if config.hidden else 0)
        self.out = nnx.Linear(
            num_expanded,
            config.num_factors + 1,
            use_bias=False,
            kernel_init=nnx.initializers.zeros,
            rngs=rngs,
        )

    def expand(
        self, embeddings: Float[Array, "response input"]
    ) -> Float[Array, "response expanded"]:
        """The inputs z of every response: what the last, linear layer sees."""
        hidden = embeddings
        for i in range(len(self.trunk)):
            hidden = jax.nn.gelu(self.trunk[f"layer{i}"](hidden))
        if hidden is embeddings:
            return embeddings
        return jnp.concatenate([embeddings, hidden / math.sqrt(hidden.shape[1])], axis=1)

    def __call__(
        self, embeddings: Float[Array, "response input"]
    ) -> Float[Array, "response factor_and_utility"]:
        """[φ, t] of every response."""
        return self.out(jnp.asarray(self.expand(embeddings)))


def kernel_precision(layer: int, fan_in: int) -> float:
    """Inverse variance of a hidden kernel at `init`; keeps activations of order 1."""
    return 1.0 if layer == 0 else float(fan_in)


def init(key: PRNGKey, num_inputs: int, config: HeadConfig) -> Params:
    """Random hidden layers and a last layer of zeros, as a plain dict of arrays.

    Args:
        key: Draws the hidden kernels; without effect on a linear head.
        num_inputs: Width D of an embedding.
        config: Structure of the head.
    """
    head = RewardHead(num_inputs, config, rngs=nnx.Rngs(key))
    return nnx.to_pure_dict(nnx.state(head, nnx.Param))


def merge(params: Params, num_inputs: int, config: HeadConfig) -> RewardHead:
    """The module with these parameters; call it inside the jitted function."""
    blank = nnx.eval_shape(lambda: RewardHead(num_inputs, config, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(blank, nnx.Param)
    nnx.replace_by_pure_dict(state, dict(params))
    return nnx.merge(graph, state)


def apply(params: Params, embeddings: Float[Array, "response input"], config: HeadConfig) -> Items:
    """Features φ and utility t of every response.

    Args:
        params: From `init` or a fit.
        embeddings: One row a response.
        config: The structure with which ``params`` were made.

    Examples:
        >>> config = HeadConfig(num_factors=2, hidden=(8,))
        >>> params = init(jax.random.key(0), 3, config)
        >>> items = apply(params, jnp.ones((5, 3)), config)
        >>> items.features.shape, items.utility.shape
        ((5, 2), (5,))
    """
    table = merge(params, embeddings.shape[1], config)(embeddings)
    return Items(features=table[:, :-1], utility=table[:, -1])


def expand(
    params: Params, embeddings: Float[Array, "response input"], config: HeadConfig
) -> Float[Array, "response expanded"]:
    """The inputs z of every response; see `RewardHead.expand`."""
    return merge(params, embeddings.shape[1], config).expand(embeddings)


def trunk_decay(params: Params, config: HeadConfig) -> Float[Array, ""]:
    """½ ρ Σ_layers ‖K‖²/variance at `init`: the penalty on hidden kernels, in nats."""
    total = jnp.zeros(())
    for i in range(len(config.hidden)):
        kernel = params["trunk"][f"layer{i}"]["kernel"]
        total = total + kernel_precision(i, kernel.shape[0]) * jnp.sum(jnp.square(kernel))
    return 0.5 * config.trunk_penalty * total
