"""The platform that a program is traced for: that of this process, or one it is only compiled for.

A program whose best form depends on the platform asks `platform` while it is traced.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import jax
import jax.extend

Platform = Literal["cpu", "cuda", "rocm", "tpu"]

_TRACED_FOR: ContextVar[Platform | None] = ContextVar("platform", default=None)


def platform() -> str:
    """Gives ``cpu``, ``cuda``, ``rocm`` or ``tpu``; the default backend's outside `tracing_for`."""
    name = _TRACED_FOR.get() or jax.default_backend()
    if name != "gpu":
        return name
    return "cuda" if "cuda" in jax.extend.backend.get_backend().platform_version else "rocm"


@contextmanager
def tracing_for(name: Platform) -> Iterator[None]:
    """Traces what is called inside for another platform, to compile it there without a device.

    What was traced before is forgotten on the way in and out, since JAX does not know that it
    depends on the platform.

    Args:
        name: The platform.
    """
    jax.clear_caches()
    token = _TRACED_FOR.set(name)
    try:
        yield
    finally:
        _TRACED_FOR.reset(token)
        jax.clear_caches()
