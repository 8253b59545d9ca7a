"""Reading a language model from disk, and greedy decoding of one row, beside torch.

    python -m benchmarks.generate [--tiny] [--dtype bfloat16]
    python -m benchmarks.generate --sampling --model smollm2

The shape is that of Qwen2.5-0.5B with random weights, stored in bfloat16, computed in float32 or,
for accelerators and without torch, in bfloat16.
``load`` runs in a process of its own, whose peak of memory is printed. A token's time is that of a
long continuation less a short one, divided by the tokens between; ``torch`` is transformers'
``generate`` with a cache and fused attention (left out where torch is not installed), and both must
draw the same tokens. One decoded token reads every weight once: the bytes and the rate at which one
product with the head reads it give the least time. About two minutes.

``--sampling`` draws 16 samples of up to 128 tokens to each of 8 prompts at temperature 1, by
``lm.draw_samples`` and by transformers' ``generate`` with ``num_return_sequences``, and compares
tokens a second. That both have the same policy is checked first: the log-probability that torch
gives to our samples is the one they were drawn with.
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

from benchmarks.qwen import load_torch, write
from benchmarks.timing import interleaved
from prefjax import lm
from prefjax.encoders import chat_prompt

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


QUESTIONS = (
    "How can I fall asleep faster?",
    "What are the basic rules of offside in football?",
    "How do planes fly?",
    "Why is the sky blue?",
    "How do I start running without getting injured?",
    "How can I save money on groceries?",
    "What should I see in Rome in two days?",
    "How does a vaccine work?",
)


def measure_sampling(folder, tiny, num_tokens):
    """Tokens a second of 16 samples to each of 8 prompts, beside transformers' ``generate``."""
    num_samples, num_tokens, repeats = (2, 8, 2) if tiny else (16, num_tokens, 1)
    model, other = lm.load(folder), load_torch(folder)
    config = model.config
    if model.tokenizer is None:
        rng = np.random.default_rng(0)
        rows = [rng.integers(0, config.vocab_size, 8 + 4 * i).tolist() for i in range(8)]
    else:
        turns = [chat_prompt(question) for question in QUESTIONS]
        rows = [model.tokenizer.encode(turn, add_special_tokens=False) for turn in turns]
    params = lm.unstack_layers(model.params)

    def ours():
        drawn = lm.draw_samples(
            jax.random.key(0), params, config, rows, num_samples, max_new_tokens=num_tokens,
            batch_size=num_samples * len(rows),
        )  # fmt: skip
        return drawn.num_tokens, drawn

    def theirs():
        import torch

        ids, mask = lm.pad_left(rows, max(map(len, rows)))
        torch.manual_seed(0)
        with torch.inference_mode():
            drawn = other.generate(
                torch.tensor(ids, dtype=torch.long), attention_mask=torch.tensor(mask).long(),
                max_new_tokens=num_tokens, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                num_return_sequences=num_samples, pad_token_id=0,
                eos_token_id=list(config.eos_ids) or None,
            )  # fmt: skip
        new = drawn[:, ids.shape[1] :].numpy()
        ends = np.cumsum(np.isin(new, config.eos_ids), axis=1)
        return int(np.sum(ends == 0) + np.sum(ends[:, -1] > 0)), drawn

    if other is not None:
        check_policy(other, rows, ours()[1])
    rates = {"prefjax": [], "torch": []}
    for _ in range(repeats):
        for name, call in (("prefjax", ours), ("torch", theirs)):
            if name == "torch" and other is None:
                continue
            start = time.perf_counter()
            num, _ = call()
            rates[name].append(num / (time.perf_counter() - start))
    rate = {name: float(np.median(found)) for name, found in rates.items() if found}
    for name, value in rate.items():
        print(f"{name:14} {value:8.1f} tokens/s")
    print(
        json.dumps(
            {
                "benchmark": "generate, sampling",
                "device": jax.devices()[0].device_kind,
                "sizes": {
                    "params": lm.num_params(config), "prompts": len(rows), "samples": num_samples,
                    "tokens": num_tokens,
                },
                "tokens_per_second": rate,
                "ratios": {"torch": rate["prefjax"] / rate["torch"]} if "torch" in rate else {},
                "agrees": other is not None,
            }
        )
    )  # fmt: skip


def check_policy(other, rows, drawn):
    """Raise unless torch gives a sample of each prompt the log-probability it was drawn with."""
    import torch

    for row, own in zip(rows, drawn.samples, strict=True):
        one = own[0]
        ids = torch.tensor([[*row, *one.tokens.tolist()]], dtype=torch.long)
        with torch.inference_mode():
            said = torch.log_softmax(other(ids).logits[0, len(row) - 1 : -1], dim=-1)
        found = float(said[torch.arange(len(one.tokens)), ids[0, len(row) :]].sum())
        np.testing.assert_allclose(found, one.log_prob, rtol=1e-3, atol=1e-2)


def main():
    parser = argparse.ArgumentParser(description="Loading and decoding, timed.")
    parser.add_argument("--tiny", action="store_true", help="a size that takes seconds")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--model", default="0.5b", help="0.5b (random weights) or smollm2")
    parser.add_argument("--sampling", action="store_true", help="many samples of few prompts")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a sample, at most")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    dtype = arguments.dtype
    if arguments.load:
        load_and_report(Path(arguments.load), dtype)
        return
    with tempfile.TemporaryDirectory() as folder:
        config = write(Path(folder), "tiny" if arguments.tiny else arguments.model)
        if arguments.sampling:
            measure_sampling(Path(folder), arguments.tiny, arguments.tokens)
            return
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
