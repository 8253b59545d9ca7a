"""Samples of an OpenAI-compatible server, asked for in few requests, kept in a cache."""

import json
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np

from prefjax.align.judges.cache import Cache, key_of, token_count
from prefjax.align.judges.client import OpenAIClient, OpenAIConfig
from prefjax.align.judges.completion import Attempt, failed
from prefjax.align.judges.request import Result, Status, repaired
from prefjax.align.sampling import Ask, Sample, SampleConfig, Samples


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
