"""Requests that wait at the same time are worked on together.

An encoder reads thirty texts in hardly more time than one, and a program of XLA takes thirty lists
in hardly more than one. While one batch is worked on, all requests that arrive are collected; the
next batch takes them.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from prefjax.person.reading import Reader
from prefjax.serve.threads import in_thread

MOST_TEXTS = 1_024
"""Texts of a batch, so that none waits long for the others."""
Request = TypeVar("Request")
Result = TypeVar("Result")


class Batcher(Generic[Request, Result]):
    """Collects requests and has them worked on in a thread, one batch after the other.

    Args:
        work: From requests to the result of each. If it raises, each is worked on alone, so that
            only the request whose fault it was gets the error.
        size: Of a request.
        most: Largest sum of the sizes of a batch of several.

    Attributes:
        num_batches: Batches so far.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Request]], Sequence[Result]],
        size: Callable[[Request], int],
        most: int,
    ):
        self._work, self._size, self._most = work, size, most
        self._waiting: list[tuple[Request, asyncio.Future[Result]]] = []
        self._task: asyncio.Task[None] | None = None
        self.num_batches = 0

    async def __call__(self, request: Request) -> Result:
        """The result of a request.

        Raises:
            Exception: What ``work`` raises of this request alone.
        """
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, done))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        try:
            while self._waiting:
                size, count = 0, 0
                for request, _ in self._waiting:
                    size += self._size(request)
                    if count and size > self._most:
                        break
                    count += 1
                batch, self._waiting = self._waiting[:count], self._waiting[count:]
                await self._finish([one for one in batch if not one[1].done()])
        finally:
            self._task = None

    async def _finish(self, batch: Sequence[tuple[Request, asyncio.Future[Result]]]) -> None:
        self.num_batches += 1
        try:
            requests = [request for request, _ in batch]
            results = await in_thread(self._work, requests)
        except Exception as error:
            if len(batch) == 1:
                if not batch[0][1].done():
                    batch[0][1].set_exception(error)
                return
            for one in batch:
                await self._finish([one])
            return
        for (_, done), result in zip(batch, results, strict=True):
            if not done.done():
                done.set_result(result)


class TextBatcher:
    """Reads texts ahead of their use, through a reader that remembers them.

    Args:
        reader: Of a model; what it has read it gives again at once.

    Attributes:
        num_texts: Texts so far, in each batch every text once.
    """

    def __init__(self, reader: Reader):
        self._reader = reader
        self._batcher = Batcher(self._work, len, MOST_TEXTS)
        self.num_texts = 0

    @property
    def num_batches(self) -> int:
        """Batches so far."""
        return self._batcher.num_batches

    async def read(self, prompts: Sequence[str], responses: Sequence[str]) -> None:
        """Returns when the reader knows these texts.

        Args:
            prompts: One for each response.
            responses: Texts.

        Raises:
            ValueError: One of these texts cannot be read.
        """
        await self._batcher(list(zip(prompts, responses, strict=True)))

    def _work(self, requests: Sequence[list[tuple[str, str]]]) -> list[None]:
        keys = list(dict.fromkeys(key for request in requests for key in request))
        self.num_texts += len(keys)
        for start in range(0, len(keys), MOST_TEXTS):
            some = keys[start : start + MOST_TEXTS]
            self._reader([response for _, response in some], [prompt for prompt, _ in some])
        return [None] * len(requests)
