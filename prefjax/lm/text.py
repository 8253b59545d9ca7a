"""Texts in and out of a language model: the host edge of generation."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int

from prefjax.io import check_text
from prefjax.lm._generate import Hook, generate
from prefjax.lm.folder import LanguageModel, end_ids
from prefjax.lm.sampling import DEFAULT, SamplingConfig
from prefjax.types import PRNGKey

_STEP = 32  # prompts are padded to a multiple of this, so that few shapes are compiled

_generate_jit = jax.jit(
    generate,
    static_argnames=("config", "max_new_tokens", "sampling", "num_ids", "hook", "num_candidates"),
)


class Completions(NamedTuple):
    """Continued prompts.

    Attributes:
        texts: What was drawn, without special tokens.
        ended: The text ended by itself, not at the limit.
        num_tokens: Tokens drawn, the one that ended the text included.
        num_cut: Prompts that were cut on the left to fit the window.
        hook_state: The last state of the hook.
    """

    texts: list[str]
    ended: Bool[np.ndarray, " text"]
    num_tokens: Int[np.ndarray, " text"]
    num_cut: int
    hook_state: Any


def pad_left(
    rows: Sequence[Sequence[int]], width: int
) -> tuple[Int[np.ndarray, "batch token"], Bool[np.ndarray, "batch token"]]:
    """Token ids as one array, padded on the left with zeros, and the mask of what is real.

    Raises:
        ValueError: A row is longer than the width.
    """
    tokens, mask = np.zeros((len(rows), width), np.int32), np.zeros((len(rows), width), bool)
    for index, row in enumerate(rows):
        if len(row) > width:
            raise ValueError(f"row {index} has {len(row)} tokens, more than {width}")
        if row:
            tokens[index, -len(row) :] = row
            mask[index, -len(row) :] = True
    return tokens, mask


def complete(
    key: PRNGKey,
    model: LanguageModel,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    sampling: SamplingConfig = DEFAULT,
    hook: Hook | None = None,
    hook_state: Any = None,
    num_candidates: int = 0,
) -> Completions:
    """Continue texts as they stand, without a template.

    A prompt longer than the window less ``max_new_tokens`` loses its beginning. A text ends with a
    token that the configuration or the tokenizer says ends one.

    Args:
        key: Random key.
        model: A model with a tokenizer, as ``load`` reads it.
        prompts: One batch, continued together.
        max_new_tokens: Most tokens to draw.
        sampling: Temperature, top-k, top-p.
        hook: Changes the logits before a token is drawn, as ``Hook`` says.
        hook_state: Its first state.
        num_candidates: Number of most likely tokens that it is given.

    Raises:
        TypeError: One string is passed in place of a batch, or a prompt is not a string.
        ValueError: There is no tokenizer, no prompt, a prompt without tokens or with a lone
            surrogate, a token outside the vocabulary, or no room in the window, or the model has no
            head of words.
    """
    tokenizer = model.tokenizer
    config = dataclasses.replace(model.config, eos_ids=end_ids(model.config, tokenizer))
    if tokenizer is None:
        raise ValueError(f"{model.directory} has no tokenizer.")
    if isinstance(prompts, str):
        raise TypeError("Pass a sequence of prompts, not one string.")
    if not prompts:
        raise ValueError("No prompts to continue.")
    window = config.max_length - max_new_tokens
    if window < 1:
        raise ValueError(
            f"max_new_tokens {max_new_tokens} leaves no room for a prompt in the window of "
            f"{config.max_length} tokens"
        )
    for index, prompt in enumerate(prompts):
        check_text(prompt, f"Prompt {index}")
    rows = [tokenizer.encode(prompt, add_special_tokens=False) for prompt in prompts]
    empty = [index for index, row in enumerate(rows) if not row]
    if empty:
        raise ValueError(f"Prompt {empty[0]} has no tokens; there is nothing to continue.")
    largest = max(max(row) for row in rows)
    if largest >= config.vocab_size:
        raise ValueError(
            f"The tokenizer gave id {largest}, the model has {config.vocab_size}: they do not "
            "belong together."
        )
    num_cut = sum(len(row) > window for row in rows)
    rows = [row[-window:] for row in rows]
    width = min(-(-max(map(len, rows)) // _STEP) * _STEP, window)
    tokens, mask = pad_left(rows, width)
    drawn = _generate_jit(
        key,
        model.params,
        config,
        tokens,
        mask,
        max_new_tokens=max_new_tokens,
        sampling=sampling,
        num_ids=min(len(tokenizer), config.vocab_size),
        hook=hook,
        hook_state=hook_state,
        num_candidates=num_candidates,
    )
    real = np.asarray(drawn.mask)
    return Completions(
        texts=[
            tokenizer.decode(row[keep], skip_special_tokens=True)
            for row, keep in zip(np.asarray(drawn.tokens), real, strict=True)
        ],
        ended=np.asarray(drawn.ended),
        num_tokens=real.sum(axis=1),
        num_cut=num_cut,
        hook_state=drawn.hook_state,
    )
