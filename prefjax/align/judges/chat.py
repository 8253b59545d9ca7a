"""A judge behind any OpenAI-compatible chat completion server, through the ``openai`` package.

How requests are sent, tried again and given up is `prefjax.align.judges.client`. Equal requests are
sent once, and what the cache knows is not asked.

Extra: ``pip install 'prefjax[judge]'``. The key comes from ``OPENAI_API_KEY``.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from prefjax.align.judges.cache import Cache, key_of
from prefjax.align.judges.client import OpenAIClient, OpenAIConfig
from prefjax.align.judges.completion import Attempt, read_completion
from prefjax.align.judges.request import Request, Result, Status, fault_of


class OpenAIJudge:
    """Asks an OpenAI-compatible server; see the module docstring.

    Args:
        config: Model, address, limits.
        cache: Where answers are kept; None asks again every time.
        api_key: Key of the server; by default ``OPENAI_API_KEY``. A server other than OpenAI's is
            asked without one if there is none.
        on_result: Called after each new answer, for a progress bar.

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
        on_result: Callable[[Result], None] = lambda _: None,
    ):
        self._client = OpenAIClient(config, api_key=api_key)
        self.config, self.cache = config, cache
        self._on_result = on_result

    @property
    def num_calls(self) -> int:
        """Calls made so far, retries included."""
        return self._client.num_calls

    def complete(self, requests: Sequence[Request]) -> list[Result]:
        """One result for each request; what the cache knows is not asked."""
        payloads = [self.config.payload(request) for request in requests]
        keys = [key_of(payload) for payload in payloads]
        known: dict[str, Result] = {}
        todo: dict[str, tuple[dict[str, Any], Request]] = {}
        for key, payload, request in zip(keys, payloads, requests, strict=True):
            if key in known or key in todo:
                continue
            fault = fault_of(request)
            if fault is not None:
                known[key] = Result(Status.FAILED, text=f"not sent: {fault}")
                continue
            stored = None if self.cache is None else self.cache.get(payload, request)
            if stored is None:
                todo[key] = payload, request
            else:
                known[key] = stored

        def read_one(key: str, completion: Any, limit: str) -> Attempt:
            return read_completion(completion, todo[key][1], limit)

        bodies = {key: payload["body"] for key, (payload, _) in todo.items()}
        with closing(self._client.ask_all(bodies, read_one)) as new:
            for key, result in new:
                known[key] = result
                if self.cache is not None:
                    self.cache.put(todo[key][0], result)
                self._on_result(result)
        return [known[key] for key in keys]
