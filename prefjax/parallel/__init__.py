"""Data parallelism over devices and processes: mesh, placement, one step compiled four ways."""

from prefjax.parallel._platform import platform, tracing_for
from prefjax.parallel._ray import start_ray
from prefjax.parallel.compilation import use_compilation_cache
from prefjax.parallel.mesh import (
    all_sum,
    fetch,
    make_mesh,
    own_rows,
    padded_size,
    place,
    place_rows,
    sharding,
)
from prefjax.parallel.processes import (
    COORDINATOR,
    LOOPBACK,
    NUM_PROCESSES,
    PROCESS_ID,
    ProcessConfig,
    is_preempted,
    is_primary,
    start_processes,
)
from prefjax.parallel.step import Backend, Specs, data_parallel

__all__ = [
    "COORDINATOR",
    "LOOPBACK",
    "NUM_PROCESSES",
    "PROCESS_ID",
    "Backend",
    "ProcessConfig",
    "Specs",
    "all_sum",
    "data_parallel",
    "fetch",
    "is_preempted",
    "is_primary",
    "make_mesh",
    "own_rows",
    "padded_size",
    "place",
    "place_rows",
    "platform",
    "sharding",
    "start_processes",
    "start_ray",
    "tracing_for",
    "use_compilation_cache",
]
