"""From a language model with a tokenizer and a score of texts to trained heads.

The model answers prompts with its own policy, the texts are scored once, its states along them are
read once, and both heads are fitted to that.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from prefjax import lm
from prefjax.align.decode import DEFAULT_SAMPLING
from prefjax.align.heads import AdvantageHead, ValueHead, value
from prefjax.align.samples import draw, pad_prompts, states_after
from prefjax.align.temporal import (
    DEFAULT,
    TrainConfig,
    Trajectories,
    explained_by_position,
    fit_advantage,
    fit_value,
)
from prefjax.encoders import chat_prompt
from prefjax.types import Array, PRNGKey

_ROWS = 96  # responses drawn and read together, which bounds the memory of the attention


class Prompts(NamedTuple):
    """Prompts in the chat template, padded on the left."""

    tokens: Int[Array, "batch token"]
    mask: Bool[Array, "batch token"]


class Taught(NamedTuple):
    """Trained heads and what they were trained on.

    Attributes:
        value: The value head.
        advantage: The advantage head.
        features: φ of the samples.
        explained: R² of the value head by fifths of the response.
    """

    value: ValueHead
    advantage: AdvantageHead
    features: Float[np.ndarray, "batch factor"]
    explained: Float[np.ndarray, "5 factor"]


def encode_prompts(model: lm.LanguageModel, prompts: Sequence[str], max_new_tokens: int) -> Prompts:
    """Prompts as the model is asked to answer them.

    Raises:
        ValueError: If a prompt leaves too little of the model's window; it is named.
    """
    rows = [model.tokenizer.encode(chat_prompt(p), add_special_tokens=False) for p in prompts]
    return Prompts(*pad_prompts(rows, model.config, max_new_tokens))


def decode_texts(model: lm.LanguageModel, drawn: Any) -> list[str]:
    """Responses as text: of a ``Steered`` or a ``lm.Generation``."""
    rows = zip(np.asarray(drawn.tokens), np.asarray(drawn.mask), strict=True)
    return [model.tokenizer.decode(row[keep], skip_special_tokens=True) for row, keep in rows]


def collect(
    key: PRNGKey,
    model: lm.LanguageModel,
    prompts: Sequence[str],
    score: Callable[[list[str]], Float[np.ndarray, "batch factor"]],
    *,
    num_samples: int,
    max_new_tokens: int,
    sampling: lm.SamplingConfig = DEFAULT_SAMPLING,
) -> Trajectories:
    """The model's own responses, scored, with its states along them.

    All states are held in memory: ``batch · token · d`` numbers.

    Args:
        key: Random key.
        model: The language model, with a tokenizer.
        prompts: Texts.
        score: φ of responses, in the order of the prompts, those of one prompt together.
        num_samples: Responses to each prompt.
        max_new_tokens: Most tokens of a response.
        sampling: The policy π0.

    Raises:
        ValueError: If a prompt does not fit the window.
    """
    asked = encode_prompts(model, prompts, max_new_tokens)
    step, parts, texts = max(1, _ROWS // num_samples), [], []
    for start in range(0, len(prompts), step):
        block = Prompts(*(array[start : start + step] for array in asked))
        drawn = draw(
            jax.random.fold_in(key, start),
            model.params,
            model.config,
            *block,
            max_new_tokens=max_new_tokens,
            num_samples=num_samples,
            sampling=sampling,
            num_ids=min(len(model.tokenizer), model.config.vocab_size),
        )
        repeated = (np.repeat(array, num_samples, axis=0) for array in block)
        states = states_after(model.params, model.config, *repeated, drawn.tokens, drawn.mask)
        parts.append(tuple(map(np.asarray, (states, drawn.tokens, drawn.mask, drawn.ended))))
        texts += decode_texts(model, drawn)
    states, tokens, mask, ended = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Trajectories(
        states=states,
        tokens=np.pad(tokens, [(0, 0), (1, 0)]),
        mask=np.pad(mask, [(0, 0), (1, 0)], constant_values=True),
        ended=ended,
        features=np.asarray(score(texts), np.float32),
    )


def teach(
    key: PRNGKey,
    model: lm.LanguageModel,
    prompts: Sequence[str],
    score: Callable[[list[str]], Float[np.ndarray, "batch factor"]],
    *,
    num_samples: int,
    max_new_tokens: int,
    sampling: lm.SamplingConfig = DEFAULT_SAMPLING,
    config: TrainConfig = DEFAULT,
) -> Taught:
    """Train both heads.

    Args:
        key: Random key.
        model: See ``collect``, as are ``prompts``, ``score``, ``num_samples``, ``max_new_tokens``
            and ``sampling``.
        prompts: See ``collect``.
        score: See ``collect``.
        num_samples: See ``collect``.
        max_new_tokens: See ``collect``.
        sampling: See ``collect``.
        config: Training.

    Raises:
        ValueError: If a prompt does not fit the window or a score is not finite.
    """
    keys = jax.random.split(key, 3)
    data = collect(
        keys[0],
        model,
        prompts,
        score,
        num_samples=num_samples,
        max_new_tokens=max_new_tokens,
        sampling=sampling,
    )
    head, _ = fit_value(keys[1], data, config)
    advantage, _ = fit_advantage(keys[2], data, head, model.params["embedding"], config)
    states = data.states
    values = np.concatenate(
        [value(head, states[i : i + _ROWS]) for i in range(0, len(states), _ROWS)]
    )
    explained = explained_by_position(values, data.mask, data.features, 5)
    return Taught(head, advantage, np.asarray(data.features), explained)
