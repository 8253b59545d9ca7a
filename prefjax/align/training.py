"""From a language model with a tokenizer and a score of texts to trained heads.

The model answers prompts with its own policy, the texts are scored once, its states along them are
read once, and both heads are fitted to that. The responses to the last eighth of the prompts are
held out of the training; what the value head explains is measured on them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from prefjax import lm
from prefjax.align.heads import AdvantageHead, ValueHead, value
from prefjax.align.samples import DecodeConfig
from prefjax.align.temporal import DEFAULT, TrainConfig, fit_advantage, fit_value, summaries
from prefjax.align.trajectories import ROWS, Trajectories, collect_trajectories
from prefjax.types import Array, PRNGKey

_HELD_OUT = 8  # one prompt of so many is held out


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


def fit_heads(
    key: PRNGKey,
    model: lm.LanguageModel,
    prompts: Sequence[str],
    score: Callable[[list[str]], Float[np.ndarray, "batch factor"]],
    *,
    num_samples: int,
    decoding: DecodeConfig,
    config: TrainConfig = DEFAULT,
    system: str | None = None,
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
        system: What the system turn says; None leaves it out.

    Raises:
        ValueError: If there are fewer than two prompts, a prompt does not fit the window or a score
            is not finite.
    """
    if len(prompts) < 2:
        raise ValueError(f"At least two prompts are needed, one held out, got {len(prompts)}.")
    key_draw, key_train = jax.random.split(key)
    data = collect_trajectories(
        key_draw, model, prompts, score, num_samples=num_samples, decoding=decoding, system=system
    )
    embedding = model.params["embedding"]
    return train_heads(key_train, data, embedding, num_samples=num_samples, config=config)


def train_heads(
    key: PRNGKey,
    data: Trajectories,
    embedding: Float[Array, "vocab feature"],
    *,
    num_samples: int,
    config: TrainConfig = DEFAULT,
) -> HeadsResult:
    """Train both heads on scored samples.

    The responses to the last eighth of the prompts, at least one, are held out for ``explained``.

    Args:
        key: Random key of the starts and the batches.
        data: Scored samples, those of one prompt together.
        embedding: Rows of the language model's embedding.
        num_samples: Responses to each prompt.
        config: How the heads are trained.

    Raises:
        ValueError: If a score is not finite.
    """
    keys, num_prompts = jax.random.split(key), len(data.states) // num_samples
    num_trained = (num_prompts - -(-num_prompts // _HELD_OUT)) * num_samples
    above = data._replace(features=centered(data.features, num_samples))
    trained = jax.tree.map(lambda array: array[:num_trained], above)
    held_out = jax.tree.map(lambda array: array[num_trained:], above)
    head, _ = fit_value(keys[0], trained, embedding, config)
    advantage, _ = fit_advantage(keys[1], trained, head, embedding, config)
    blocks = (
        jax.tree.map(lambda array, i=i: array[i : i + ROWS], held_out)
        for i in range(0, len(held_out.states), ROWS)
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
