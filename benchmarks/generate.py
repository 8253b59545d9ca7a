"""Reading a language model from disk, and greedy decoding of one row, beside torch.

    python -m benchmarks.generate [--tiny] [--dtype bfloat16]

The shape is that of Qwen2.5-0.5B with random weights, stored in bfloat16, computed in float32 or,
for accelerators and without torch, in bfloat16.
``load`` runs in a process of its own, whose peak of memory is printed. A token's time is that of a
long continuation less a short one, divided by the tokens between; ``torch`` is transformers'
``generate`` with a cache and fused attention (left out where torch is not installed), and both must
draw the same tokens. One decoded token reads every weight once: the bytes and the rate at which one
product with the head reads it give the least time. About two minutes.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.qwen import SHAPES, load_torch, make
from benchmarks.timing import interleaved
from prefjax import lm

PROMPT, SHORT, LONG = 32, 2, 34


def load_and_report(folder, dtype):
    """Seconds of loading and peak memory of this process, as JSON."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    jax.block_until_ready(lm.load(folder, dtype=dtype).params)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "gib": peak / 2**20, "before": before / 2**20}))


def measure_load(folder, dtype):
    """The best of three loads, each in a new process; the first one may wait for the disk."""
    command = [sys.executable, "-m", "benchmarks.generate", "--load", str(folder), "--dtype", dtype]
    runs = [
        json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        for _ in range(3)
    ]
    return min(run["seconds"] for run in runs), max(run["gib"] for run in runs)


def make_ours(model, tokens):
    """Greedy continuation by a given number of tokens."""
    run = jax.jit(
        partial(
            lm.generate, config=model.config, mask=np.ones_like(tokens, bool),
            sampling=lm.SamplingConfig(temperature=0.0),
        ),
        static_argnames="max_new_tokens",
    )  # fmt: skip
    key = jax.random.key(0)
    return lambda new: run(key, model.params, tokens=tokens, max_new_tokens=new).tokens


def make_theirs(model, tokens):
    """The same with transformers."""
    import torch

    prompt = torch.tensor(tokens, dtype=torch.long)

    def run(new):
        with torch.inference_mode():
            drawn = model.generate(
                prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=new,
                min_new_tokens=new, do_sample=False, pad_token_id=0,
            )  # fmt: skip
        return drawn[:, prompt.shape[1] :].numpy()

    return run


def main():
    parser = argparse.ArgumentParser(description="Loading and decoding, timed.")
    parser.add_argument("--tiny", action="store_true", help="a size that takes seconds")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    dtype = arguments.dtype
    if arguments.load:
        load_and_report(Path(arguments.load), dtype)
        return
    config = SHAPES["tiny" if arguments.tiny else "0.5b"]
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), config)
        load_seconds, load_gib = measure_load(folder, dtype)
        print(f"load {load_seconds:.2f} s, peak {load_gib:.2f} GiB")
        model = lm.load(folder, dtype=dtype)
        other = load_torch(Path(folder)) if dtype == "float32" else None
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (1, PROMPT)).astype(np.int32)
    runs = {"prefjax": make_ours(model, tokens)}
    if other is not None:
        runs["torch"] = make_theirs(other, tokens)
        np.testing.assert_array_equal(runs["torch"](LONG), runs["prefjax"](LONG))
    calls = {
        f"{name} {new}": partial(run, new) for name, run in runs.items() for new in (SHORT, LONG)
    }
    medians = interleaved(calls, 5)
    seconds = {
        f"{name}_token": (medians[f"{name} {LONG}"] - medians[f"{name} {SHORT}"]) / (LONG - SHORT)
        for name in runs
    }
    # One product with the largest matrix shows how fast weights can be read.
    head = jax.jit(lm.logits, static_argnums=1)
    state = jnp.ones((1, config.hidden_size), dtype)
    read = interleaved({"head": lambda: head(model.params, config, state)}, 9)["head"]
    width = jnp.dtype(dtype).itemsize
    bandwidth = width * config.vocab_size * config.hidden_size / read
    weights = width * lm.num_params(config) / bandwidth
    ours = seconds["prefjax_token"]
    for name, value in seconds.items():
        print(f"{name:14} {1e3 * value:8.2f} ms")
    print(f"bandwidth {bandwidth / 1e9:.1f} GB/s: a token takes at least {1e3 * weights:.2f} ms")
    print(
        json.dumps(
            {
                "benchmark": "generate",
                "device": jax.devices()[0].device_kind,
                "sizes": {"params": lm.num_params(config), "batch": 1, "prompt": PROMPT},
                "dtype": dtype,
                "seconds": seconds | {"load": load_seconds},
                "ratios": {n: seconds[f"{n}_token"] / ours for n in runs if n != "prefjax"},
                "load_peak_gib": load_gib,
                "of_bandwidth": weights / ours,
                "agrees": other is not None,
            }
        )
    )


if __name__ == "__main__":
    main()
