"""From a language model with a tokenizer and a score of texts to trained heads.

The model answers prompts with its own policy, the texts are scored once, its states along them are
read once, and both heads are fitted to that. The responses to the last eighth of the prompts are
held out of the training; what the value head explains is measured on them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from prefjax import lm
from prefjax.align.heads import AdvantageHead, ValueHead, value
from prefjax.align.samples import DecodeConfig, Prompts, draw, pad_prompts, states_after
from prefjax.align.temporal import (
    DEFAULT,
    TrainConfig,
    Trajectories,
    fit_advantage,
    fit_value,
    summaries,
)
from prefjax.encoders import chat_prompt
from prefjax.types import Array, PRNGKey

_HELD_OUT = 8  # one prompt of so many is held out
_ROWS = 96  # responses drawn and read together, which bounds the memory of the attention


class HeadsResult(NamedTuple):
    """Trained heads, and what they were trained on.

    Attributes:
        value: The value head.
        advantage: The advantage head.
        features: φ of all samples.
        explained: R² of the value head against ``centered`` φ by fifths of the response, on prompts
            it was not trained on.
    """

    value: ValueHead
    advantage: AdvantageHead
    features: Float[np.ndarray, "batch factor"]
    explained: Float[np.ndarray, "5 factor"]


def encode_prompts(model: lm.LanguageModel, prompts: Sequence[str], max_new_tokens: int) -> Prompts:
    """Prompts as the model is asked to answer them, in its chat template.

    Args:
        model: The language model, with a tokenizer.
        prompts: Texts.
        max_new_tokens: Tokens that will follow.

    Raises:
        ValueError: If a prompt leaves too little of the model's window; it is named.
    """
    rows = [model.tokenizer.encode(chat_prompt(p), add_special_tokens=False) for p in prompts]
    return pad_prompts(rows, model.config, max_new_tokens)


def decode_texts(model: lm.LanguageModel, drawn: Any) -> list[str]:
    """Drawn responses as text.

    Args:
        model: The language model, with a tokenizer.
        drawn: A ``Steered`` or a ``lm.Generation``.
    """
    rows = zip(np.asarray(drawn.tokens), np.asarray(drawn.mask), strict=True)
    return [model.tokenizer.decode(row[real], skip_special_tokens=True) for row, real in rows]


def collect_trajectories(
    key: PRNGKey,
    model: lm.LanguageModel,
    prompts: Sequence[str],
    score: Callable[[list[str]], Float[np.ndarray, "batch factor"]],
    *,
    num_samples: int,
    decoding: DecodeConfig,
) -> Trajectories:
    """The model's own responses, scored, with its states along them.

    All states are held in memory: ``batch · token · d`` numbers.

    Args:
        key: Random key.
        model: The language model, with a tokenizer.
        prompts: Texts.
        score: φ of responses, in the order of the prompts, those of one prompt together.
        num_samples: Responses to each prompt.
        decoding: The policy π0, and the most tokens of a response; ids beyond the tokenizer are
            left out.

    Raises:
        ValueError: If a prompt does not fit the window.
    """
    asked = encode_prompts(model, prompts, decoding.max_new_tokens)
    num_ids = min(len(model.tokenizer), model.config.vocab_size)
    decoding = replace(decoding, num_ids=num_ids)
    step, parts, texts = max(1, _ROWS // num_samples), [], []
    for start in range(0, len(prompts), step):
        block = Prompts(*(array[start : start + step] for array in asked))
        drawn = draw(
            jax.random.fold_in(key, start),
            model.params,
            model.config,
            block,
            num_samples=num_samples,
            decoding=decoding,
        )
        repeated = block.repeated(num_samples)
        states = states_after(
            model.params,
            model.config,
            repeated,
            drawn.tokens,
            drawn.mask,
            layer=decoding.head_layer,
        )
        parts.append(tuple(map(np.asarray, (states, drawn.tokens, drawn.mask, drawn.ended))))
        texts += decode_texts(model, drawn)
    states, tokens, mask, ended = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    last = np.repeat(asked.tokens[:, -1:], num_samples, axis=0)
    return Trajectories(
        states=states,
        tokens=np.concatenate([last, tokens], axis=1),
        mask=np.pad(mask, [(0, 0), (1, 0)], constant_values=True),
        ended=ended,
        features=np.asarray(score(texts), np.float32),
    )


def fit_heads(
    key: PRNGKey,
    model: lm.LanguageModel,
    prompts: Sequence[str],
    score: Callable[[list[str]], Float[np.ndarray, "batch factor"]],
    *,
    num_samples: int,
    decoding: DecodeConfig,
    config: TrainConfig = DEFAULT,
) -> HeadsResult:
    """Sample a model's responses, score them, and train both heads on them.

    The last eighth of the prompts, at least one, is held out for ``explained``.

    Args:
        key: Random key of the samples, the starts and the batches.
        model: The language model, with a tokenizer.
        prompts: Texts, at least two.
        score: φ of responses, in the order of the prompts, those of one prompt together.
        num_samples: Responses to each prompt.
        decoding: The policy π0, and the most tokens of a response.
        config: How the heads are trained.

    Raises:
        ValueError: If there are fewer than two prompts, a prompt does not fit the window or a score
            is not finite.
    """
    if len(prompts) < 2:
        raise ValueError(f"At least two prompts are needed, one held out, got {len(prompts)}.")
    keys = jax.random.split(key, 3)
    data = collect_trajectories(
        keys[0], model, prompts, score, num_samples=num_samples, decoding=decoding
    )
    num_trained = (len(prompts) - -(-len(prompts) // _HELD_OUT)) * num_samples
    above = data._replace(features=centered(data.features, num_samples))
    trained = jax.tree.map(lambda array: array[:num_trained], above)
    held_out = jax.tree.map(lambda array: array[num_trained:], above)
    embedding = model.params["embedding"]
    head, _ = fit_value(keys[1], trained, embedding, config)
    advantage, _ = fit_advantage(keys[2], trained, head, embedding, config)
    blocks = (
        jax.tree.map(lambda array, i=i: array[i : i + _ROWS], held_out)
        for i in range(0, len(held_out.states), _ROWS)
    )
    values = np.concatenate([value(head, summaries(block, embedding)) for block in blocks])
    explained = explained_by_position(values, held_out.mask, held_out.features, 5)
    return HeadsResult(head, advantage, np.asarray(data.features), explained)


def centered(
    features: Float[Array, "batch factor"], num_samples: int
) -> Float[np.ndarray, "batch factor"]:
    """φ of each response minus the mean φ of the other responses to its prompt.

    Args:
        features: φ, those of one prompt together.
        num_samples: Responses to each prompt; a single one stays as it is.
    """
    features = np.asarray(features)
    if num_samples == 1:
        return features
    groups = features.reshape(-1, num_samples, features.shape[1])
    above = (groups - groups.mean(axis=1, keepdims=True)) * num_samples / (num_samples - 1)
    return above.reshape(features.shape)


def explained_by_position(
    values: Float[Array, "batch state factor"],
    mask: Bool[Array, "batch state"],
    features: Float[Array, "batch factor"],
    num_bins: int = 10,
) -> Float[np.ndarray, "bin factor"]:
    """R² of V against the final φ, by relative position in the response.

    Args:
        values: V(s_t).
        mask: True at states that exist.
        features: φ.
        num_bins: Bins of the position, from the prompt (0) to the end (1); an empty one is NaN.
    """
    values, mask = np.asarray(values, np.float64), np.asarray(mask)
    features = np.asarray(features, np.float64)
    length = np.maximum(mask.sum(1) - 1, 1)
    position = np.arange(mask.shape[1])[None] / length[:, None]
    bins = np.minimum((position * num_bins).astype(int), num_bins - 1)
    rows = np.broadcast_to(np.arange(len(mask))[:, None], mask.shape)
    result = np.full((num_bins, features.shape[1]), np.nan)
    for b in range(num_bins):
        use = mask & (bins == b)
        if use.any():
            error = np.square(values[use] - features[rows[use]]).sum(0)
            total = np.square(features[rows[use]] - features.mean(0)[None]).sum(0)
            result[b] = 1 - error / np.where(total > 0, total, np.nan)
    return result
