"""Timing of several candidates side by side: compile apart, warm-up, medians, one JSON line.

The candidates of a benchmark are called in turn, round after round, so that a machine which slows
down slows all of them. A candidate returns its arrays; the clock stops when they are ready.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Roofline(NamedTuple):
    """What a computation needs, and the ceilings measured on this machine."""

    num_bytes: float
    num_flops: float
    bytes_per_second: float
    flops_per_second: float

    @property
    def seconds(self) -> float:
        """Least time the ceilings allow."""
        return max(self.num_bytes / self.bytes_per_second, self.num_flops / self.flops_per_second)


def first_call(call: Callable[[], Any]) -> float:
    """Seconds of the first call: compilation and one run."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def interleaved(candidates: Mapping[str, Callable[[], Any]], repeats: int = 7) -> dict[str, float]:
    """Median seconds of each candidate, called in turn after one warm-up round."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round_index in range(repeats + 1):
        for name, call in candidates.items():
            elapsed = first_call(call)
            if round_index:
                seconds[name].append(elapsed)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def measure_ceilings(size: int = 1 << 24) -> tuple[float, float]:
    """Bytes per second of a streamed addition, float32 operations per second of a matmul."""
    vector = jnp.ones(size)
    matrix = jnp.ones((1024, 1024))
    add = jax.jit(lambda x: x + 1)
    multiply = jax.jit(lambda x: x @ x)
    seconds = interleaved({"copy": lambda: add(vector), "matmul": lambda: multiply(matrix)}, 5)
    return 8 * size / seconds["copy"], 2 * 1024**3 / seconds["matmul"]


def environment() -> dict[str, Any]:
    """Versions and machine of a measurement."""
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
    }


def ratios_to(ours: str, seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds of every baseline divided by ours."""
    return {name: value / seconds[ours] for name, value in seconds.items() if name != ours}


def report(
    benchmark: str,
    sizes: Mapping[str, Any],
    seconds: Mapping[str, float],
    ratios: Mapping[str, float],
    **more: Any,
) -> str:
    """The line a benchmark prints last; whoever reaches it agrees with its baselines.

    Args:
        benchmark: Name of the benchmark.
        sizes: What was computed.
        seconds: Median of each candidate.
        ratios: Seconds of each baseline over ours.
        more: Further fields.
    """
    line = {
        "benchmark": benchmark,
        "device": jax.devices()[0].device_kind,
        "sizes": dict(sizes),
        "seconds": dict(seconds),
        "ratios": dict(ratios),
        "agrees": True,
    }
    return json.dumps(line | more)
