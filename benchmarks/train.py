"""Minibatch training: comparisons per second beside a PyTorch loop, and over devices and processes.

``python -m benchmarks.train [--small]``. Simulated people; MAP, a linear head, batches of 8,192.

- `torch`: the same model as `nn.Linear` and `nn.Embedding(sparse=True)` with the sparse Adagrad of
  torch for users and Adam for the head. Before anything is timed, both are trained on the same
  comparisons for as many passes and must reach the same loss on held-out ones.
- `dense_adam`: 2 million users × 16 with Adam on the whole table, as plain optax would train it,
  beside the row-sparse step.
- 1, 2, 4 virtual devices and 1, 2 processes, each in a process of its own. One device or process is
  pinned to one core, more to all cores: with fewer cores than devices this shows what partitioning
  costs, not what it gains.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

if "--devices" in sys.argv:  # threads enough for virtual devices that wait for each other
    os.environ.setdefault("PJRT_NPROC", "8")

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import timing
from benchmarks.torch_loop import TorchLoop
from prefjax.parallel import fetch, start_processes
from prefjax.train import (
    MemorySource,
    ModelConfig,
    OptimizerConfig,
    StepConfig,
    TrainConfig,
    UserLayout,
    train,
)
from prefjax.train.setup import prepare
from prefjax.types import Comparisons

BATCH = 8192
NUM_RESPONSES = 20_000
CALLS = 8
AGREE = 0.004


def make_world(
    num_users, num_comparisons, num_inputs, num_factors, num_responses=NUM_RESPONSES, planted=False
):
    """Comparisons of simulated people: with planted weights, or tossed where only time counts."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(num_responses, num_inputs)).astype(np.float32)
    embeddings /= np.sqrt(num_inputs)
    user = rng.integers(0, num_users, num_comparisons, dtype=np.int32)
    first = rng.integers(0, num_responses, num_comparisons, dtype=np.int32)
    second = rng.integers(0, num_responses, num_comparisons, dtype=np.int32)
    chance = np.float32(0.5)
    if planted:
        table = embeddings @ rng.normal(size=(num_inputs, num_factors + 1)).astype(np.float32)
        weight = rng.normal(size=(num_users, num_factors)).astype(np.float32)
        gap = table[first] - table[second]
        chance = 1 / (1 + np.exp(-np.sum(weight[user] * gap[:, :-1], axis=1) - gap[:, -1]))
    label = (rng.random(num_comparisons, np.float32) < chance).astype(np.float32)
    return Comparisons(user, first, second, label, np.ones_like(label)), embeddings


def make_config(num_factors, batch=BATCH, **settings):
    model = ModelConfig(num_factors=num_factors, objective="map", penalty=1.0, utility_penalty=1.0)
    step = StepConfig(model, batch_size=batch, user_rate=0.1)
    return TrainConfig(step=step, backend="single", **settings)


def make_ours(data, embeddings, num_users, config):
    """A call of 16 steps that goes on where the last one stopped."""
    source = MemorySource(data, len(embeddings), UserLayout((num_users,)))
    run = prepare(source, embeddings, config, None, None)
    run_state = {"state": run.state, "t": 0}
    batches = next(source.batches(0, 0, 0, run.num_slots, config.steps_per_call, run.mesh))

    def call():
        if run_state["t"] + config.steps_per_call > run.steps_per_epoch:
            run_state["t"] = 0
            run_state["state"] = run_state["state"]._replace(t=jnp.zeros_like(run_state["state"].t))
        run_state["state"], metrics = run.train_step(run_state["state"], batches, run.problem)
        run_state["t"] += config.steps_per_call
        return metrics.loss

    return call, run_state


