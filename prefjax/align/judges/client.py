"""Requests to any OpenAI-compatible chat completion server, through the ``openai`` package.

At most ``concurrency`` requests are under way at a time. An answer 429 halves that number (once for
all requests that were under way when it was halved), and every ``limit`` answers that arrive allow
one more again. Errors that may pass (429, 5xx, time-outs, a broken connection, a body that is no
completion) are tried again after ``backoff · 2^attempt`` seconds with jitter, or after what
``Retry-After`` says; others (an unknown model, a text beyond the window) are final. Once
``give_up_after`` requests in a row have failed by errors that may pass, or by a wrong key, the
server counts as down and the rest fails without being sent; what a server refuses shows that it is
up.

Judges and samplers are built on this; what is asked, and what an answer amounts to, is theirs.
"""

import asyncio
import json
import os
import queue
import random
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from prefjax.align.judges.cache import make_payload
from prefjax.align.judges.completion import Attempt, failed
from prefjax.align.judges.gate import Gate
from prefjax.align.judges.request import Request, Result, Status
from prefjax.settings import check_settings

Read: TypeAlias = Callable[[str, Any, str], Attempt]
"""``read(key, completion, limit)``: what the completion of a request amounts to; the limit is that
on its length, as it was sent."""

_PASSING = (408, 409, 425, 429)
_WRONG_KEY = (401, 403)
_OWN = ("model", "messages", "stream", "n")
_LIMITS = ("max_completion_tokens", "max_tokens", "max_new_tokens")
_OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True)
class OpenAIConfig:
    """How a server is asked.

    Attributes:
        model: Name of the model.
        base_url: Address of the server, such as ``http://127.0.0.1:8000/v1``; None for OpenAI's.
        max_tokens: Length of an answer; thinking counts as well.
        temperature: 0, so that an answer can be had again; None leaves it to the server.
        parameters: Further entries of the body of a request. They replace those above, and None
            leaves one out: ``{"max_tokens": None, "max_completion_tokens": 64}`` renames one, and
            ``{"chat_template_kwargs": {"enable_thinking": False}}`` adds one.
        concurrency: Requests under way at a time, at first.
        retries: How often a request is tried again.
        backoff: Seconds before the first retry.
        longest_wait: Seconds before any retry at most.
        timeout: Seconds until an answer must be there in full.
        give_up_after: Requests that fail in a row before the judge counts as down.

    Raises:
        ValueError: If a setting is out of range, the address is no HTTP address, or the parameters
            are no JSON or replace the model, the messages or how the answer is sent.
    """

    model: str
    base_url: str | None = None
    max_tokens: int = 64
    temperature: float | None = 0.0
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    concurrency: int = 64
    retries: int = 6
    backoff: float = 0.5
    longest_wait: float = 30.0
    timeout: float = 120.0
    give_up_after: int = 20

    def __post_init__(self):
        for name in ("max_tokens", "concurrency", "retries", "give_up_after"):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"{name} must be a whole number, got {getattr(self, name)!r}")
        check_settings(self, "max_tokens", "concurrency", "give_up_after", positive=("timeout",))
        if not self.model:
            raise ValueError("model must be the name of a model, got an empty one")
        if not (self.base_url or _OPENAI).startswith(("http://", "https://")):
            raise ValueError(f"base_url must start with http:// or https://, got {self.base_url!r}")
        own = [name for name in _OWN if name in self.parameters]
        if own:
            raise ValueError(f"parameters must not hold {own[0]!r}, which the judge sets itself")
        try:
            json.dumps(dict(self.parameters), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"parameters must be JSON: {error}") from error

    @property
    def server(self) -> str:
        """Address of the server that is asked."""
        url = self.base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI
        return url.rstrip("/")

    @property
    def sent(self) -> dict[str, Any]:
        """Entries of the body of every request, beside the model and the messages."""
        own = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        parameters = {**own, **self.parameters}
        return {name: value for name, value in parameters.items() if value is not None}

    def body(self, request: Request) -> dict[str, Any]:
        """What is sent for a request."""
        return make_payload(request, self.model, self.sent)

    def payload(self, request: Request) -> dict[str, Any]:
        """What is sent for a request and to whom: under this its answer is kept."""
        return {"server": self.server, "body": self.body(request)}


