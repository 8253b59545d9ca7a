"""A training run on a Ray cluster: what is computed is that of one machine, to the rounding.

    python -m prefjax.train --config run.json --ray --workers 8 --gpus-per-worker 1
    python -m prefjax.train --config run.json --ray --tpu v6e:4x4

Ray Train's ``JaxTrainer`` places the workers, starts all of them again when one is lost, and keeps
their logs and last metrics. Order, checkpoints and resumption are those of `prefjax.train.loop`: a
restart takes the latest good step in the folder of the run, which must be on a disk that all nodes
share, and ends with the bits of a run that nothing happened to. TPU slices join JAX's distributed
runtime by ``JaxTrainer``; CPU and GPU workers by `prefjax.parallel.start_processes`, whose
coordinator listens on the address of its node alone and notices a lost peer after ten seconds.
"""

import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefjax.io.checkpoint_folder import list_steps
from prefjax.parallel import ProcessConfig, start_processes, start_ray, use_compilation_cache
from prefjax.settings import check_settings
from prefjax.train.config import RunConfig, read_config

TPU_NAMES = {"v5e": "v5litepod"}
"""Generations whose name in Ray is not the common one."""


@dataclass(frozen=True)
class RayConfig:
    """Which workers a run has on a Ray cluster.

    Attributes:
        workers: Processes; None for one, or for all hosts of the TPU slice.
        cpus_per_worker: Cores reserved for each.
        gpus_per_worker: GPUs of each; 0 computes on the CPU.
        tpu: Generation and topology of a slice, such as ``v5e:4x4``; None for none.
        max_restarts: Starts of all workers after the first, when one is lost or fails.

    Raises:
        ValueError: A number is not legal, both accelerators are asked for, or ``tpu`` is written
            otherwise.
    """

    workers: int | None = None
    cpus_per_worker: int = 1
    gpus_per_worker: int = 0
    tpu: str | None = None
    max_restarts: int = 3

    def __post_init__(self):
        check_settings(self, "cpus_per_worker", *(("workers",) if self.workers is not None else ()))
        if self.tpu is not None and self.gpus_per_worker:
            raise ValueError("a run computes on GPUs or on a TPU slice: leave out one of them")
        if self.tpu is not None and not all(self.tpu.partition(":")):
            raise ValueError(f"tpu is GENERATION:TOPOLOGY, such as v5e:4x4, got {self.tpu!r}")

    @property
    def platform(self) -> str:
        """What JAX computes on."""
        return "tpu" if self.tpu else "cuda" if self.gpus_per_worker else "cpu"


def train_on_ray(
    path: Path, options: RayConfig, *, resuming: bool = False, grow: bool = False
) -> str:
    """Runs ``python -m prefjax.train --config path`` in the workers of a Ray cluster.

    Args:
        path: JSON file of a `prefjax.train.config.RunConfig`, on a disk that all nodes share.
        options: The workers.
        resuming: Go on from the latest good step, if there is one.
        grow: The data may have more users than the saved run.

    Returns:
        How the run ended, in a line.

    Raises:
        ModuleNotFoundError: Ray is not installed (extra ``ray``).
        ValueError: The settings are not legal, or the folder holds steps and ``resuming`` is False.
        ray.train.TrainingFailedError: The workers failed more often than ``max_restarts``; what
            the last of them said is part of it.
    """
    path = Path(path).absolute()
    config = read_config(path)
    steps = list_steps(config.folder)
    if steps and not (resuming or grow):
        raise ValueError(
            f"{config.folder} holds the steps {steps} of a run; resume it or choose another folder."
        )
    start_ray()
    return _make_trainer(path, config, options, grow).fit().return_value


def _make_trainer(path: Path, config: RunConfig, options: RayConfig, grow: bool) -> Any:
    from ray import train
    from ray.train.v2.jax import JaxConfig, JaxTrainer

    return JaxTrainer(
        _work,
        train_loop_config={"path": str(path), "grow": grow, "platform": options.platform},
        jax_config=JaxConfig(use_tpu=options.tpu is not None),
        scaling_config=train.ScalingConfig(**_placement(options)),
        run_config=train.RunConfig(
            name="ray",
            storage_path=str(config.folder.absolute()),
            failure_config=train.FailureConfig(max_failures=options.max_restarts),
            worker_runtime_env={"env_vars": {"JAX_PLATFORMS": options.platform}},
        ),
    )


def _placement(options: RayConfig) -> dict[str, Any]:
    """Arguments of Ray's ``ScalingConfig``: one node after the other gets a worker."""
    found: dict[str, Any] = {"placement_strategy": "SPREAD"}
    if options.tpu is None:
        resources = {"CPU": options.cpus_per_worker}
        if options.gpus_per_worker:
            resources["GPU"] = options.gpus_per_worker
        return found | {
            "num_workers": options.workers or 1,
            "use_gpu": bool(options.gpus_per_worker),
            "resources_per_worker": resources,
        }
    from ray.util.tpu import get_tpu_worker_resources

    name, _, topology = options.tpu.partition(":")
    kind = f"TPU-{TPU_NAMES.get(name, name).upper()}"
    num_hosts, resources = get_tpu_worker_resources(topology, kind)
    return found | {
        "num_workers": options.workers or num_hosts,
        "use_tpu": True,
        "topology": topology,
        "accelerator_type": kind,
        "resources_per_worker": resources | {"CPU": options.cpus_per_worker},
    }


def _work(settings: dict[str, Any]) -> str:
    """What each worker does."""
    import jax
    from ray import train

    from prefjax.train.__main__ import describe, last_losses, run

    use_compilation_cache()
    logging.getLogger("absl").setLevel(logging.WARNING)  # Orbax tells of every file
    if settings["platform"] != "tpu":
        start_processes(_find_each_other())
    result = run(read_config(Path(settings["path"])), resuming=True, grow=settings["grow"])
    said = describe(result)
    train.report({"status": result.status, **last_losses(result)})
    if settings["platform"] != "tpu":
        jax.distributed.shutdown()
    return said


def _find_each_other() -> ProcessConfig | None:
    """The address of the first worker, which the others are told by Ray."""
    import ray
    from ray import train
    from ray.train.collective import broadcast_from_rank_zero

    context = train.get_context()
    if context.get_world_size() == 1:
        return None
    address = ""
    if context.get_world_rank() == 0:
        host = ray.util.get_node_ip_address()
        with socket.socket() as probe:
            probe.bind((host, 0))
            address = f"{host}:{probe.getsockname()[1]}"
    return ProcessConfig(
        coordinator=broadcast_from_rank_zero(address),
        num_processes=context.get_world_size(),
        process_id=context.get_world_rank(),
    )
