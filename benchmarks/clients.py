"""Clients of a server who send one answer after the other until it is acknowledged."""

import asyncio
import contextlib

import orjson


@contextlib.asynccontextmanager
async def connection(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def post(port, path, body, key=None, host="localhost"):
    """Status and content of the answer."""
    body = orjson.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\nConnection: close\r\n"
    head += "" if key is None else f"Idempotency-Key: {key}\r\n"
    async with connection(port) as (reader, writer):
        writer.write(head.encode() + b"\r\n" + body)
        answered = await reader.readuntil(b"\r\n\r\n")
        return int(answered.split(b" ", 2)[1]), await reader.read()


class Clients:
    """People who each send one answer after the other, over any of several ports.

    An answer is sent again under its key, over the next port, until it is acknowledged. What came
    instead of 200 is kept: a connection that was lost is None, anything else its status and text.
    """

    def __init__(self, ports, count):
        self.ports, self.people = ports, [f"p{number}" for number in range(count)]
        self.acknowledged = [0] * count
        self.refused, self.seconds = [], []
        self.done = asyncio.Event()

    async def __aenter__(self):
        for person in self.people:
            status, content = await post(self.ports[0], "/people", {"id": person})
            assert status == 201, content
        self.tasks = [asyncio.create_task(self._run(n)) for n in range(len(self.people))]
        return self

    async def __aexit__(self, *_):
        self.done.set()
        await asyncio.wait_for(asyncio.gather(*self.tasks), 120)

    async def _run(self, number):
        while not self.done.is_set():
            await self._observe(number, self.acknowledged[number])
            self.acknowledged[number] += 1

    async def _observe(self, number, turn):
        person = self.people[number]
        body = {"prompt": "", "first": f"{person} {turn}", "second": "b", "label": 1}
        path, tries = f"/people/{person}/observe", number
        while True:
            start, found = asyncio.get_running_loop().time(), None
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                port = self.ports[tries % len(self.ports)]
                found = await asyncio.wait_for(post(port, path, body, f"k{turn}"), 60)
            self.seconds.append(asyncio.get_running_loop().time() - start)
            if found is not None and found[0] == 200:
                return
            self.refused.append(found)
            tries += 1
            await asyncio.sleep(0.05)

    def check(self, store):
        """Every acknowledged answer is there once, in order, and nobody else's."""
        for person, count in zip(self.people, self.acknowledged, strict=True):
            said = [answer["shown"]["first"] for answer in store.read(person).answers]
            assert said == [f"{person} {turn}" for turn in range(count)]
        assert min(self.acknowledged) > 0
