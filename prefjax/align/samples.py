"""Samples of a language model and its states along them, the input of the heads.

``draw`` continues each prompt several times with the model's own policy; ``states_after`` reads the
responses once and returns the state of the prompt's last token and of every response token, the end
token included.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from prefjax import lm
from prefjax.types import Array, Params, PRNGKey

DEFAULT_SAMPLING = lm.SamplingConfig()


def pad_prompts(
    prompts: Sequence[Sequence[int]], config: lm.QwenConfig, max_new_tokens: int
) -> tuple[Int[np.ndarray, "batch token"], Bool[np.ndarray, "batch token"]]:
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
    return lm.pad_left(prompts, max(map(len, prompts)))


@partial(
    jax.jit, static_argnames=("config", "max_new_tokens", "num_samples", "sampling", "num_ids")
)
def draw(
    key: PRNGKey,
    params: Params,
    config: lm.QwenConfig,
    tokens: Int[Array, "prompt token"],
    mask: Bool[Array, "prompt token"],
    *,
    max_new_tokens: int,
    num_samples: int,
    sampling: lm.SamplingConfig = DEFAULT_SAMPLING,
    num_ids: int | None = None,
) -> lm.Generation:
    """Continue each prompt ``num_samples`` times; the rows of one prompt follow each other.

    Args:
        key: Random key.
        params: Parameters of the language model.
        config: Its configuration.
        tokens: Prompts, padded on the left.
        mask: True at real tokens.
        max_new_tokens: Most tokens to draw.
        num_samples: Responses to each prompt.
        sampling: Temperature, top-k, top-p.
        num_ids: Length of the tokenizer.
    """
    return lm.generate(
        key,
        params,
        config,
        jnp.repeat(tokens, num_samples, axis=0),
        jnp.repeat(mask, num_samples, axis=0),
        max_new_tokens=max_new_tokens,
        sampling=sampling,
        num_ids=num_ids,
    )


@partial(jax.jit, static_argnames="config")
def states_after(
    params: Params,
    config: lm.QwenConfig,
    prompt: Int[Array, "batch token"],
    prompt_mask: Bool[Array, "batch token"],
    response: Int[Array, "batch new"],
    response_mask: Bool[Array, "batch new"],
) -> Float[jax.Array, "batch state feature"]:
    """States s_0 (last token of the prompt) and s_1 … s_T (after each token of the response).

    Args:
        params: Parameters of the language model.
        config: Its configuration.
        prompt: Prompts, padded on the left.
        prompt_mask: True at real tokens.
        response: Responses, padded on the right.
        response_mask: True at real tokens, the end token included.
    """
    tokens = jnp.concatenate([prompt, response], axis=1)
    mask = jnp.concatenate([prompt_mask, response_mask], axis=1)
    hidden = jnp.asarray(lm.forward(params, config, tokens, mask))
    return hidden[:, prompt.shape[1] - 1 :]
