"""Where a result comes from: commit, versions, devices, memory."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

_PACKAGES = (
    "prefjax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "scipy",
    "scikit-learn",
    "pyarrow",
    "matplotlib",
)


def environment(directory: Path | None = None) -> dict[str, Any]:
    """Where a result comes from: commit, versions and devices, as JSON-able values.

    Args:
        directory: Folder whose git commit is reported; the working directory by default. Commit and
            dirty flag are None where git is missing or the folder is in no repository.
    """
    directory = Path.cwd() if directory is None else directory
    commit = _git(directory, "rev-parse", "HEAD")
    changes = _git(directory, "status", "--porcelain") if commit else None
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    devices = jax.devices()
    return {
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "dirty": None if changes is None else bool(changes),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "versions": versions,
        "device": {
            "backend": jax.default_backend(),
            "kind": devices[0].device_kind,
            "count": len(devices),
        },
    }


def peak_memory_mib() -> int:
    """Largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
