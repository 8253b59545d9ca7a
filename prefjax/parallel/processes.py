"""Processes of one run: how they find each other, who writes, when all of them stop.

They meet at a coordinator, process 0, which listens on the loopback interface unless told
otherwise. A process that dies is noticed within its heartbeat; one that is alive but stuck is not:
that is what the watchdog of `prefjax.train.guard` is for.
"""

import os
from dataclasses import dataclass

import jax
from jax.experimental import multihost_utils

LOOPBACK = "127.0.0.1"
COORDINATOR, NUM_PROCESSES, PROCESS_ID = (
    "PREFJAX_COORDINATOR",
    "PREFJAX_NUM_PROCESSES",
    "PREFJAX_PROCESS_ID",
)


@dataclass(frozen=True)
class ProcessConfig:
    """How the processes of one run find and lose each other.

    Attributes:
        coordinator: ``host:port`` of process 0.
        num_processes: Number of processes.
        process_id: Number of this process, from 0.
        bind: ``host:port`` the coordinator listens on; its own address by default, so a run that
            does not say otherwise listens on loopback only.
        heartbeat_seconds: A process that is silent for so long counts as dead.
        start_seconds: How long to wait for all processes.
        stop_seconds: How long to wait for the others at the end.
    """

    coordinator: str
    num_processes: int
    process_id: int
    bind: str | None = None
    heartbeat_seconds: int = 10
    start_seconds: int = 60
    stop_seconds: int = 5


def start_processes(config: ProcessConfig | None = None, *, cluster: bool = False) -> bool:
    """Joins the other processes of the run, if there are any; call before any computation.

    Args:
        config: By default from the environment that ``prefjax.train.launch`` sets.
        cluster: Let JAX find the processes of a SLURM job or a TPU pod instead. Its coordinator
            listens on all interfaces of the cluster.

    Returns:
        Whether there are several processes.
    """
    if cluster:
        jax.distributed.initialize(heartbeat_timeout_seconds=10, shutdown_timeout_seconds=5)
        return jax.process_count() > 1
    if config is None:
        if COORDINATOR not in os.environ:
            return False
        config = ProcessConfig(
            coordinator=os.environ[COORDINATOR],
            num_processes=int(os.environ[NUM_PROCESSES]),
            process_id=int(os.environ[PROCESS_ID]),
        )
    jax.distributed.initialize(
        config.coordinator,
        config.num_processes,
        config.process_id,
        cluster_detection_method="deactivate",
        coordinator_bind_address=config.bind or config.coordinator,
        initialization_timeout=config.start_seconds,
        heartbeat_timeout_seconds=config.heartbeat_seconds,
        shutdown_timeout_seconds=config.stop_seconds,
    )
    return config.num_processes > 1


def is_primary() -> bool:
    """Whether this process writes what one process writes."""
    return jax.process_index() == 0


def is_preempted(count: int) -> bool:
    """Whether all processes should stop now, because one of them got SIGTERM.

    Args:
        count: Number of this call, counted up by one from call to call. All processes agree on a
            number to stop at, and get True at that one only.
    """
    return jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(count)
