"""The disk under training: shards written and read, checkpoints saved and restored.

``python -m benchmarks.train_disk [--small]``. Two million simulated users × 16, a comparison each.
There is nothing to compare with: these are the constants of ``docs/scale.md``.
"""

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks import timing
from benchmarks.train import make_config, make_world
from prefjax.io import Store
from prefjax.train import ShardSource, UserLayout, write_shards
from prefjax.train.saved_state import template, to_disk
from prefjax.train.setup import prepare


def measure(num_users: int) -> dict[str, float]:
    """Comparisons a second from shards, and seconds to save and to verify a checkpoint."""
    data, embeddings = make_world(num_users, num_users, 64, 16)
    layout = UserLayout((num_users,))
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        start = time.perf_counter()
        write_shards([data], folder / "data", layout=layout, num_responses=len(embeddings))
        wrote = time.perf_counter()
        source = ShardSource(folder / "data", verify=False)
        run = prepare(source, embeddings, make_config(16), None, None)
        programs = source.batches(0, 0, 0, run.num_slots, 16, run.mesh)
        jax.block_until_ready(next(programs))
        began, count = time.perf_counter(), 0
        for batches in itertools.islice(programs, 12):
            jax.block_until_ready(batches)
            count += batches.table.row.size
        read = time.perf_counter()
        kept = to_disk(run.state, layout.num_partitions, run.mesh)
        shape = template(run.state, layout.num_partitions, layout.num_rows, run.mesh)
        jax.block_until_ready(kept)
        blocked, whole, loaded = [], [], []
        for number in range(4):
            with Store(folder / "steps", run.identity) as store:
                clock = time.perf_counter()
                store.save(number + 1, kept, {})
                blocked.append(time.perf_counter() - clock)
                store.finish()
                whole.append(time.perf_counter() - clock)
                clock = time.perf_counter()
                store.restore(number + 1, shape)
                loaded.append(time.perf_counter() - clock)
    return {
        "write_rows_per_second": num_users / (wrote - start),
        "read_rows_per_second": count / (read - began),
        "state_MB": sum(x.nbytes for x in jax.tree.leaves(kept)) / 1e6,
        "save_blocks_seconds": float(np.median(blocked)),
        "save_seconds": float(np.median(whole)),
        "verified_restore_seconds": float(np.median(loaded)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a tenth of the size")
    num_users = 200_000 if parser.parse_args().small else 2_000_000
    print(json.dumps({**measure(num_users), "users": num_users, **timing.environment()}))


if __name__ == "__main__":
    main()
