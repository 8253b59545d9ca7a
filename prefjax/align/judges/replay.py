"""Judges that make no call: answers from a cache, and a count of what a run would cost."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefjax.align.judges.cache import Cache, canonical_json, key_of
from prefjax.align.judges.request import Request, Result, Status


class ReplayJudge:
    """Answers from a cache alone; what it does not hold has failed.

    Args:
        cache: The answers.
        payload: What was sent for a request, and to whom, such as ``OpenAIConfig(...).payload``.
    """

    def __init__(self, cache: Cache, payload: Callable[[Request], Mapping[str, Any]]):
        self._cache, self._payload = cache, payload

    def complete(self, requests: Sequence[Request]) -> list[Result]:
        """One result for each request."""
        missing = Result(Status.FAILED, text=f"not in the cache {self._cache.path}")
        found = (self._cache.get(self._payload(request), request) for request in requests)
        return [missing if result is None else result for result in found]


class DryRunJudge:
    """Prints the calls and tokens that requests would cost, and answers none of them.

    A token is taken to be four characters of the body, which is near the truth for English.

    Args:
        payload: What would be sent for a request, and to whom, such as
            ``OpenAIConfig(...).payload``.
        cache: Answers that are there already.
        max_tokens: Length of an answer at most.

    Attributes:
        num_calls: Calls that would be made, so far.
        input_tokens: Tokens that they would read, about.
    """

    def __init__(
        self,
        payload: Callable[[Request], Mapping[str, Any]],
        *,
        cache: Cache | None = None,
        max_tokens: int = 64,
    ):
        self._payload, self._cache, self._max_tokens = payload, cache, max_tokens
        self.num_calls = self.input_tokens = 0

    def complete(self, requests: Sequence[Request]) -> list[Result]:
        """Known results for what the cache holds, ``failed`` for the rest, and one printed line."""
        results, new = [], {}
        for request in requests:
            payload = self._payload(request)
            stored = None if self._cache is None else self._cache.get(payload, request)
            results.append(stored or Result(Status.FAILED, text="dry run: not asked"))
            if stored is None:
                new[key_of(payload)] = len(canonical_json(payload)) // 4
        self.num_calls += len(new)
        tokens = sum(new.values())
        self.input_tokens += tokens
        print(
            f"dry run: {len(requests)} requests, {len(new)} calls, about {tokens} tokens to read, "
            f"at most {len(new) * self._max_tokens} to write"
        )
        return results
