"""``python -m prefjax.train --config run.json [--resume]``: a training run from files.

The settings are a `RunConfig` as JSON. SIGTERM and Ctrl-C finish the step, save and exit with 0;
``--resume`` goes on from there. With ``python -m prefjax.train.launch`` in front it runs in several
processes and is started again when one of them is lost.
"""

import argparse
import os
import sys
import traceback
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Num

from prefjax.data.io import read_folder
from prefjax.io.atomic import write_atomically
from prefjax.io.integrity import named_leaves
from prefjax.parallel import fetch, is_primary, start_processes
from prefjax.train._resume import layout_for
from prefjax.train.config import RunConfig, read_config
from prefjax.train.loop import TrainResult, train, user_weights
from prefjax.train.memory import MemorySource
from prefjax.train.setup import Source
from prefjax.train.shard_files import MANIFEST
from prefjax.train.shards import ShardSource
from prefjax.types import Comparisons

RESTART = "PREFJAX_RESTART"


def main() -> None:
    """Parses, trains, writes the result."""
    parser = argparse.ArgumentParser(prog="python -m prefjax.train", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file of a RunConfig")
    parser.add_argument("--resume", action="store_true", help="go on from the latest good step")
    parser.add_argument(
        "--grow-users", action="store_true", help="resume with more users, or other comparisons"
    )
    parser.add_argument(
        "--cluster", action="store_true", help="let JAX find the processes (SLURM, TPU pods)"
    )
    arguments = parser.parse_args()
    several = start_processes(cluster=arguments.cluster)
    try:
        config = read_config(arguments.config)
        resuming = arguments.resume or arguments.grow_users or RESTART in os.environ
        result = run(config, resuming=resuming, grow=arguments.grow_users)
        if is_primary():
            print(f"{result.status}: {config.folder}")
    except BaseException:
        if not several:
            raise
        # A normal exit would wait for processes that may be gone.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def run(config: RunConfig, *, resuming: bool = False, grow: bool = False) -> TrainResult:
    """Trains from files.

    Args:
        config: Where they are.
        resuming: Go on from the latest good step, if there is one.
        grow: The data may have more users than the saved run.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged or not legal, or the validation set is of other people or
            responses; and see `train`, as for what else may go wrong.
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
        weight, variance = user_weights(result.state, result.layout)
        arrays = named_leaves({"head": fetch(result.state.params), "weight": weight})
        if variance is not None:
            arrays["variance"] = variance
        if is_primary():
            write_atomically(config.folder / "result.npz", lambda path: _write(path, arrays))
    return result


def read_source(config: RunConfig, *, grow: bool = False) -> Source:
    """The comparisons of a run: shards where there is a manifest, a data set folder otherwise."""
    if (config.data / MANIFEST).is_file():
        return ShardSource(config.data)
    data = read_folder(config.data)
    layout = layout_for(
        data.num_users, config.num_partitions, config.train.seed, config.folder, grow=grow
    )
    return MemorySource(data.comparisons, data.num_responses, layout, users=data.users)


def read_embeddings(path: Path) -> Num[np.ndarray, "..."]:
    """The array of a ``.npy`` file, mapped into memory."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as .npy ({error}).") from error
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{path} is an archive of arrays, not one .npy array.")
    return values


def read_validation(config: RunConfig) -> Comparisons:
    """The validation comparisons, whose ids must be those of the data.

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
    return later.comparisons


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main()
