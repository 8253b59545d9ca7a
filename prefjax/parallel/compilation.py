"""Compiled programs on disk, so that a command compiles only what no earlier one did."""

import os
from pathlib import Path

import jax

SWITCH = "PREFJAX_COMPILATION_CACHE"


def use_compilation_cache() -> Path | None:
    """Turns on JAX's persistent compilation cache, in a folder under the user's cache directory.

    Commands, experiments and tests call it before their first computation; ``import prefjax`` does
    not. The environment variable ``PREFJAX_COMPILATION_CACHE`` names another folder, or turns the
    cache off with ``off``; a folder that JAX was given already is kept.

    Returns:
        The folder, None where the cache is off.
    """
    wanted = os.environ.get(SWITCH, "")
    if wanted.lower() == "off":
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    given = jax.config.values["jax_compilation_cache_dir"]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(wanted or given or Path(home) / "prefjax" / "compiled")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    return folder
