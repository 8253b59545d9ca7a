"""A judge behind any OpenAI-compatible chat completion server, through the ``openai`` package.

Requests run in threads, at most ``concurrency`` at a time. An answer 429 halves that number (once
for all requests that were under way when it was halved), and every ``limit`` answers that arrive
allow one more again. Errors that may pass (429, 5xx, time-outs, a broken connection, a body that is
no completion) are tried again after ``backoff · 2^attempt`` seconds with jitter, or after what
``Retry-After`` says; others (a wrong key, an unknown model, a text beyond the window) are final.
Once ``give_up_after`` requests in a row have failed, the judge counts as down and the rest fails
without being sent. Equal requests are sent once.

Extra: ``pip install 'prefjax[judge]'``. The key comes from ``OPENAI_API_KEY``.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from prefjax.align.judges.cache import Cache, key_of, make_payload
from prefjax.align.judges.request import Request, Result, Status, read

_PASSING = (408, 409, 425, 429)


@dataclass(frozen=True)
class OpenAIConfig:
    """How a server is asked.

    Attributes:
        model: Name of the model.
        base_url: Address of the server, such as ``http://127.0.0.1:8000/v1``; None for OpenAI's.
        max_tokens: Length of an answer.
        temperature: 0, so that an answer can be had again.
        concurrency: Requests under way at a time, at first.
        retries: How often a request is tried again.
        backoff: Seconds before the first retry.
        longest_wait: Seconds before any retry at most.
        timeout: Seconds to wait for an answer.
        give_up_after: Requests that fail in a row before the judge counts as down.
    """

    model: str
    base_url: str | None = None
    max_tokens: int = 64
    temperature: float = 0.0
    concurrency: int = 64
    retries: int = 6
    backoff: float = 0.5
    longest_wait: float = 30.0
    timeout: float = 120.0
    give_up_after: int = 20

    def payload(self, request: Request) -> dict[str, Any]:
        """The body that is sent for a request, and the key under which its answer is kept."""
        sampling = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        return make_payload(request, self.model, sampling)


class Gate:
    """A semaphore whose size halves when the server says that it is too much."""

    def __init__(self, limit: int):
        self.limit = self._largest = limit
        self._under_way = self._answered = self._round = 0
        self._condition = threading.Condition()

    def enter(self) -> int:
        """Wait for a place; the number returned names the round, for ``halve``."""
        with self._condition:
            self._condition.wait_for(lambda: self._under_way < self.limit)
            self._under_way += 1
            return self._round

    def leave(self, *, answered: bool) -> None:
        """Give the place back; every ``limit`` answers make room for one more."""
        with self._condition:
            self._under_way -= 1
            self._answered += answered
            if self._answered >= self.limit:
                self._answered, self.limit = 0, min(self.limit + 1, self._largest)
            self._condition.notify_all()

    def halve(self, entered_in: int) -> None:
        """Halve the limit, unless that has happened since this request entered."""
        with self._condition:
            if entered_in == self._round:
                self._round += 1
                self._answered, self.limit = 0, max(1, self.limit // 2)


class OpenAIJudge:
    """Asks an OpenAI-compatible server; see the module docstring.

    Args:
        config: Model, address, limits.
        cache: Where answers are kept; None asks again every time.
        api_key: Key of the server; by default ``OPENAI_API_KEY``. Local servers take any.
        on_result: Called after each new answer, for a progress bar.

    Attributes:
        num_calls: Calls made so far, retries included.

    Raises:
        ImportError: If the ``openai`` package is not installed.
    """

    def __init__(
        self,
        config: OpenAIConfig,
        *,
        cache: Cache | None = None,
        api_key: str | None = None,
        on_result: Callable[[Result], None] = lambda _: None,
    ):
        try:
            import openai
        except ImportError as error:
            raise ImportError(
                "This judge needs the openai package: pip install 'prefjax[judge]'."
            ) from error
        self._openai = openai
        self.config, self.cache, self.num_calls = config, cache, 0
        self._on_result = on_result
        self._client = openai.OpenAI(
            api_key=api_key, base_url=config.base_url, timeout=config.timeout, max_retries=0
        )
        self._count = threading.Lock()
        self._failed_in_row = 0

    def complete(self, requests: Sequence[Request]) -> list[Result]:
        """One result for each request; what the cache knows is not asked."""
        payloads = [self.config.payload(request) for request in requests]
        keys = [key_of(payload) for payload in payloads]
        known: dict[str, Result] = {}
        todo: dict[str, tuple[dict[str, Any], Request]] = {}
        for key, payload, request in zip(keys, payloads, requests, strict=True):
            if key in known or key in todo:
                continue
            stored = None if self.cache is None else self.cache.get(payload, request.choices)
            if stored is None:
                todo[key] = payload, request
            else:
                known[key] = stored
        self._failed_in_row = 0
        gate = Gate(self.config.concurrency)
        threads = ThreadPoolExecutor(max(1, min(self.config.concurrency, len(todo))))
        try:
            jobs = {
                threads.submit(self._ask, gate, payload, request): key
                for key, (payload, request) in todo.items()
            }
            for job in as_completed(jobs):
                key, result = jobs[job], job.result()
                known[key] = result
                if self.cache is not None:
                    self.cache.put(todo[key][0], result)
                self._on_result(result)
        finally:
            # After Ctrl-C nothing more is sent; at the end of a run nothing is left to cancel.
            threads.shutdown(cancel_futures=True)
        return [known[key] for key in keys]

    def _ask(self, gate: Gate, payload: dict[str, Any], request: Request) -> Result:
        for attempt in range(self.config.retries + 1):
            if self._failed_in_row >= self.config.give_up_after:
                reason = f"not sent: {self._failed_in_row} requests in a row failed before"
                return Result(Status.FAILED, text=reason)
            outcome, wait = self._try(gate, payload, request)
            if outcome.status != Status.FAILED:
                self._failed_in_row = 0
                return outcome
            if wait is None or attempt == self.config.retries:
                break
            longest = self.config.backoff * 2**attempt * random.uniform(0.5, 1.0)
            time.sleep(min(max(wait, longest), self.config.longest_wait))
        with self._count:
            self._failed_in_row += 1
        return outcome

    def _try(self, gate: Gate, payload: dict[str, Any], request: Request):
        """One call: its outcome, and seconds to wait before another (None: do not try again)."""
        entered_in = gate.enter()
        answered = False
        with self._count:
            self.num_calls += 1
        try:
            completion = self._client.chat.completions.create(**payload)
            outcome = _read_completion(completion, request)
            answered = outcome.status != Status.FAILED
            return outcome, 0.0
        except self._openai.APIStatusError as error:
            status = error.status_code
            if status == 429:
                gate.halve(entered_in)
            final = status < 500 and status not in _PASSING
            outcome = Result(Status.FAILED, text=f"HTTP {status}: {error.message}")
            return outcome, None if final else _retry_after(error.response.headers)
        except (self._openai.APIError, ValueError) as error:
            # A body that is no JSON raises a ValueError inside the package.
            return Result(Status.FAILED, text=f"{type(error).__name__}: {error}"), 0.0
        finally:
            gate.leave(answered=answered)


def _read_completion(completion: Any, request: Request) -> Result:
    try:
        choice, usage = completion.choices[0], completion.usage
        text, refusal = choice.message.content, choice.message.refusal
        refused = bool(refusal) or choice.finish_reason == "content_filter"
        tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    except (AttributeError, IndexError, TypeError) as error:
        return Result(Status.FAILED, text=f"the server's answer is no chat completion: {error}")
    if refused:
        return Result(Status.REFUSED, None, refusal or text or "", *tokens)
    if not isinstance(text, str):
        return Result(Status.FAILED, text="the server's answer has no text")
    return read(text, request.choices, *tokens)


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
