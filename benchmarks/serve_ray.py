"""Replicas on Ray over a database under 64 clients who answer one question after the other.

``python -m benchmarks.serve_ray postgresql+psycopg://… [--clients 64] [--seconds 60]``. A cluster
is started on this machine by ``prefjax serve --ray``; each client is a person of their own, opens a
connection for every answer and sends the next one as soon as this one is acknowledged, so that the
answers a second are all that the machine gives, and the time to an answer is clients / rate. The
first ``--warm`` seconds are not counted. Afterwards every acknowledged answer must be in the
database once, in order. The processor time of every kind of process is told, per answer: beside
other jobs it says more than the rate. People p0, p1, … of the database are deleted.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

from benchmarks import timing
from benchmarks.clients import Clients
from benchmarks.serve import make_model
from prefjax.serve import PeopleStore
from prefjax.serve.store import UnknownPersonError

KINDS = {"ServeReplica": "replicas", "ProxyActor": "proxy"}


def processor_ms(process: psutil.Process) -> Counter[str]:
    """Milliseconds that the processes below one have used so far, by their kind."""
    found: Counter[str] = Counter()
    for one in process.children(recursive=True):
        with suppress(psutil.Error):
            title = " ".join(one.cmdline())
            kind = next((said for name, said in KINDS.items() if name in title), "rest of Ray")
            used = one.cpu_times()
            found[kind] += round(1e3 * (used.user + used.system))
    return found


async def drive(port: int, count: int, warm: float, seconds: float, server: psutil.Process):
    """Clients, seconds of each answer when warm, processor time by kind meanwhile, and the span."""
    async with Clients([port], count) as clients:
        await asyncio.sleep(warm)
        start, before, used = len(clients.seconds), time.perf_counter(), processor_ms(server)
        own = time.process_time()
        await asyncio.sleep(seconds)
        spent = processor_ms(server) - used
        spent["clients"] = round(1e3 * (time.process_time() - own))
        return clients, clients.seconds[start:], spent, time.perf_counter() - before


def forget(store: PeopleStore, count: int) -> None:
    """Deletes the people of the clients."""
    for number in range(count):
        with suppress(UnknownPersonError):
            store.delete(f"p{number}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("people", help="URL of a database")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--warm", type=float, default=3.0, help="seconds before the measurement")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--port", type=int, default=8765)
    arguments = parser.parse_args()
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with tempfile.TemporaryDirectory() as folder, PeopleStore(arguments.people) as store:
        forget(store, arguments.clients)
        make_model(4).save(Path(folder) / "model")
        command = [sys.executable, "-m", "prefjax.cli", "serve", f"{folder}/model", "--ray"]
        command += ["--people", arguments.people, "--replicas", str(arguments.replicas)]
        command += ["--port", str(arguments.port)]
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment | {"JAX_PLATFORMS": "cpu"}
        )
        try:
            assert server.stdout is not None
            assert server.stdout.readline().startswith("http://")
            settings = arguments.clients, arguments.warm, arguments.seconds
            clients, seconds, spent, span = asyncio.run(
                drive(arguments.port, *settings, psutil.Process(server.pid))
            )
        finally:
            server.terminate()
            server.wait(timeout=120)
        assert not clients.refused, clients.refused[:3]
        clients.check(store)
        forget(store, arguments.clients)
    number = len(seconds)
    print(
        f"{number} answers in {span:.0f} s, {number / span:.0f} a second; p50 "
        f"{np.median(seconds):.3f} s, p99 {np.quantile(seconds, 0.99):.3f} s, most "
        f"{max(seconds):.3f} s; load {os.getloadavg()[0]:.1f}"
    )
    for kind, used in spent.most_common():
        print(f"{kind}: {used / number:.1f} ms of processor time an answer")
    sizes = {"clients": arguments.clients, "replicas": arguments.replicas, "answers": number}
    found = {"p50": float(np.median(seconds)), "p99": float(np.quantile(seconds, 0.99))}
    print(timing.report("serve_ray", sizes, found, {}))


if __name__ == "__main__":
    main()
