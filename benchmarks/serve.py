"""The server on loopback under 64 clients: every answer is checked against the library.

``python -m benchmarks.serve [--small] [--rounds N]``. A model over hashed n-grams; people of whom
some answers are known; each client ranks for one person after the other, eight candidates a
request. ``texts`` are new in every request and go through the encoder; ``embeddings`` are sent
along as lists of numbers, ``base64`` as their bytes; ``health`` is the same server and clients with
nothing to compute, the floor of this machine; ``mixed`` is all of them at once. Clients and server
share the cores; beside other jobs the processor time of the server per request says more than the
rate. A wrong or missing answer ends the benchmark with an error; answers are checked when the clock
has stopped. ``--rounds 4`` sends 128,000 requests.
"""

import argparse
import asyncio
import base64
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks import timing
from prefjax.basis.heads import linear_params
from prefjax.encoders import HashedConfig, make_hashed
from prefjax.model import PreferenceModel
from prefjax.model.encoder import ModelEncoder
from prefjax.types import Gaussian, RewardBasis

KINDS: tuple[str, ...] = ("health", "embeddings", "base64", "texts", "mixed")
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
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
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
    assert model.encoder is not None
    rng = np.random.default_rng(seed)
    chosen = rng.choice(WORDS, size=(count * NUM_CANDIDATES, 12))
    texts = [f"{' '.join(row)} {seed} {place}" for place, row in enumerate(chosen)]
    table = np.asarray(model.encoder.read(texts, ["What now?"] * len(texts)), "<f4")
    items = model.items(table)
    made = []
    for number in range(count):
        one = str(rng.choice(KINDS[:-1])) if kind == "mixed" else kind
        rows = slice(number * NUM_CANDIDATES, (number + 1) * NUM_CANDIDATES)
        if one == "health":
            made.append(("GET", "/health", b"", None))
            continue
        body: dict[str, Any] = {"prompt": "What now?", "candidates": texts[rows]}
        if one == "embeddings":
            body = {"candidates": table[rows].tolist()}
        if one == "base64":
            encoded = (base64.b64encode(row.tobytes()).decode() for row in table[rows])
            body = {"candidates": [{"float32": text} for text in encoded]}
        person = int(rng.integers(len(model.users)))
        expected = items.features[rows] @ model.people.mean[person] + items.utility[rows]
        made.append(("POST", f"/people/w{person}/rank", orjson.dumps(body), expected))
    return made


async def drive(port: int, batches) -> tuple[list[float], float]:
    """Every batch by a client of its own; seconds of each request, and of all.

    Raises:
        AssertionError: An answer is not what the library says, or is missing.
    """
    seconds: list[float] = []
    answers = []

    async def client(requests):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        for method, path, body, expected in requests:
            start = time.perf_counter()
            content = await request(reader, writer, method, path, body)
            seconds.append(time.perf_counter() - start)
            answers.append((content, expected))
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(client(requests) for requests in batches))
    whole = time.perf_counter() - start
    assert len(answers) == sum(map(len, batches))
    for content, expected in answers:
        if expected is not None:
            found = np.array(orjson.loads(content)["reward"])
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    return seconds, whole


def processor_seconds(process: subprocess.Popen[str]) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
    parser.add_argument("--rounds", type=int, default=1, help="how often all is repeated")
    arguments = parser.parse_args()
    each = 10 if arguments.small else 100
    model = make_model(500)
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    wall, busy = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.0)
    seeds = iter(range(10_000_000))
    with tempfile.TemporaryDirectory() as folder:
        process, port = start_server(model, Path(folder))
        try:
            for kind in KINDS * arguments.rounds:
                warm = [make_requests(kind, model, 2, next(seeds)) for _ in range(NUM_CLIENTS)]
                asyncio.run(drive(port, warm))
                batches = [
                    make_requests(kind, model, each, next(seeds)) for _ in range(NUM_CLIENTS)
                ]
                before = processor_seconds(process)
                seconds, whole = asyncio.run(drive(port, batches))
                busy[kind] += processor_seconds(process) - before
                wall[kind] += whole
                found[kind] += seconds
        finally:
            process.terminate()
            process.wait(timeout=60)
    rates = {kind: len(found[kind]) / wall[kind] for kind in KINDS}
    for kind, rate in rates.items():
        print(
            f"{kind}: {len(found[kind])} requests, {rate:.0f} a second, p99 "
            f"{np.quantile(found[kind], 0.99):.3f} s, {1e3 * busy[kind] / len(found[kind]):.2f} ms "
            "of processor time in the server"
        )
    ratios = {f"{kind} / health": rates[kind] / rates["health"] for kind in KINDS}
    total = sum(map(len, found.values()))
    sizes = {"clients": NUM_CLIENTS, "candidates": NUM_CANDIDATES, "requests": total}
    print(timing.report("serve", sizes, {k: float(np.median(v)) for k, v in found.items()}, ratios))


if __name__ == "__main__":
    main()
