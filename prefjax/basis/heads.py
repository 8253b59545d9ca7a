"""The reward head: from a frozen embedding to base rewards, in Flax (NNX).

    [φ_1 … φ_J, t] = zᵀ θ + b,    z = e                      linear
                                  z = [e, h(e)/√width]       with hidden layers, h = gelu ∘ … ∘ gelu

e is the embedding of a response, φ its features, t the utility that everybody shares. Hidden layers
are added beside the linear map, never instead of it, so an MLP starts as good as the linear head
and θ stays a closed-form problem in both. The bias b cancels between two responses; it puts the
mean response at zero, and matters for votes, which are compared with a baseline of zero.

Layers are declared in NNX; parameters travel as a plain dict, ``{"out": {"kernel": θ, "bias": b},
"trunk": {"layer0": {"kernel", "bias"}, …}}``, without ``trunk`` in the linear head. Widths are
those of the arrays, so that no configuration is needed to apply a head.

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

from prefjax.basis.standardizer import Standardizer
from prefjax.basis.state import EMConfig
from prefjax.types import Array, Items, Params, PRNGKey, RewardBasis


@dataclass(frozen=True)
class HeadConfig(EMConfig):
    """Settings of a head and of its fit, on top of those of `EMConfig`.

    A linear head stops when a round gains too little; a head with hidden layers takes all
    ``max_steps`` rounds, because the size of its steps decays over them.

    Attributes:
        hidden: Widths of the hidden layers; empty for a linear head.
        trunk_penalty: Prior precision of the hidden kernels, in units of their spread at `init`.
        learning_rate: First learning rate of Adam on the hidden layers; it decays to 0 by a cosine.
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
        hidden: Widths of the hidden layers.
        num_outputs: J + 1.
        rngs: Source of the hidden kernels. They suit inputs of mean squared norm 1.
    """

    def __init__(self, num_inputs: int, hidden: tuple[int, ...], num_outputs: int, rngs: nnx.Rngs):
        self.trunk = nnx.Dict()
        for i, (fan_in, width) in enumerate(pairwise((num_inputs, *hidden))):
            spread = math.sqrt(1 / kernel_precision(i, fan_in))
            self.trunk[f"layer{i}"] = nnx.Linear(
                fan_in, width, kernel_init=nnx.initializers.normal(spread), rngs=rngs
            )
        num_expanded = num_inputs + (hidden[-1] if hidden else 0)
        self.out = nnx.Linear(
            num_expanded, num_outputs, kernel_init=nnx.initializers.zeros, rngs=rngs
        )

    def expand(
        self, embeddings: Float[Array, "*response input"]
    ) -> Float[Array, "*response expanded"]:
        """The inputs z of every response: what the last, linear layer sees."""
        hidden = embeddings
        for i in range(len(self.trunk)):
            hidden = jax.nn.gelu(self.trunk[f"layer{i}"](hidden))
        if hidden is embeddings:
            return embeddings
        return jnp.concatenate([embeddings, hidden / math.sqrt(hidden.shape[-1])], axis=-1)

    def __call__(
        self, embeddings: Float[Array, "*response input"]
    ) -> Float[Array, "*response factor_and_utility"]:
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
        config: Widths of the head.
    """
    head = RewardHead(num_inputs, config.hidden, config.num_factors + 1, nnx.Rngs(key))
    return nnx.to_pure_dict(nnx.state(head, nnx.Param))


def linear_params(kernel: Float[Array, "input factor_and_utility"]) -> Params:
    """A linear head with this last layer and no bias."""
    return {"out": {"kernel": kernel, "bias": jnp.zeros(kernel.shape[-1], kernel.dtype)}}


def with_kernel(params: Params, kernel: Float[Array, "expanded factor_and_utility"]) -> Params:
    """The same head with another last layer."""
    return {**params, **linear_params(kernel)}


def merge(params: Params) -> RewardHead:
    """The module with these parameters; call it inside the jitted function."""
    trunk = params.get("trunk", {})
    kernels = [trunk[f"layer{i}"]["kernel"] for i in range(len(trunk))]
    num_expanded, num_outputs = params["out"]["kernel"].shape
    hidden = tuple(kernel.shape[1] for kernel in kernels)
    num_inputs = kernels[0].shape[0] if kernels else num_expanded
    abstract = nnx.eval_shape(lambda: RewardHead(num_inputs, hidden, num_outputs, nnx.Rngs(0)))
    graph, state = nnx.split(abstract, nnx.Param)
    nnx.replace_by_pure_dict(state, dict(without_spread(params)))
    return nnx.merge(graph, state)


