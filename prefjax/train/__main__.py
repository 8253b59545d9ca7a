"""``python -m prefjax.train --config run.json [--resume]``: a training run from files.

The settings are a `RunConfig` as JSON. SIGTERM and Ctrl-C finish the step, save and exit with 0;
``--resume`` goes on from there. With ``python -m prefjax.train.launch`` in front it runs in several
processes and is started again when one of them is lost; with ``--ray --workers N`` so do the
workers of a Ray cluster.

At the end the folder holds ``model.safetensors``, which `prefjax.load` opens to ask new people and
to rank for them, and ``result.npz`` with the head and the weights of all training users. Of more
than `LARGEST_PEOPLE` numbers the model leaves the training users out. A run that has ended, also
one of an older version, writes both again with ``--resume``.
"""

import argparse
import dataclasses
import os
import sys
import traceback
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Num

from prefjax.data.io import read_folder
from prefjax.data.observations import observations_of
from prefjax.encoders import read_corpus
from prefjax.io.atomic import write_atomically
from prefjax.io.integrity import named_leaves
from prefjax.model import files
from prefjax.parallel import fetch, is_primary, start_processes, use_compilation_cache
from prefjax.train._resume import layout_for
from prefjax.train.basis import to_basis
from prefjax.train.config import RunConfig, read_config
from prefjax.train.loop import TrainResult, train, user_weights
from prefjax.train.memory import MemorySource
from prefjax.train.on_ray import RayConfig, train_on_ray
from prefjax.train.setup import Source
from prefjax.train.shard_files import MANIFEST
from prefjax.train.shards import ShardSource
from prefjax.types import Choices, Comparisons

RESTART = "PREFJAX_RESTART"

LARGEST_PEOPLE = 2**26
"""Largest number of entries in the covariances of all training users that a model holds."""


