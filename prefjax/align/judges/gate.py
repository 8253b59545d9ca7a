"""How many requests may be under way at a time, lowered when a server says that it is too much."""

import asyncio


class Gate:
    """A semaphore whose size halves on demand and grows again with the answers.

    Args:
        limit: Requests under way at a time, at first and at most.

    Attributes:
        limit: Requests that may be under way now.
    """

    def __init__(self, limit: int):
        self.limit = self._largest = limit
        self._under_way = self._answered = self._round = 0
        self._freed = asyncio.Event()

    async def enter(self) -> int:
        """Wait for a place; the number returned names the round, for ``halve``."""
        while self._under_way >= self.limit:
            self._freed.clear()
            await self._freed.wait()
        self._under_way += 1
        return self._round

    def leave(self, *, answered: bool) -> None:
        """Give the place back; every ``limit`` answers make room for one more."""
        self._under_way -= 1
        self._answered += answered
        if self._answered >= self.limit:
            self._answered, self.limit = 0, min(self.limit + 1, self._largest)
        self._freed.set()

    def halve(self, entered_in: int) -> None:
        """Halve the limit, unless that has happened since this request entered."""
        if entered_in == self._round:
            self._round += 1
            self._answered, self.limit = 0, max(1, self.limit // 2)
