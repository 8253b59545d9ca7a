"""Texts of requests that wait at the same time are read together.

An encoder reads thirty texts in hardly more time than one. While one batch is read, the texts of
all requests that arrive are collected; the next batch takes them, each text once.
"""

import asyncio
from collections.abc import Sequence

import anyio.to_thread

from prefjax.person.reading import Reader

MOST_TEXTS = 1_024
"""Texts of a batch, so that none waits long for the others."""


class TextBatcher:
    """Reads texts ahead of their use, through a reader that remembers them.

    Args:
        reader: Of a model; what it has read it gives again at once.

    Attributes:
        num_batches: Batches so far.
        num_texts: Texts in them.
    """

    def __init__(self, reader: Reader):
        self._reader = reader
        self._waiting: list[tuple[list[tuple[str, str]], asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self.num_batches = self.num_texts = 0

    async def read(self, prompts: Sequence[str], responses: Sequence[str]) -> None:
        """Returns when the reader knows these texts.

        Args:
            prompts: One for each response.
            responses: Texts.

        Raises:
            ValueError: One of these texts cannot be read.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((list(zip(prompts, responses, strict=True)), done))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        await done

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, count = [], 0
                while self._waiting and (not batch or count < MOST_TEXTS):
                    batch.append(self._waiting.pop(0))
                    count += len(batch[-1][0])
                await self._read(batch)
        finally:
            self._task = None

    async def _read(self, batch: list[tuple[list[tuple[str, str]], asyncio.Future[None]]]) -> None:
        batch = [one for one in batch if not one[1].done()]
        keys = list(dict.fromkeys(key for texts, _ in batch for key in texts))
        self.num_batches, self.num_texts = self.num_batches + 1, self.num_texts + len(keys)
        try:
            for start in range(0, len(keys), MOST_TEXTS):
                await anyio.to_thread.run_sync(self._known, keys[start : start + MOST_TEXTS])
        except Exception as error:
            if len(batch) == 1:
                if not batch[0][1].done():
                    batch[0][1].set_exception(error)
                return
            for one in batch:  # whose text it was is found by reading each alone
                await self._read([one])
            return
        for _, done in batch:
            if not done.done():
                done.set_result(None)

    def _known(self, keys: Sequence[tuple[str, str]]) -> None:
        self._reader([response for _, response in keys], [prompt for prompt, _ in keys])
