"""Test-wide settings: virtual CPU devices, strict ranks, and where the real data lies."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("PJRT_NPROC", "16")
os.environ.setdefault("MPLBACKEND", "Agg")

_SHARED_DATA = Path(__file__).resolve().parent.parent / "shared" / "data"
if "PREFJAX_DATA" not in os.environ and _SHARED_DATA.is_dir():
    os.environ["PREFJAX_DATA"] = str(_SHARED_DATA)

import jax  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_sessionstart() -> None:
    """All tests and all workers share the programs that any of them compiled."""
    from prefjax.parallel import use_compilation_cache

    use_compilation_cache()


MOST_MAPPINGS = 30_000
"""Memory mappings at which compiled programs are dropped; Linux aborts a process at 65,530."""


def pytest_runtest_logfinish() -> None:
    """Long runs compile thousands of programs, each of which holds several memory mappings."""
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPPINGS:
        jax.clear_caches()