def main() -> None:
    """Parses the command line, trains and writes the model."""
    use_compilation_cache()
    parser = argparse.ArgumentParser(prog="python -m prefjax.train", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file of a RunConfig")
    parser.add_argument("--resume", action="store_true", help="go on from the latest good step")
    parser.add_argument(
        "--grow-users", action="store_true", help="resume with more users, or other comparisons"
    )
    parser.add_argument(
        "--cluster", action="store_true", help="let JAX find the processes (SLURM, TPU pods)"
    )
    ray = parser.add_argument_group(
        "on a Ray cluster", "that of RAY_ADDRESS, or one started on this machine; see RayConfig"
    )
    ray.add_argument("--ray", action="store_true", help="run in workers of a Ray cluster")
    ray.add_argument("--workers", type=int, metavar="N", help="processes")
    ray.add_argument("--cpus-per-worker", type=int, default=1, metavar="N")
    ray.add_argument("--gpus-per-worker", type=int, default=0, metavar="N")
    ray.add_argument("--tpu", metavar="GENERATION:TOPOLOGY", help="a slice, such as v5e:4x4")
    ray.add_argument("--max-restarts", type=int, default=3, metavar="N", help="of all workers")
    arguments = parser.parse_args()
    if arguments.ray:
        names = [field.name for field in dataclasses.fields(RayConfig)]
        options = RayConfig(**{name: getattr(arguments, name) for name in names})
        resuming, grow = arguments.resume, arguments.grow_users
        print(train_on_ray(arguments.config, options, resuming=resuming, grow=grow))
        return
    several = start_processes(cluster=arguments.cluster)
    try:
        config = read_config(arguments.config)
        resuming = arguments.resume or arguments.grow_users or RESTART in os.environ
        result = run(config, resuming=resuming, grow=arguments.grow_users)
        if is_primary():
            print(f"{describe(result)}: {config.folder}")
    except BaseException:
        if not several:
            raise
        # A normal exit would wait for processes that may be gone.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def run(config: RunConfig, *, resuming: bool = False, grow: bool = False) -> TrainResult:
    """Trains from files and writes the model.

    Args:
        config: Where the files are, and how to train.
        resuming: Go on from the latest good step, if there is one.
        grow: The data may have more users than the saved run.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged or not legal, or the validation set is of other people or
            responses, or what `train` refuses.
        FloatingPointError: The run diverged; no model is written.
    """
    embeddings = read_embeddings(config.embeddings)
    source = read_source(config, grow=grow)
    validation = None if config.validation is None else read_validation(config)
    result = train(
        source,
        embeddings,
        config.train,
        validation=validation,
        folder=config.folder,
        resuming=resuming,
        grow=grow,
    )
    if config.export and result.status != "interrupted":
        write_model(config, source, result)
    return result


def write_model(config: RunConfig, source: Source, result: TrainResult) -> None:
    """Writes what was trained into the folder of the run.

    Args:
        config: The run.
        source: Names the users.
        result: What was trained.

    Raises:
        FloatingPointError: The head or a user is not finite; nothing is written.
    """
    model = config.train.step.model
    num_users = result.layout.num_users
    dense = num_users * model.num_factors**2 <= LARGEST_PEOPLE
    basis, people, info = to_basis(result, model, dense=dense)
    weight, variance = user_weights(result.state, result.layout)
    arrays = named_leaves({"head": fetch(result.state.params), "weight": weight})
    if variance is not None:
        arrays["variance"] = variance
    if not is_primary():
        return
    names = source.users or range(num_users)
    report = {
        "num_users": num_users,
        "num_rows": source.num_comparisons,
        "status": result.status,
        "trend": result.trend,
        "converged": bool(info.converged),
        "num_steps": int(info.num_steps),
        "penalties": {name: float(value) for name, value in info.penalties._asdict().items()},
        **last_losses(result),
    }
    files.save(config.folder, basis, people, tuple(names) if dense else (), report)
    write_atomically(config.folder / "result.npz", lambda path: _write(path, arrays))


def last_losses(result: TrainResult) -> dict[str, float]:
    """Gives the last training loss and the best validation loss, in nats per comparison."""
    losses = [line["loss"] for line in result.history if "loss" in line]
    nlls = [line["nll"] for line in result.history if "nll" in line]
    return {
        **({"training_loss": losses[-1]} if losses else {}),
        **({"validation_nll": min(nlls)} if nlls else {}),
    }


def describe(result: TrainResult) -> str:
    """Says in a line how a run ended.

    Args:
        result: A run that has ended.
    """
    losses = "".join(
        f", {name.replace('_', ' ')} {value:.4f}" for name, value in last_losses(result).items()
    )
    return f"{result.status} after {int(fetch(result.state.num_steps))} steps{losses}"


def read_source(config: RunConfig, *, grow: bool = False) -> Source:
    """Opens the comparisons of a run: shards where there is a manifest, else a data set folder."""
    if (config.data / MANIFEST).is_file():
        return ShardSource(config.data)
    data = read_folder(config.data)
    layout = layout_for(
        data.num_users, config.num_partitions, config.train.seed, config.folder, grow=grow
    )
    return MemorySource(observations_of(data), data.num_responses, layout, users=data.users)


def read_embeddings(path: Path) -> Num[np.ndarray, "..."]:
    """Maps the array of a ``.npy`` file into memory, or reads a folder of ``prefjax embed``."""
    if path.is_dir():
        return read_corpus(path)
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as .npy ({error}).") from error
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{path} is an archive of arrays, not one .npy array.")
    return values


def read_validation(config: RunConfig) -> Comparisons | Choices:
    """Reads the validation comparisons, whose ids must be those of the data.

    A folder has its own numbers of users and responses, so its names and texts must be the first
    ones of the data's, in the same order. Shards have no names to compare.
    """
    assert config.validation is not None
    later = read_folder(config.validation)
    if not (config.data / MANIFEST).is_file():
        data = read_folder(config.data)
        for what, ours, theirs in (
            ("users", later.users, data.users),
            ("responses", later.responses, data.responses),
        ):
            if ours != theirs[: len(ours)]:
                raise ValueError(
                    f"{config.validation} does not number its {what} as {config.data} does: cut "
                    "both from one data set (prefjax.data.split), or its ids mean somebody else."
                )
    return observations_of(later)


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main()
