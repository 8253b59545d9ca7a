"""The connection to a Ray cluster, which places, restarts and logs what runs on many machines."""

import os
from typing import Any

from prefjax.parallel.processes import LOOPBACK


def start_ray() -> Any:
    """Connects to a Ray cluster, and gives the module ``ray``.

    The cluster is that of the environment variable ``RAY_ADDRESS``, which Ray's own commands and
    KubeRay set. Without it one is started on this machine, on loopback (on all addresses, if Ray
    was imported before) and without a dashboard; it ends with this process. Ray's usage statistics
    are off unless the environment turns them on.

    Raises:
        ModuleNotFoundError: Ray is not installed (extra ``ray``).
        ConnectionError: There is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    is_ours = not os.environ.get("RAY_ADDRESS")
    if is_ours:  # by this Ray keeps to loopback, as it does on macOS
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "several machines are run by Ray: pip install 'prefjax[ray]'"
        ) from error
    if not ray.is_initialized():
        if is_ours:
            ray.init("local", include_dashboard=False, _node_ip_address=LOOPBACK)
        else:
            ray.init()
    return ray
