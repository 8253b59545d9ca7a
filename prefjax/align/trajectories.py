"""What heads are trained on: a model's own responses, their scores, its states along them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from prefjax import lm
from prefjax.align.samples import DecodeConfig, Prompts, pad_prompts, states_after
from prefjax.encoders import chat_prompt
from prefjax.types import Array, PRNGKey

ROWS = 96
"""Responses drawn and read together, which bounds the memory of the attention."""


class Trajectories(NamedTuple):
    """Scored samples of π0.

    Attributes:
        states: s_0 … s_T of each response.
        tokens: Token a_t that led to s_t; a_0 is the last of the prompt.
        mask: True at states that exist, s_0 included.
        ended: The response ended by itself.
        features: φ of the whole response.
    """

    states: Float[Array, "batch state feature"]
    tokens: Int[Array, "batch state"]
    mask: Bool[Array, "batch state"]
    ended: Bool[Array, " batch"]
    features: Float[Array, "batch factor"]


class Responses(NamedTuple):
    """Responses to prompts, those of one prompt together.

    Attributes:
        tokens: Ids, padded on the right.
        mask: True at drawn tokens, the one that ended a response included.
        ended: The response ended by itself, not at the limit.
    """

    tokens: Int[np.ndarray, "batch token"]
    mask: Bool[np.ndarray, "batch token"]
    ended: Bool[np.ndarray, " batch"]


def encode_prompts(
    model: lm.LanguageModel,
    prompts: Sequence[str],
    max_new_tokens: int,
    system: str | None = None,
) -> Prompts:
    """Prompts as the model is asked to answer them, in its chat template.

    Args:
        model: The language model, with a tokenizer.
        prompts: Texts.
        max_new_tokens: Tokens that will follow.
        system: What the system turn says; None leaves it out.

    Raises:
        ValueError: If a prompt leaves too little of the model's window; it is named.
    """
    turns = [chat_prompt(prompt, system) for prompt in prompts]
    rows = [model.tokenizer.encode(turn, add_special_tokens=False) for turn in turns]
    return pad_prompts(rows, model.config, max_new_tokens)


def decode_texts(model: lm.LanguageModel, drawn: Any) -> list[str]:
    """Drawn responses as text.

    Args:
        model: The language model, with a tokenizer.
        drawn: A ``Steered``, ``Responses`` or a ``lm.Generation``.
    """
    rows = zip(np.asarray(drawn.tokens), np.asarray(drawn.mask), strict=True)
    return [model.tokenizer.decode(row[real], skip_special_tokens=True) for row, real in rows]


def draw_responses(
    key: PRNGKey,
    model: lm.LanguageModel,
    prompts: Prompts,
    *,
    num_samples: int,
    decoding: DecodeConfig,
) -> Responses:
    """The model's own responses to each prompt; ``lm.draw_samples`` says how they are drawn.

    Args:
        key: Random key.
        model: The language model, with a tokenizer.
        prompts: What is answered.
        num_samples: Responses to each prompt.
        decoding: The policy π0, and the most tokens of a response; ids beyond the tokenizer are
            left out.
    """
    rows = [row[real].tolist() for row, real in zip(*map(np.asarray, prompts), strict=True)]
    drawn = lm.draw_samples(
        key,
        model.params,
        model.config,
        rows,
        num_samples,
        max_new_tokens=decoding.max_new_tokens,
        sampling=decoding.sampling,
        num_ids=min(len(model.tokenizer), model.config.vocab_size),
        batch_size=ROWS,
    )
    samples = [one for own in drawn.samples for one in own]
    tokens = np.zeros((len(samples), decoding.max_new_tokens), np.int32)
    mask = np.zeros(tokens.shape, bool)
    for place, one in enumerate(samples):
        tokens[place, : len(one.tokens)] = one.tokens
        mask[place, : len(one.tokens)] = True
    return Responses(tokens, mask, np.array([one.ended for one in samples], bool))


def read_trajectories(
    model: lm.LanguageModel,
    prompts: Prompts,
    responses: Responses,
    features: Float[Array, "batch factor"],
    *,
    layer: int = -1,
) -> Trajectories:
    """Scored responses with the model's states along them.

    All states are held in memory: ``batch · token · d`` numbers.

    Args:
        model: The language model.
        prompts: What was answered.
        responses: As many to each prompt, those of one prompt together.
        features: φ of each response.
        layer: Layer of the states.
    """
    num_samples = len(responses.tokens) // len(prompts.tokens)
    repeated = Prompts(*(np.repeat(array, num_samples, axis=0) for array in prompts))
    states = []
    for start in range(0, len(responses.tokens), ROWS):
        some = slice(start, start + ROWS)
        arrays = (*(array[some] for array in repeated), *(array[some] for array in responses[:2]))
        # A short last part is filled up, so that one shape is compiled.
        missing = min(ROWS, len(responses.tokens)) - len(arrays[0])
        filled = [np.concatenate([array, array[:1].repeat(missing, 0)]) for array in arrays]
        read = states_after(
            model.params, model.config, Prompts(*filled[:2]), *filled[2:], layer=layer
        )
        states.append(np.asarray(read)[: len(arrays[0])])
    last = repeated.tokens[:, -1:]
    return Trajectories(
        states=np.concatenate(states),
        tokens=np.concatenate([last, responses.tokens], axis=1),
        mask=np.pad(responses.mask, [(0, 0), (1, 0)], constant_values=True),
        ended=responses.ended,
        features=np.asarray(features, np.float32),
    )


def collect_trajectories(
    key: PRNGKey,
    model: lm.LanguageModel,
    prompts: Sequence[str],
    score: Callable[[list[str]], Float[np.ndarray, "batch factor"]],
    *,
    num_samples: int,
    decoding: DecodeConfig,
    system: str | None = None,
) -> Trajectories:
    """The model's own responses, scored, with its states along them.

    Args:
        key: Random key.
        model: The language model, with a tokenizer.
        prompts: Texts.
        score: φ of responses, in the order of the prompts, those of one prompt together.
        num_samples: Responses to each prompt.
        decoding: The policy π0, and the most tokens of a response.
        system: What the system turn says; None leaves it out.

    Raises:
        ValueError: If a prompt does not fit the window.
    """
    asked = encode_prompts(model, prompts, decoding.max_new_tokens, system)
    drawn = draw_responses(key, model, asked, num_samples=num_samples, decoding=decoding)
    features = score(decode_texts(model, drawn))
    return read_trajectories(model, asked, drawn, features, layer=decoding.head_layer)


def check_trajectories(data: Trajectories) -> None:
    """Refuse what cannot be trained on.

    Raises:
        ValueError: If there are fewer than two responses or not as many rewards, a reward is not
            finite, or a state that exists is not finite.
    """
    shape = np.shape(data.features)
    if len(shape) != 2 or shape[0] != len(data.states):
        raise ValueError(
            f"{len(data.states)} responses were drawn; their rewards must have one row for each "
            f"and one column for each factor, got shape {shape}."
        )
    if len(data.features) < 2:
        raise ValueError(f"At least two scored responses are needed, got {len(data.features)}.")
    bad = np.flatnonzero(~np.isfinite(data.features).all(axis=1))
    if bad.size:
        raise ValueError(f"Response {bad[0]} has a reward that is not finite ({bad.size} in all).")
    finite = np.isfinite(data.states).all(axis=2) | ~np.asarray(data.mask)
    if not finite.all():
        raise ValueError(f"Response {np.argwhere(~finite)[0][0]} has a state that is not finite.")
