"""What XLA compiles while something runs."""

from contextlib import contextmanager

import jax

COMPILED = "/jax/core/compile/backend_compile_duration"


@contextmanager
def compilations():
    """The programs that are compiled inside, or read from the compilation cache."""
    seen = []

    def note(event, duration, **fields):
        if event == COMPILED:
            seen.append(fields)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
