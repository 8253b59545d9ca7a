"""The server on loopback under 64 clients: every answer is checked against the library.

``python -m benchmarks.serve [--small]``. A model over hashed n-grams; people of whom some answers
are known; each client ranks for one person after the other, eight candidates a request. ``texts``
are new in every request and go through the encoder; ``embeddings`` are sent along; ``health`` is
the same server and clients with nothing to compute, the floor of this machine. Clients and server
share the cores. A wrong or missing answer ends the benchmark with an error.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import timing
from prefjax.basis.heads import linear_params
from prefjax.encoders import HashedConfig, make_hashed
from prefjax.model import PreferenceModel
from prefjax.model.encoder import ModelEncoder
from prefjax.types import Gaussian, RewardBasis

NUM_CLIENTS = 64
NUM_CANDIDATES = 8
NUM_FACTORS = 6
WORDS = ("sea", "mountain", "please", "never", "long", "short", "why", "because", "list", "thanks")


def make_model(num_people: int) -> PreferenceModel:
    """Random base rewards over n-grams of 256 numbers, and people who are known."""
    rng = np.random.default_rng(0)
    encoder = make_hashed(HashedConfig(dimension=256))
    width = encoder.encode(["a"]).shape[1]
    kernel = rng.normal(size=(width, NUM_FACTORS + 1)).astype(np.float32)
    eye = np.eye(NUM_FACTORS, dtype=np.float32)
    people = Gaussian(
        rng.normal(size=(num_people, NUM_FACTORS)).astype(np.float32),
        np.repeat(eye[None] / 4, num_people, axis=0),
    )
    population = Gaussian(np.zeros(NUM_FACTORS, np.float32), eye)
    basis = RewardBasis(linear_params(kernel), population, np.ones((), np.float32))
    users = tuple(f"w{number}" for number in range(num_people))
    return PreferenceModel(basis, people, users, {}, ModelEncoder.of(encoder))


async def request(reader, writer, method: str, path: str, body: bytes = b"") -> bytes:
    """One request over an open connection; the body of its answer."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    answered = await reader.readuntil(b"\r\n\r\n")
    status = answered.split(b" ", 2)[1]
    length = int(answered.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    content = await reader.readexactly(length)
    if status != b"200":
        raise RuntimeError(f"{path}: {status.decode()} {content[:200]!r}")
    return content


def make_requests(kind: str, model: PreferenceModel, count: int, seed: int):
    """(method, path, body, expected rewards) of each request."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        user = model.users[int(rng.integers(len(model.users)))]
        if kind == "health":
            made.append(("GET", "/health", b"", None))
            continue
        chosen = rng.choice(WORDS, size=(NUM_CANDIDATES, 12))
        texts = [f"{' '.join(row)} {seed} {number} {place}" for place, row in enumerate(chosen)]
        body = {"prompt": "What now?", "candidates": texts}
        items = model.items("What now?", texts)
        if kind == "embeddings":
            assert model.encoder is not None
            table = np.asarray(model.encoder.read(texts, ["What now?"] * len(texts)))
            body = {"candidates": np.round(table.astype(float), 6).tolist()}
        weights = model.people.mean[int(user[1:])]
        expected = items.features @ weights + items.utility
        path = f"/people/{user}/rank"
        made.append(("POST", path, json.dumps(body).encode(), expected))
    return made


async def drive(port: int, batches) -> list[float]:
    """Every batch by a client of its own; seconds of each request."""
    seconds: list[float] = []

    async def client(requests):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        for method, path, body, expected in requests:
            start = time.perf_counter()
            content = await request(reader, writer, method, path, body)
            seconds.append(time.perf_counter() - start)
            if expected is not None:
                found = np.array(json.loads(content)["reward"])
                np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
        writer.close()

    await asyncio.gather(*(client(requests) for requests in batches))
    return seconds


def start_server(model: PreferenceModel, folder: Path) -> tuple[subprocess.Popen[str], int]:
    """The server as a process, and its port."""
    model.save(folder / "model")
    command = [sys.executable, "-m", "prefjax.cli", "serve", str(folder / "model"), "--port", "0"]
    command += ["--people", str(folder / "people.sqlite")]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return process, int(process.stdout.readline().rsplit(":", 1)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--small", action="store_true", help="fewer requests")
    each = 10 if parser.parse_args().small else 100
    model = make_model(500)
    seconds, rates, slowest = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        process, port = start_server(model, Path(folder))
        try:
            for kind in ("health", "embeddings", "texts"):
                warm, *batches = (
                    make_requests(kind, model, each if seed else 20, seed)
                    for seed in range(NUM_CLIENTS + 1)
                )
                asyncio.run(drive(port, [warm]))
                start = time.perf_counter()
                found = asyncio.run(drive(port, batches))
                rates[kind] = len(found) / (time.perf_counter() - start)
                seconds[kind] = float(np.median(found))
                slowest[kind] = float(np.quantile(found, 0.99))
        finally:
            process.terminate()
            process.wait(timeout=60)
    for kind, rate in rates.items():
        print(f"{kind}: {rate:.0f} requests a second, p99 {slowest[kind]:.3f} s")
    ratios = {f"{kind} / health": rates[kind] / rates["health"] for kind in rates}
    sizes = {"clients": NUM_CLIENTS, "candidates": NUM_CANDIDATES, "requests": each * NUM_CLIENTS}
    print(timing.report("serve", sizes, seconds, ratios))


if __name__ == "__main__":
    main()
