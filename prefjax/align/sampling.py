"""N responses to each of many prompts, from a model of this package or from any server.

    samples = sample(lm.load(folder), prompts, 16)
    samples = sample(OpenAISampler(OpenAIConfig("m", base_url=url), cache=cache), prompts, 16)

Either way every prompt has N samples, or fewer and a reason; none is made up. Best-of-N and
blockwise decoding over texts (`sample_blockwise`) need no more than this.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float

from prefjax import lm
from prefjax.align.judges.cache import Cache, key_of, token_count
from prefjax.align.judges.client import OpenAIClient, OpenAIConfig
from prefjax.align.judges.completion import Attempt, failed
from prefjax.align.judges.request import Result, Status, repaired
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


class OpenAISampler:
    """Draws from an OpenAI-compatible chat server (vLLM, SGLang, llama-server, …).

    A request asks for up to ``samples_a_request`` responses (``n``) with a seed of its own. A
    server may return fewer: the rest is asked for again under another seed, until a request brings
    nothing. Errors, retries, concurrency and giving up are those of `OpenAIClient`; what a cache
    holds is not asked. A beginning is sent as an assistant's message that is to be continued, with
    the parameters that vLLM and SGLang know; the server's answer is what follows.

    Args:
        config: Model, address, limits. Its length and temperature give way to those of the
            samples; ``parameters`` are sent as they are.
        cache: Where samples are kept; None asks again every time.
        api_key: Key of the server, see `OpenAIClient`.
        samples_a_request: Most responses of one request; 1 for servers without ``n``.
        log_probs: Ask for log-probabilities.
        continuation: Further entries of a request that has a beginning.

    Raises:
        ImportError: If the ``openai`` package is not installed.
        ValueError: If OpenAI's server is to be asked and there is no key.
    """

    def __init__(
        self,
        config: OpenAIConfig,
        *,
        cache: Cache | None = None,
        api_key: str | None = None,
        samples_a_request: int = 16,
        log_probs: bool = False,
        continuation: dict[str, Any] | None = None,
    ):
        if samples_a_request < 1:
            raise ValueError(f"samples_a_request must be at least 1, got {samples_a_request}.")
        self._client = OpenAIClient(config, api_key=api_key)
        self.config, self.cache = config, cache
        self._most, self._log_probs = samples_a_request, log_probs
        vllm = {"continue_final_message": True, "add_generation_prompt": False}
        self._continuation = vllm if continuation is None else continuation

    @property
    def num_calls(self) -> int:
        """Calls made so far, retries included."""
        return self._client.num_calls

    def draw(self, asks: Sequence[Ask], num_samples: int, config: SampleConfig) -> Samples:
        """Responses to each, as many as the server gives."""
        began = time.perf_counter()
        samples: list[list[Sample]] = [[] for _ in asks]
        failures, num_tokens = [""] * len(asks), 0
        occurrence: dict[Ask, int] = {}
        number = []  # an ask that is there twice has samples of its own
        for ask in asks:
            number.append(occurrence.get(ask, 0))
            occurrence[ask] = number[-1] + 1
        open_ = list(range(len(asks)))
        while open_:
            wanted = {}
            for index in open_:
                num_had = len(samples[index])
                num_asked = min(self._most, num_samples - num_had)
                body = self._body(asks[index], num_asked, (number[index], num_had), config)
                payload = {"server": self.config.server, "samples": 1, "body": body}
                wanted[key_of(payload)] = index, payload, num_asked
            found = self._ask({key: (payload, num) for key, (_, payload, num) in wanted.items()})
            for key, (index, _, _) in wanted.items():
                result = found[key]
                new = _unpack(result.text) if result.status == Status.OK else []
                samples[index] += new
                num_tokens += 0 if result.cached else sum(one.num_tokens for one in new)
                if not new:
                    failures[index] = f"{result.status}: {result.text}"
            open_ = [i for i in open_ if not failures[i] and len(samples[i]) < num_samples]
        return Samples(samples, failures, num_tokens, time.perf_counter() - began)

    def _ask(self, payloads: dict[str, tuple[dict[str, Any], int]]) -> dict[str, Result]:
        """One result for each, from the cache or the server."""
        found: dict[str, Result] = {}
        for key, (payload, _) in payloads.items():
            stored = None if self.cache is None else self.cache.get_text(payload)
            if stored is not None and (stored.status != Status.OK or _unpack(stored.text)):
                found[key] = stored
        todo = {key: payload for key, (payload, _) in payloads.items() if key not in found}

        def read(key: str, completion: Any, limit: str) -> Attempt:
            return _read(completion, payloads[key][1])

        bodies = {key: payload["body"] for key, payload in todo.items()}
        with closing(self._client.ask_all(bodies, read)) as new:
            for key, result in new:
                found[key] = result
                if self.cache is not None:
                    self.cache.put(todo[key], result)
        return found

    def _body(
        self, ask: Ask, num_samples: int, place: tuple[int, int], config: SampleConfig
    ) -> dict[str, Any]:
        own: dict[str, Any] = {
            "max_tokens": config.max_new_tokens,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "top_k": config.top_k or None,
            "n": num_samples,
            "seed": int(np.random.SeedSequence([config.seed, *place]).generate_state(1)[0] >> 1),
            "logprobs": True if self._log_probs else None,
        }
        said = [("system", ask.system), ("user", ask.prompt)]
        if ask.beginning:
            said.append(("assistant", ask.beginning))
            own |= self._continuation
        messages = [{"role": role, "content": text} for role, text in said if text is not None]
        sent = {**own, **self.config.parameters}
        rest = {name: value for name, value in sent.items() if value is not None}
        return {"model": self.config.model, "messages": messages, **rest}


def _read(completion: Any, most: int) -> Attempt:
    """The samples of a completion, as the JSON that a cache keeps.

    Choices without text are left out, and so are those beyond what was asked for.
    """
    try:
        choices, usage = list(completion.choices), completion.usage
        drawn = [one for one in map(_sample, choices[:most]) if one is not None]
        is_refused = bool(choices) and all(map(_is_refusal, choices))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        return failed(f"the server's answer is no chat completion: {error}", wait=0.0, is_down=True)
    num_read = token_count(getattr(usage, "prompt_tokens", None))
    num_drawn = token_count(getattr(usage, "completion_tokens", None))
    if is_refused:
        said = "every response was refused"
        return Attempt(Result(Status.REFUSED, None, said, num_read, num_drawn))
    if not drawn:
        return failed("the server's answer has no text", wait=0.0, is_down=True)
    if num_drawn and not any(one.num_tokens for one in drawn):
        share = num_drawn // len(drawn)  # servers count the tokens of all choices together
        drawn = [one._replace(num_tokens=share) for one in drawn]
    return Attempt(Result(Status.OK, None, json.dumps(drawn), num_read, num_drawn))


def _sample(choice: Any) -> Sample | None:
    text = choice.message.content
    if not isinstance(text, str) or _is_refusal(choice):
        return None
    content = getattr(getattr(choice, "logprobs", None), "content", None)
    log_probs = [float(one.logprob) for one in content or ()]
    log_prob = sum(log_probs) if log_probs and np.isfinite(log_probs).all() else None
    return Sample(repaired(text), choice.finish_reason != "length", len(log_probs), log_prob)


def _is_refusal(choice: Any) -> bool:
    refused = getattr(choice.message, "refusal", None)
    return bool(refused) or choice.finish_reason == "content_filter"


def _unpack(text: str) -> list[Sample]:
    """Samples as they were packed; none if they were not."""
    try:
        return [Sample(*one) for one in json.loads(text)]
    except (ValueError, TypeError):
        return []


def sample_blockwise(
    source: lm.LanguageModel | Sampler,
    prompts: Sequence[str],
    score: Callable[[Sequence[str], Sequence[str]], Float[np.ndarray, " text"]],
    *,
    num_blocks: int = 4,
    num_continuations: int = 4,
    config: SampleConfig = DEFAULT,
) -> Samples:
    """The best of K continuations, block after block, by a score of texts; for any source.

    `decode_blockwise` does the same by a value head, with blocks of any number of tokens, for a
    model of this package. Each block can move the policy by ``log K − (K−1)/K`` nats at most.

    Args:
        source: A model or a server, which must be able to continue a beginning.
        prompts: What users say.
        score: ``score(prompts, responses)``: how good each response, which may be unfinished, is.
        num_blocks: Blocks of a response.
        num_continuations: K.
        config: How they are drawn; ``max_new_tokens`` are those of all blocks together.

    Returns:
        One sample a prompt; a prompt that failed has none.

    Raises:
        ValueError: If the blocks are longer than the response, or a score is not finite.
    """
    length = config.max_new_tokens // num_blocks
    if length < 1:
        raise ValueError(f"{num_blocks} blocks do not fit {config.max_new_tokens} tokens.")
    best = [Sample("", ended=False, log_prob=0.0) for _ in prompts]
    failures = [""] * len(prompts)
    num_tokens, seconds = 0, 0.0
    for block in range(num_blocks):
        open_ = [i for i, one in enumerate(best) if not one.ended and not failures[i]]
        if not open_:
            break
        asks = [Ask(prompts[i], beginning=best[i].text) for i in open_]
        of_block = dataclasses.replace(
            config, max_new_tokens=length, seed=config.seed * num_blocks + block
        )
        drawn = sample(source, asks, num_continuations, config=of_block)
        num_tokens, seconds = num_tokens + drawn.num_tokens, seconds + drawn.seconds
        for i, own, failure in zip(open_, drawn.samples, drawn.failures, strict=True):
            failures[i] = failure
            if failure:
                continue
            whole = [best[i].text + one.text for one in own]
            scores = np.asarray(score([prompts[i]] * len(whole), whole))
            if not np.isfinite(scores).all():
                raise ValueError(f"The scores of responses to prompt {i} are not finite.")
            chosen = own[int(scores.argmax())]
            said = best[i].log_prob, chosen.log_prob
            best[i] = Sample(
                best[i].text + chosen.text,
                chosen.ended,
                best[i].num_tokens + chosen.num_tokens,
                None if said[0] is None or said[1] is None else said[0] + said[1],
            )
    samples = [[] if failure else [one] for one, failure in zip(best, failures, strict=True)]
    return Samples(samples, failures, num_tokens, seconds)
