"""A real Ray cluster of several nodes on this machine, all of it on loopback."""

import os
from contextlib import contextmanager, suppress

import psutil
import pytest

OFF = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_METRICS_COLLECTION": "1",
    "RAY_enable_metrics_collection": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # keeps 127.0.0.1 as the address of a node
}


@contextmanager
def running(num_nodes=2, cpus=2, store=150 * 2**20, **environment):
    """A cluster whose workers have this process's environment and more; or a skip with the reason.

    Meanwhile the environment names it, so that commands which are started run in it.
    """
    pytest.importorskip("ray", reason="ray is not installed (pip install 'prefjax[ray]')")
    before = dict(os.environ)
    os.environ.update(OFF | environment)
    try:
        from ray.cluster_utils import Cluster

        cluster = Cluster()
        try:
            for _ in range(num_nodes):
                add_node(cluster, cpus, store)
            os.environ["RAY_ADDRESS"] = cluster.address
            yield cluster
        finally:
            cluster.shutdown()
    finally:
        os.environ.clear()
        os.environ.update(before)


def add_node(cluster, cpus=2, store=150 * 2**20):
    return cluster.add_node(
        num_cpus=cpus,
        object_store_memory=store,
        node_ip_address="127.0.0.1",
        include_dashboard=False,
    )


def actors(kind):
    """Processes of the actors of a class, oldest first."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.name().startswith("ray::") and kind in " ".join(process.cmdline()):
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())