def check_agreement(torch) -> dict[str, float]:
    """Held-out loss of both after as many passes over the same comparisons."""
    num_users, batch, epochs = 2000, 1024, 8
    data, embeddings = make_world(num_users, 240_000, 64, 8, 1000, planted=True)
    parts = [
        Comparisons(*(c[rows] for c in data)) for rows in (slice(200_000), slice(200_000, None))
    ]
    config = make_config(8, batch, num_epochs=epochs, optimizer=OptimizerConfig(learning_rate=0.01))
    source = MemorySource(parts[0], 1000, UserLayout((num_users,)))
    kernel = np.asarray(
        prepare(source, embeddings, config, None, None).state.params["out"]["kernel"]
    )
    result = train(source, embeddings, config, validation=parts[1])
    loop = TorchLoop(torch, parts[0], embeddings, num_users, config, batch, kernel)
    for _ in range(epochs * source.num_steps(batch // 16)):
        loop.step()
    nll = [line["nll"] for line in result.history if "nll" in line]
    return {"start": float(np.log(2)), "prefjax": nll[-1], "torch": loop.loss(parts[1])}


def make_dense_adam(num_users, num_factors):
    """A step of Adam on the whole table, from the gradient of the same rows."""
    optimizer = optax.adam(0.01)
    table = jnp.zeros((num_users, num_factors))
    dense = {"table": table, "moments": optimizer.init(table)}
    rng = np.random.default_rng(0)
    user = jnp.asarray(rng.integers(0, num_users, BATCH))
    features = jnp.asarray(rng.normal(size=(BATCH, num_factors)).astype(np.float32))

    def step(table, moments):
        gradient = jax.grad(lambda t: jnp.sum(jax.nn.softplus(jnp.sum(t[user] * features, 1))))(
            table
        )
        change, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(table, change), moments

    compiled = jax.jit(step, donate_argnums=(0, 1))

    def call():
        dense["table"], dense["moments"] = compiled(dense["table"], dense["moments"])
        return dense["table"]

    return call


def worker(num_devices: int, small: bool) -> None:
    """Seconds a step on this process's devices and those of its peers; one line of JSON."""
    data, embeddings = make_world(200_000, 1_000_000, 64, 8)
    config = make_config(8, num_epochs=1, num_devices=num_devices)
    backend = "single" if num_devices == 1 else "shard_map"
    config = TrainConfig(**{**vars(config), "backend": backend})
    call, _ = make_ours(data, embeddings, 200_000, config)
    seconds = []
    for number in range(1 + 3 * CALLS):
        start = time.perf_counter()
        fetch(call())
        if number:
            seconds.append((time.perf_counter() - start) / config.steps_per_call)
    if jax.process_index() == 0:
        print(json.dumps({"seconds": float(np.median(seconds))}), flush=True)


def measure_scaling(small: bool) -> dict[str, float]:
    """Seconds a step on 1, 2, 4 virtual devices and in 1, 2 processes."""
    command = [sys.executable, "-m", "benchmarks.train", *(["--small"] if small else [])]
    found = {}
    for count in (1, 2, 4):
        done = subprocess.run(
            [*command, "--devices", str(count)], capture_output=True, text=True, timeout=280
        )
        found[f"devices_{count}"] = _seconds(done)
    launch = [
        sys.executable,
        "-m",
        "prefjax.train.launch",
        "--nproc",
        "2",
        "--max-restarts",
        "0",
        "--",
    ]
    done = subprocess.run(
        [*launch, *command, "--peer"],
        capture_output=True,
        text=True,
        timeout=280,
    )
    found["processes_1"], found["processes_2"] = found["devices_1"], _seconds(done)
    return found


def _seconds(done: subprocess.CompletedProcess) -> float:
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"seconds"')]
    if not lines:
        raise SystemExit(f"a worker failed: {done.stderr[-2000:]}")
    return json.loads(lines[-1])["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a tenth of the size")
    parser.add_argument("--devices", type=int, help="only: a worker with virtual devices")
    parser.add_argument("--peer", action="store_true", help="only: one of several processes")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if arguments.devices:
        if arguments.devices == 1:
            os.sched_setaffinity(0, {cores[0]})
        jax.config.update("jax_num_cpu_devices", arguments.devices)
        return worker(arguments.devices, arguments.small)
    if arguments.peer:
        place = int(os.environ["PREFJAX_PROCESS_ID"])
        os.sched_setaffinity(0, {cores[place % len(cores)]})
        start_processes()
        return worker(jax.device_count(), arguments.small)

    torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
    if torch is not None:
        torch.set_num_threads(len(cores))
        losses = check_agreement(torch)
        print("held-out loss:", json.dumps(losses))
        if abs(losses["prefjax"] - losses["torch"]) > AGREE:
            raise SystemExit(f"the losses differ by more than {AGREE}; not timed")
    scale = 10 if arguments.small else 1
    num_users, num_comparisons = 1_000_000 // scale, 10_000_000 // scale
    data, embeddings = make_world(num_users, num_comparisons, 64, 8)
    config = make_config(8)
    ours, ours_state = make_ours(data, embeddings, num_users, config)
    candidates: dict[str, Callable[[], Any]] = {"prefjax": ours}
    steps = config.steps_per_call
    if torch is not None:
        kernel = np.asarray(ours_state["state"].params["out"]["kernel"])
        loop = TorchLoop(torch, data, embeddings, num_users, config, BATCH, kernel)
        candidates["torch"] = lambda: [loop.step() for _ in range(steps)]
    seconds = timing.interleaved(candidates, repeats=5)
    seconds = {name: value / steps for name, value in seconds.items()}
    print("comparisons per second:", json.dumps({n: round(BATCH / s) for n, s in seconds.items()}))
    del ours, ours_state, candidates

    wide_users = 2_000_000 // scale
    wide_data, wide_embeddings = make_world(wide_users, num_comparisons // 2, 64, 16)
    wide, wide_state = make_ours(wide_data, wide_embeddings, wide_users, make_config(16))
    table = wide_state["state"].users
    mebibytes = sum(leaf.nbytes for leaf in jax.tree.leaves(table)) / 1e6
    scratch = table.scale.nbytes / 1e6
    both = timing.interleaved(
        {"wide": wide, "dense_adam": make_dense_adam(wide_users, 16)}, repeats=5
    )
    seconds |= {"wide": both["wide"] / steps, "dense_adam": both["dense_adam"]}
    print(
        json.dumps(
            {
                "users": wide_users,
                "factors": 16,
                "ms_a_step": 1e3 * seconds["wide"],
                "dense_adam_ms_a_step": 1e3 * seconds["dense_adam"],
                "table_and_state_MB": mebibytes,
                "scratch_MB": scratch,
                "MB_per_million_users": (mebibytes + scratch) / wide_users * 1e6,
            }
        )
    )
    del wide, wide_state, table
    scaling = measure_scaling(arguments.small)
    print("cores:", len(cores), "seconds a step:", json.dumps(scaling))
    one = scaling["devices_1"]
    efficiency = {
        name: one / value / min(int(name.rpartition("_")[2]), len(cores))
        for name, value in scaling.items()
    }
    print("efficiency by core in use:", json.dumps(efficiency))
    print(json.dumps(timing.environment()))
    sizes = {
        "user": num_users,
        "comparison": num_comparisons,
        "input": 64,
        "factor": 8,
        "batch": BATCH,
    }
    seconds = {**seconds, **scaling}
    print(timing.report("train", sizes, seconds, timing.ratios_to("prefjax", seconds)))


if __name__ == "__main__":
    main()
