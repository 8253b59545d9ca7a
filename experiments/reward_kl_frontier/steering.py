"""A language model's own responses, the heads trained on them, and what they steer it to."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import NamedTuple

import jax
import numpy as np

from experiments.reward_kl_frontier.config import Config
from experiments.reward_kl_frontier.evaluator import describe
from prefjax import lm
from prefjax.align import (
    Ask,
    DecodeConfig,
    HeadsResult,
    Prompts,
    Responses,
    SampleConfig,
    Steered,
    Trajectories,
    decode_advantage,
    decode_blockwise,
    decode_texts,
    decode_value,
    draw_responses,
    encode_prompts,
    project_tokens,
    read_trajectories,
    sample_blockwise,
    train_heads,
)
from prefjax.io import digest_arrays
from prefjax.lab.simulation import Simulation, simulate_own
from prefjax.lab.stored import stored
from prefjax.types import RewardBasis


def decode_config(model: lm.LanguageModel, config: Config) -> DecodeConfig:
    """How all responses are decoded."""
    return DecodeConfig(
        config.max_new_tokens,
        num_ids=len(model.tokenizer),
        num_candidates=config.num_candidates,
        layer=config.layer,
    )


def own_responses(
    model: lm.LanguageModel, prompts: Prompts, num_samples: int, seed: int, config: Config
) -> Responses:
    """The model's own responses, as they are kept or drawn now."""
    about = {
        "prompts": digest_arrays(*map(np.asarray, prompts)), "num_samples": num_samples,
        "seed": seed, "max_new_tokens": config.max_new_tokens,
    }  # fmt: skip
    key, decoding = jax.random.key(seed), decode_config(model, config)
    found = stored(
        config.kept,
        about,
        lambda: draw_responses(
            key, model, prompts, num_samples=num_samples, decoding=decoding
        )._asdict(),
        model=model.directory,
    )
    return Responses(**found)


def fit_heads_of(
    model: lm.LanguageModel, sim: Simulation, basis: RewardBasis, config: Config
) -> HeadsResult:
    """The heads, trained on the model's responses to the seen prompts."""
    texts, limit = sim.seen_prompts[: config.train_prompts], config.max_new_tokens
    prompts = encode_prompts(model, texts, limit, config.system)
    drawn = own_responses(model, prompts, config.train_samples, config.seed, config)
    features = describe(sim, basis, decode_texts(model, drawn))
    layer = decode_config(model, config).head_layer
    arrays = [np.asarray(array) for array in (*prompts, *drawn)]
    found = stored(
        config.kept,
        {"states": digest_arrays(*arrays), "layer": layer},
        lambda: read_trajectories(model, prompts, drawn, features, layer=layer)._asdict(),
        model=model.directory,
    )
    data = Trajectories(**found)._replace(features=features)
    return train_heads(
        jax.random.key(config.seed), data, model.params["embedding"],
        num_samples=config.train_samples, config=config.train,
    )  # fmt: skip


def compare_own(
    model: lm.LanguageModel, sim: Simulation, own: np.ndarray, config: Config
) -> Simulation:
    """The same people, who compare the model's responses to the seen prompts.

    Args:
        model: The language model.
        sim: Whose prompts are taken.
        own: Its responses to the new prompts, [prompt, sample].
        config: What is run.
    """
    seen, count = sim.seen_prompts[: config.train_prompts], config.train_samples
    asked = encode_prompts(model, seen, config.max_new_tokens, config.system)
    drawn = own_responses(model, asked, count, config.seed, config)
    texts = np.array(decode_texts(model, drawn), object).reshape(len(seen), count).tolist()
    new = sim.prompts[: len(own)], own.tolist()
    return simulate_own(config.simulation, config.seed, (seen, texts), new)


def blocks_by_score(
    model: lm.LanguageModel,
    prompts: list[str],
    weights: np.ndarray,
    score: Callable[[Sequence[str]], np.ndarray],
    config: Config,
) -> list[str]:
    """Blockwise best-of-4 where a block is judged by the score of the text so far.

    No head is asked: of an unfinished text this says what it is by now, not what will become of it.

    Args:
        model: The language model.
        prompts: What everybody asks.
        weights: Weights of each person, for what ``score`` gives.
        score: Describes texts, a row each.
        config: What is run.

    Returns:
        A text of each person to each prompt, those of one person together.
    """
    asks = [Ask(prompt, config.system) for prompt in prompts]
    how = SampleConfig(max_new_tokens=config.max_new_tokens, seed=config.seed + 3)
    about = {
        "text blocks": config.text_blocks, "prompts": prompts, "system": config.system,
        "settings": asdict(how), "weights": digest_arrays(weights),
    }  # fmt: skip

    def make() -> dict[str, np.ndarray]:
        texts = []
        for own in weights:
            drawn = sample_blockwise(
                model, asks, lambda _, some, own=own: score(some) @ own,
                num_blocks=config.text_blocks, config=how,
            )  # fmt: skip
            texts += [found[0].text for found in drawn.samples]
        return {"texts": np.array(texts)}

    return stored(config.kept, about, make, model=model.directory)["texts"].tolist()


class Steering(NamedTuple):
    """One language model and the heads that steer it.

    Attributes:
        model: The language model.
        heads: Its heads.
        prompts: What each row is asked, a person and a prompt.
        config: What is run.
    """

    model: lm.LanguageModel
    heads: HeadsResult
    prompts: Prompts
    config: Config

    def responses(self, way: str, strength: float, weights: np.ndarray) -> Steered:
        """Responses of one way at one strength, as they are kept or decoded now."""
        heads = [np.asarray(leaf) for leaf in jax.tree.leaves(self.heads[:2])]
        about = {
            "way": way, "strength": float(strength), "seed": self.config.seed,
            "decoding": asdict(decode_config(self.model, self.config)),
            "arrays": digest_arrays(*heads, *map(np.asarray, self.prompts), weights),
        }  # fmt: skip
        found = stored(
            self.config.kept,
            about,
            lambda: {
                name: np.asarray(array)
                for name, array in self._decode(way, strength, weights)._asdict().items()
            },
            model=self.model.directory,
        )
        return Steered(**found)

    def _decode(self, way: str, strength: float, weights: np.ndarray) -> Steered:
        model, heads, decoding = self.model, self.heads, decode_config(self.model, self.config)
        start = jax.random.key(self.config.seed + 1), model.params, model.config
        if way == "value-head":
            return decode_value(
                *start, heads.value, self.prompts, weights, strength, decoding=decoding
            )
        if way == "advantage-head":
            rows = project_tokens(heads.advantage, model.params["embedding"])
            return decode_advantage(
                *start, heads.advantage, rows, self.prompts, weights, strength, decoding=decoding
            )
        return decode_blockwise(
            *start, heads.value, self.prompts, weights, block_length=int(strength),
            decoding=decoding,
        )  # fmt: skip
