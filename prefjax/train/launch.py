"""N processes on one machine, started again when one is lost.

    python -m prefjax.train.launch --nproc N --max-restarts K -- COMMAND

Process i runs the command with the address of the coordinator, N and i in its environment; see
`prefjax.parallel.start_processes`. They talk over the loopback interface only. When one of them
fails, hangs or is killed, the others are stopped and all are started again, at most K times, with
``PREFJAX_RESTART`` set, on which ``python -m prefjax.train`` resumes from the latest good step.
SIGTERM and Ctrl-C are passed on once and end it; a second one kills.

Several machines are for ``python -m prefjax.train --ray``. On one machine this stays beside it: it
needs no other package, has its processes running in a third of the time, and, unlike a Ray cluster,
gives them the time to save a step when it is told to stop.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from prefjax.parallel import COORDINATOR, LOOPBACK, NUM_PROCESSES, PROCESS_ID

POLL_SECONDS = 0.1


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(prog="python -m prefjax.train.launch", description=__doc__)
    parser.add_argument("--nproc", type=int, required=True, help="processes")
    parser.add_argument("--max-restarts", type=int, default=3, help="starts after the first")
    parser.add_argument(
        "--grace", type=float, default=5.0, help="seconds the others have when one has failed"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- command")
    arguments = parser.parse_args(argv)
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if arguments.nproc < 1 or not command:
        parser.error("--nproc must be at least 1, and a command must follow --")

    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: received.append(number))
    status = 1
    for attempt in range(arguments.max_restarts + 1):
        status = run_once(command, arguments.nproc, attempt, arguments.grace, received)
        if status == 0 or received:
            return status
        left = arguments.max_restarts - attempt
        print(f"launch: a process ended with {status}; {left} restarts left.", file=sys.stderr)
    return status


def run_once(
    command: Sequence[str], num_processes: int, attempt: int, grace: float, received: list[int]
) -> int:
    """All processes once, until all have ended.

    Args:
        command: What each runs.
        num_processes: N.
        attempt: 0 for the first start.
        grace: Seconds between the first failure and the kill of the others.
        received: Signals this process has got; grows while it runs.

    Returns:
        0 if all ended with 0, else the first other status.
    """
    address = f"{LOOPBACK}:{_free_port()}"
    processes = [
        subprocess.Popen(
            list(command),
            env=_environment(address, num_processes, place, attempt),
            start_new_session=True,
        )
        for place in range(num_processes)
    ]
    passed_on, failed_at, status = 0, None, 0
    try:
        while any(process.poll() is None for process in processes):
            if len(received) > passed_on:
                number = signal.SIGTERM if passed_on == 0 else signal.SIGKILL
                passed_on = len(received)
                _signal(processes, number)
            failed = [p.returncode for p in processes if p.returncode not in (None, 0)]
            if failed and failed_at is None:
                failed_at, status = time.monotonic(), failed[0]
            if failed_at is not None and time.monotonic() - failed_at > grace:
                _signal(processes, signal.SIGKILL)
            time.sleep(POLL_SECONDS)
    finally:
        _signal(processes, signal.SIGKILL)
        for process in processes:
            process.wait()
    failed = [p.returncode for p in processes if p.returncode]
    return status or (failed[0] if failed else 0)


def _environment(address: str, num_processes: int, place: int, attempt: int) -> dict[str, str]:
    added = {"PREFJAX_LAUNCHER": str(os.getpid())}
    if num_processes > 1:
        added |= {
            COORDINATOR: address,
            NUM_PROCESSES: str(num_processes),
            PROCESS_ID: str(place),
        }
    if attempt:
        added["PREFJAX_RESTART"] = str(attempt)
    return {**os.environ, **added}


def _signal(processes: Sequence[subprocess.Popen], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, number)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
