"""Samples of a language model and its states along them, the input of the heads.

``draw`` continues each prompt several times with the model's own policy; ``states_after`` reads the
responses once and returns the state of the prompt's last token and of every response token, the end
token included.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax import lm
from prefjax.settings import check_settings
from prefjax.types import Array, Params, PRNGKey


@dataclass(frozen=True)
class DecodeConfig:
    """How responses are decoded.

    Attributes:
        max_new_tokens: Most tokens to draw.
        sampling: Temperature, top-k and top-p of π0; temperature 0 takes the best.
        num_ids: Length of the tokenizer, beyond which no token is drawn; None for the model's
            whole vocabulary.
        num_candidates: k, tokens that a head steers between at each step; at most the number of
            tokens.
        layer: Heads read the state after so many blocks; None for the last state, after the final
            norm. Heads decode with the layer with which they were trained.

    Raises:
        ValueError: If a number is below 1.
    """

    max_new_tokens: int
    sampling: lm.SamplingConfig = field(default_factory=lm.SamplingConfig)
    num_ids: int | None = None
    num_candidates: int = 20
    layer: int | None = None

    def __post_init__(self):
        check_settings(self, "max_new_tokens", "num_candidates")

    @property
    def head_layer(self) -> int:
        """Number of the layer, as for ``lm.forward``."""
        return -1 if self.layer is None else self.layer

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `lm.generate`."""
        names = "max_new_tokens", "sampling", "num_ids"
        return {name: getattr(self, name) for name in names}


class Prompts(NamedTuple):
    """Prompts as tokens.

    Attributes:
        tokens: Ids, padded on the left.
        mask: True at real tokens.
    """

    tokens: Int[Array, "prompt token"]
    mask: Bool[Array, "prompt token"]

    def repeated(self, num: int) -> "Prompts":
        """Every prompt ``num`` times, one after the other."""
        return Prompts(*(jnp.repeat(jnp.asarray(array), num, axis=0) for array in self))


def pad_prompts(
    prompts: Sequence[Sequence[int]], config: lm.QwenConfig, max_new_tokens: int
) -> Prompts:
    """Prompts as one array with padding on the left, all of which fit the window.

    Args:
        prompts: Token ids of each prompt.
        config: The model's; its ``max_length`` is the window.
        max_new_tokens: Tokens that will follow.

    Raises:
        ValueError: If there is no prompt, or one is empty or leaves too little of the window; it
            is named.
    """
    if not prompts:
        raise ValueError("No prompts to answer.")
    room = config.max_length - max_new_tokens
    for index, prompt in enumerate(prompts):
        if not 1 <= len(prompt) <= room:
            raise ValueError(
                f"Prompt {index} has {len(prompt)} tokens; it must have between 1 and {room}: the "
                f"window of {config.max_length} less {max_new_tokens} new tokens."
            )
    return Prompts(*lm.pad_left(prompts, max(map(len, prompts))))


@partial(jax.jit, static_argnames=("config", "num_samples", "decoding"))
def draw(
    key: PRNGKey,
    params: Params,
    config: lm.QwenConfig,
    prompts: Prompts,
    *,
    num_samples: int,
    decoding: DecodeConfig,
) -> lm.Generation:
    """Continue each prompt ``num_samples`` times; the rows of one prompt follow each other.

    Args:
        key: Random key.
        params: Parameters of the language model.
        config: Its configuration, static.
        prompts: What is continued.
        num_samples: Responses to each prompt, static.
        decoding: How, static.
    """
    repeated = prompts.repeated(num_samples)
    return lm.generate(key, params, config, *repeated, **decoding.arguments)


@partial(jax.jit, static_argnames=("config", "layer"))
def states_after(
    params: Params,
    config: lm.QwenConfig,
    prompts: Prompts,
    response: Int[Array, "prompt new"],
    response_mask: Bool[Array, "prompt new"],
    *,
    layer: int = -1,
) -> Float[jax.Array, "prompt state feature"]:
    """States s_0 (last token of the prompt) and s_1 … s_T (after each token of the response).

    Args:
        params: Parameters of the language model.
        config: Its configuration, static.
        prompts: What was answered.
        response: Ids of the response to each, padded on the right.
        response_mask: True at real tokens, the end token included.
        layer: Layer of the states, static.
    """
    tokens = jnp.concatenate([prompts.tokens, response], axis=1)
    mask = jnp.concatenate([prompts.mask, response_mask], axis=1)
    hidden = jnp.asarray(lm.forward(params, config, tokens, mask, layer=layer))
    return hidden[:, prompts.tokens.shape[1] - 1 :]
