"""N responses to each of many prompts, from a model of this package or from any server.

    samples = sample(lm.load(folder), prompts, 16)
    samples = sample(OpenAISampler(OpenAIConfig("m", base_url=url), cache=cache), prompts, 16)

Either way every prompt has N samples, or fewer and a reason; none is made up. Best-of-N and
blockwise decoding over texts (`sample_blockwise`) need no more than this. `OpenAISampler` is the
one of servers.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax

from prefjax import lm
from prefjax.encoders import chat_prompt, check_texts
from prefjax.settings import check_settings


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """How responses are drawn.

    Attributes:
        max_new_tokens: Most tokens of a response.
        temperature: T, 0 for the most likely tokens.
        top_p: Mass of the tokens to draw from; 1 for all.
        top_k: Number of tokens to draw from; 0 for all. Not every server knows it.
        seed: Source of the samples.

    Raises:
        ValueError: If a setting is out of its range.
    """

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self):
        check_settings(self, "max_new_tokens")
        lm.SamplingConfig(self.temperature, self.top_k, self.top_p)


DEFAULT = SampleConfig()


class Sample(NamedTuple):
    """One response.

    Attributes:
        text: The response; where a beginning was given, what follows it.
        ended: It ended by itself, not at the limit of tokens.
        num_tokens: Tokens drawn; 0 where a server does not say.
        log_prob: Log-probability of its tokens; None where a server does not give it.
    """

    text: str
    ended: bool
    num_tokens: int = 0
    log_prob: float | None = None


class Samples(NamedTuple):
    """Responses to prompts.

    Attributes:
        samples: By prompt, in their order.
        failures: Why a prompt has fewer samples than wanted; empty where it has all.
        num_tokens: Tokens drawn, those of a cache left out.
        seconds: Time it took.
    """

    samples: list[list[Sample]]
    failures: list[str]
    num_tokens: int
    seconds: float

    @property
    def num_failed(self) -> int:
        """Prompts with fewer samples than wanted."""
        return sum(map(bool, self.failures))

    @property
    def tokens_per_second(self) -> float:
        """Tokens drawn a second."""
        return self.num_tokens / max(self.seconds, 1e-9)


class Ask(NamedTuple):
    """What is to be answered.

    Attributes:
        prompt: What the user says.
        system: What the system turn says; None leaves it out.
        beginning: How the response begins, which is continued.
    """

    prompt: str
    system: str | None = None
    beginning: str = ""


@runtime_checkable
class Sampler(Protocol):
    """Whatever draws responses."""

    def draw(self, asks: Sequence[Ask], num_samples: int, config: SampleConfig) -> Samples:
        """Responses to each of them, in their order."""
        ...


def sample(
    source: lm.LanguageModel | Sampler,
    prompts: Sequence[str | Ask],
    num_samples: int,
    *,
    config: SampleConfig = DEFAULT,
    batch_size: int = 32,
) -> Samples:
    """Several responses to each prompt.

    Args:
        source: A model with a tokenizer, in whose ChatML template it is asked, or a server.
        prompts: What users say, or with a system text and a beginning.
        num_samples: N, responses to each.
        config: How they are drawn.
        batch_size: Rows that a model of this package draws together.

    Raises:
        TypeError: If a prompt is no text.
        ValueError: If a prompt has a lone surrogate, N is below 1, or the model has no tokenizer.
        OSError: If the cache of a server cannot be used.
    """
    asks = [Ask(one) if isinstance(one, str) else one for one in prompts]
    check_texts([text for ask in asks for text in (ask.prompt, ask.system or "", ask.beginning)])
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}.")
    if isinstance(source, lm.LanguageModel):
        source = ModelSampler(source, batch_size=batch_size)
    return source.draw(asks, num_samples, config)


class ModelSampler:
    """Draws from a language model of this package; ``lm.draw_samples`` says how.

    Args:
        model: The model, with a tokenizer that knows the ChatML template.
        batch_size: Rows that draw together.

    Raises:
        ValueError: If the model has no tokenizer.
    """

    def __init__(self, model: lm.LanguageModel, *, batch_size: int = 32):
        if model.tokenizer is None:
            raise ValueError(f"{model.directory} has no tokenizer; drawing texts needs one.")
        self._model, self._batch_size = model, batch_size

    def draw(self, asks: Sequence[Ask], num_samples: int, config: SampleConfig) -> Samples:
        """Responses to each; a prompt that leaves too little of the window has failed."""
        model, tokenizer = self._model, self._model.tokenizer
        rows = [
            tokenizer.encode(
                chat_prompt(ask.prompt, ask.system) + ask.beginning, add_special_tokens=False
            )
            for ask in asks
        ]
        room = model.config.max_length - config.max_new_tokens
        fits = [index for index, row in enumerate(rows) if 1 <= len(row) <= room]
        drawn = lm.draw_samples(
            jax.random.key(config.seed),
            lm.unstack_layers(model.params),
            model.config,
            [rows[index] for index in fits],
            num_samples,
            max_new_tokens=config.max_new_tokens,
            sampling=lm.SamplingConfig(config.temperature, config.top_k, config.top_p),
            num_ids=min(len(tokenizer), model.config.vocab_size),
            batch_size=self._batch_size,
        )
        samples: list[list[Sample]] = [[] for _ in asks]
        for index, own in zip(fits, drawn.samples, strict=True):
            samples[index] = [
                Sample(
                    tokenizer.decode(one.tokens, skip_special_tokens=True),
                    one.ended,
                    len(one.tokens),
                    one.log_prob,
                )
                for one in own
            ]
        failures = [
            "" if own else f"the prompt has {len(row)} tokens, more than {room}"
            for own, row in zip(samples, rows, strict=True)
        ]
        return Samples(samples, failures, drawn.num_tokens, drawn.seconds)
