"""The decoder as a Flax module, for code that composes NNX modules.

The mathematics is that of ``prefjax.lm.model``; the module holds the parameters. In a loop, take
``model.params`` once and carry it through ``jax.jit``: ``nnx.jit`` costs more per call than a small
model computes.
"""

from typing import Any

from flax import nnx
from jaxtyping import Bool, Float, Int

from prefjax.lm.config import QwenConfig
from prefjax.lm.model import forward, logits
from prefjax.lm.params import init_params, unstack_layers
from prefjax.types import Array, Params


class Qwen(nnx.Module):
    """A Qwen2 or Qwen3 decoder with parameters of its own.

    Args:
        config: Static configuration.
        params: Parameters to hold, as from ``load``; random ones by default.
        rngs: Source of random parameters.

    Raises:
        ValueError: Neither parameters nor a source of random ones are given.
    """

    def __init__(
        self, config: QwenConfig, params: Params | None = None, *, rngs: nnx.Rngs | None = None
    ):
        if params is None:
            if rngs is None:
                raise ValueError("Qwen needs params, or rngs to draw them")
            params = init_params(rngs.params(), config)
        params = unstack_layers(params)
        self.config = config
        self.outer = nnx.Dict(
            {name: nnx.Param(value) for name, value in params.items() if name != "layers"}
        )
        self.layers = nnx.List(
            [
                nnx.Dict({name: nnx.Param(value) for name, value in layer.items()})
                for layer in params["layers"]
            ]
        )

    @property
    def params(self) -> dict[str, Any]:
        """The parameters as a plain dict, for the functions of this package."""
        return {name: value[...] for name, value in self.outer.items()} | {
            "layers": [{name: value[...] for name, value in layer.items()} for layer in self.layers]
        }

    def __call__(
        self,
        tokens: Int[Array, "batch token"],
        mask: Bool[Array, "batch token"],
        *,
        layer: int = -1,
    ) -> Float[Array, "batch token feature"]:
        """Hidden states of one layer, as ``forward`` computes them."""
        return forward(self.params, self.config, tokens, mask, layer=layer)

    def logits(self, hidden: Float[Array, "*axes feature"]) -> Float[Array, "*axes vocab"]:
        """Scores of the next token, of states after the final norm."""
        return logits(self.params, self.config, hidden)