def apply(params: Params, embeddings: Float[Array, "*response input"] | None) -> Items:
    """Features φ and utility t of any responses.

    Args:
        params: Of a `RewardBasis`, linear or with hidden layers.
        embeddings: Any leading axes. None for free factors: every response has its own row of θ.

    Examples:
        >>> params = init(jax.random.key(0), 3, HeadConfig(num_factors=2, hidden=(8,)))
        >>> items = apply(params, jnp.ones((5, 3)))
        >>> items.features.shape, items.utility.shape
        ((5, 2), (5,))
    """
    if embeddings is None:
        out = params["out"]
        table = out["kernel"] + jnp.asarray(out["bias"])[None]
    else:
        table = merge(params)(embeddings)
    return Items(table[..., :-1], table[..., -1], _spread(params, embeddings))


def _spread(params: Params, embeddings: Float[Array, "*response input"] | None):
    """ψ of any responses; None where the head says nothing of its uncertainty."""
    if "spread" not in params:
        return None
    kernel, bias = params["spread"]["kernel"], jnp.asarray(params["spread"]["bias"])
    table = kernel if embeddings is None else jnp.asarray(embeddings) @ kernel
    return table + bias.reshape((1,) * (table.ndim - 1) + (-1,))


def expand(
    params: Params, embeddings: Float[Array, "response input"]
) -> Float[Array, "response expanded"]:
    """The inputs z of every response; see `RewardHead.expand`."""
    return merge(params).expand(embeddings)


def trunk_decay(params: Params, config: HeadConfig) -> Float[Array, ""]:
    """½ ρ Σ_layers ‖K‖²/variance at `init`: the penalty on hidden kernels, in nats."""
    total = jnp.zeros(())
    for i in range(len(config.hidden)):
        kernel = params["trunk"][f"layer{i}"]["kernel"]
        total = total + kernel_precision(i, kernel.shape[0]) * jnp.sum(jnp.square(kernel))
    return 0.5 * config.trunk_penalty * total


def without_spread(params: Params) -> Params:
    """The head alone, taken as certain."""
    return {name: layer for name, layer in params.items() if name != "spread"}


def with_spread(
    basis: RewardBasis,
    kernel: Float[Array, "input column"],
    standardizer: Standardizer | None,
) -> RewardBasis:
    """The basis with how uncertain its linear head is.

    Args:
        basis: For raw embeddings.
        kernel: L of `prefjax.basis.uncertainty`, for their standardized form.
        standardizer: Of the problem that was fitted.
    """
    bias = jnp.zeros(kernel.shape[1], kernel.dtype)
    alone = basis._replace(params={"out": {"kernel": kernel, "bias": bias}})
    folded = to_raw(alone, standardizer).params["out"]
    return basis._replace(params={**basis.params, "spread": folded})


def to_raw(basis: RewardBasis, standardizer: Standardizer | None) -> RewardBasis:
    """The basis for raw embeddings from the basis for their standardized form.

    Args:
        basis: Fitted to ``(e − c) / s``, with a constant input last where there were votes.
        standardizer: c, s and the constant; None leaves the basis as it is.
    """
    if standardizer is None:
        return basis
    num_raw = standardizer.center.shape[0]
    num_inputs = num_raw + standardizer.intercept.shape[0]
    shift = standardizer.center / standardizer.scale

    def fold(layer):
        kernel, bias = layer["kernel"], layer["bias"]
        direct, rest = kernel[:num_raw], kernel[num_inputs:]
        bias = bias - shift @ direct + standardizer.intercept @ kernel[num_raw:num_inputs]
        direct = direct / standardizer.scale[:, None]
        return {"kernel": jnp.concatenate([direct, rest]), "bias": bias}

    params = {**basis.params, "out": fold(basis.params["out"])}
    if "trunk" in params:
        trunk = params["trunk"]
        params["trunk"] = {**trunk, "layer0": fold(trunk["layer0"])}
    return basis._replace(params=params)