class OpenAIClient:
    """Sends requests to one server; see the module docstring.

    Args:
        config: Model, address, limits.
        api_key: Key of the server; by default ``OPENAI_API_KEY``. A server other than OpenAI's is
            asked without one if there is none.

    Attributes:
        num_calls: Calls made so far, retries included.

    Raises:
        ImportError: If the ``openai`` package is not installed.
        ValueError: If OpenAI's server is to be asked and there is no key.
    """

    def __init__(self, config: OpenAIConfig, *, api_key: str | None = None):
        try:
            import openai
        except ImportError as error:
            raise ImportError(
                "Asking a server needs the openai package: pip install 'prefjax[judge]'."
            ) from error
        self._openai = openai
        self.config, self.num_calls = config, 0
        self._key = api_key or os.environ.get("OPENAI_API_KEY")
        if not self._key and config.server == _OPENAI:
            raise ValueError(
                "OpenAI's server needs a key: set OPENAI_API_KEY or pass api_key. A server of your "
                "own needs none; name it by base_url."
            )
        self._failed_in_row = 0
        self._is_renamed = False

    def ask_all(
        self, bodies: Mapping[str, Mapping[str, Any]], read: Read
    ) -> Generator[tuple[str, Result], None, None]:
        """Results as they arrive, by key. Closing the iterator, as Ctrl-C does, sends nothing more.

        The event loop has a thread of its own: a notebook runs one already, and a cache belongs to
        the thread that opened it.

        Args:
            bodies: What is sent for each request.
            read: What an answer amounts to.
        """
        arrived: queue.SimpleQueue = queue.SimpleQueue()

        async def work() -> None:
            arrived.put((asyncio.get_running_loop(), asyncio.current_task()))
            gate, pending = Gate(self.config.concurrency), iter(bodies.items())
            client = self._openai.AsyncOpenAI(
                api_key=self._key or "none",
                base_url=self.config.server,
                timeout=self.config.timeout,
                max_retries=0,
            )

            async def worker() -> None:
                for key, body in pending:

                    def read_one(completion: Any, limit: str, key: str = key) -> Attempt:
                        return read(key, completion, limit)

                    arrived.put((key, await self._ask(client, gate, body, read_one)))

            async with client, asyncio.TaskGroup() as group:
                for _ in range(min(self.config.concurrency, len(bodies))):
                    group.create_task(worker())

        def run() -> None:
            try:
                asyncio.run(work())
            except BaseException as error:
                arrived.put(error)

        if not bodies:
            return
        self._failed_in_row = 0
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        loop, task = arrived.get()
        try:
            for _ in bodies:
                item = arrived.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        except BaseException:
            with suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(task.cancel)
            raise
        finally:
            thread.join()

    async def _ask(
        self,
        client: Any,
        gate: Gate,
        body: Mapping[str, Any],
        read: Callable[[Any, str], Attempt],
    ) -> Result:
        attempt = failed("not sent")
        for number in range(self.config.retries + 1):
            if self._failed_in_row >= self.config.give_up_after:
                return failed(
                    f"not sent: {self._failed_in_row} requests in a row failed before"
                ).result
            attempt = await self._try(client, gate, body, read)
            if attempt.wait is None or number == self.config.retries:
                break
            longest = self.config.backoff * 2**number * random.uniform(0.5, 1.0)
            await asyncio.sleep(min(max(attempt.wait, longest), self.config.longest_wait))
        self._failed_in_row = self._failed_in_row + 1 if attempt.is_down else 0
        return attempt.result

    async def _try(
        self,
        client: Any,
        gate: Gate,
        sent: Mapping[str, Any],
        read: Callable[[Any, str], Attempt],
    ) -> Attempt:
        """One call, and a second one at once where the limit of tokens has its other name."""
        body = dict(sent)
        if self._is_renamed and "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        limit = next((f"{name}={body[name]}" for name in _LIMITS if name in body), "its limit")
        entered_in = await gate.enter()
        answered = False
        self.num_calls += 1
        try:
            model, messages = body.pop("model"), body.pop("messages")
            async with asyncio.timeout(self.config.timeout):
                completion = await client.chat.completions.create(
                    model=model, messages=messages, extra_body=body
                )
            attempt = read(completion, limit)
            answered = attempt.result.status != Status.FAILED
            return attempt
        except self._openai.APIStatusError as error:
            status = error.status_code
            if status == 429:
                gate.halve(entered_in)
            message = f"HTTP {status}: {error.message}"
            if status >= 500 or status in _PASSING:
                wait = _retry_after(error.response.headers)
                return failed(message, wait=wait, is_down=True)
            if "max_tokens" not in body or "max_completion_tokens" not in message:
                return failed(_with_remedy(message, body), is_down=status in _WRONG_KEY)
            self._is_renamed = True
        except TimeoutError:
            message = f"timed out: no whole answer within {self.config.timeout} seconds"
            return failed(message, wait=0.0, is_down=True)
        except Exception as error:
            # Whatever a server sends, no answer of it may end the batch.
            return failed(f"{type(error).__name__}: {error}", wait=0.0, is_down=True)
        finally:
            gate.leave(answered=answered)
        return await self._try(client, gate, sent, read)


def _with_remedy(message: str, body: Mapping[str, Any]) -> str:
    named = [name for name in body if name in message]
    remedy = f" (OpenAIConfig(parameters={{{named[0]!r}: None}}) leaves it out)" if named else ""
    return message + remedy


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
