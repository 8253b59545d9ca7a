"""What can stop a run from outside, or must: signals, peers that hang, a parent that is gone."""

import faulthandler
import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType

import jax

EXIT_STUCK = 75
"""Exit status of a process whose step did not end; the relaunch goes on from the last step."""

PARENT = "PREFJAX_LAUNCHER"


class Watchdog:
    """Ends the process if no step ends for too long.

    A peer that is alive but stuck is noticed by nobody else: a collective waits for it forever. All
    stacks are written to stderr first. A process whose launcher has died ends too.

    Args:
        seconds: Longest time between two calls of `beat`.
        first_seconds: Longest time until the first one; it compiles.
    """

    def __init__(self, seconds: float, first_seconds: float):
        self._seconds, self._limit = seconds, first_seconds
        self._last = time.monotonic()
        self._done = threading.Event()
        self._parent = int(os.environ.get(PARENT, "0"))
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def beat(self) -> None:
        """A step has ended."""
        self._last, self._limit = time.monotonic(), self._seconds

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self._limit / 4)):
            if self._parent and os.getppid() != self._parent:
                _leave("The launcher is gone.")
            if time.monotonic() - self._last > self._limit:
                _leave(f"No step ended within {self._limit:g} s: a peer or a device is stuck.")

    def __enter__(self) -> "Watchdog":
        self._last = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()


def _leave(reason: str) -> None:
    print(f"{reason} Stacks follow; exit {EXIT_STUCK}.", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(all_threads=True)
    os._exit(EXIT_STUCK)


class Interrupts:
    """Turns SIGTERM and Ctrl-C into a wish to stop after the running step.

    A second Ctrl-C raises ``KeyboardInterrupt`` at once. In a run of several processes JAX takes
    SIGTERM itself, to make all of them stop at the same step, and it is left alone.
    """

    def __init__(self):
        self.wanted = False
        self._before: dict[int, object] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.wanted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.wanted = True

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
