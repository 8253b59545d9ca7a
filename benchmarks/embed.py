"""Embedding with a language model: against torch, against bare matrix products, and what buckets
and shared prompts save.

    python -m benchmarks.embed [--tiny] [--parts speed buckets prompts]
    python -m benchmarks.embed --parts speed --dtype bfloat16 --shapes 64x512 --peak 989e12

The shape is that of Qwen2.5-0.5B with random weights, in float32 by default. The second line is for
one GPU: more tokens a batch, and the FLOPs of the model as a share of a peak per second that the
maker states.

speed     the last state of 16 × 64 and 8 × 128 tokens; ``torch`` is transformers with fused
          attention (left out where torch is not installed, and in bfloat16), ``products`` the
          matrix products of the layers alone, which is the rate JAX can reach at these shapes
buckets   texts of lognormal length in batches of like length, in batches padded to the longest
          text of a random batch, and in batches padded to the longest text of all
prompts   each prompt read once for four responses, and once for each response

Every candidate is checked to give the same embeddings before it is timed. About five minutes.
"""  # noqa: D205

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.qwen import load_torch, write
from benchmarks.timing import interleaved, measure_ceilings
from prefjax import lm
from prefjax.encoders.batches import bucketed
from prefjax.lm.layers import linear

TOLERANCE = {"float32": 2e-5, "bfloat16": 0.2}
"""Largest difference of embeddings; from torch's, in parts of the largest number in them."""
PARTS = ("speed", "buckets", "prompts")


@partial(jax.jit, static_argnums=1)
def read(params, config, tokens, mask):
    """Last state of each row."""
    return lm.last_token(lm.forward(params, config, tokens, mask), mask)


@jax.jit
def products(params, x):
    """The matrix products of the layers one after the other, and nothing else but sums."""
    for layer in params["layers"]:
        key_and_value = linear(x, layer["key"]) + linear(x, layer["value"])
        x = linear(linear(x, layer["query"]), layer["output"]) + key_and_value[:, :1]
        x = linear(linear(x, layer["gate"]) + linear(x, layer["up"]), layer["down"])
    return x


def measure_speed(model, other, shapes, repeats):
    """Seconds of one batch by candidate and shape; shares of the products' rate; FLOPs a second."""
    config, rng = model.config, np.random.default_rng(0)
    seconds, shares, rates = {}, {}, {}
    for batch, token in shapes:
        tokens = rng.integers(0, config.vocab_size, (batch, token)).astype(np.int32)
        mask = np.ones((batch, token), bool)
        states = rng.normal(size=(batch * token, config.hidden_size))
        states = jnp.asarray(states, model.params["norm"].dtype)
        calls: dict[str, Callable[[], Any]] = {
            "prefjax": partial(read, model.params, config, tokens, mask),
            "products": partial(products, model.params, states),
        }
        if other is not None:
            import torch

            ids = torch.tensor(tokens, dtype=torch.long)

            def theirs(ids=ids):
                with torch.inference_mode():
                    return other.model(ids).last_hidden_state[:, -1].numpy()

            calls["torch"] = theirs
            expected = theirs()
            gap = np.abs(np.asarray(calls["prefjax"]()) - expected).max() / np.abs(expected).max()
            if gap > TOLERANCE["float32"]:
                raise AssertionError(f"embeddings differ from torch's by {gap:.1e}")
        medians = interleaved(calls, repeats)
        flops = 2 * (lm.num_params(config, vocabulary=False)) * batch * token
        attention = 4 * config.num_layers * config.num_heads * config.head_dim * token
        total = flops + attention * batch * token
        name = f"{batch}x{token}"
        rates[name] = total / medians["prefjax"]
        shares[name] = rates[name] / (flops / medians["products"])
        for candidate, value in medians.items():
            seconds[f"{candidate} {name}"] = value
            print(f"{candidate:10} {name:8} {value:8.3f} s {batch * token / value:9.0f} tokens/s")
        print(f"of the products' rate {shares[name]:.2f}, {flops / medians['products']:.3g} FLOP/s")
    return seconds, shares, rates


def padded(rows, order, num_rows, width):
    """Batches in the order given, padded to ``width`` or else to the longest row of each."""
    for start in range(0, len(order), num_rows):
        members = order[start : start + num_rows]
        size = width or -(-max(len(rows[i]) for i in members) // 64) * 64
        tokens, mask = np.zeros((num_rows, size), np.int32), np.zeros((num_rows, size), bool)
        for place, index in enumerate(members):
            tokens[place, : len(rows[index])] = rows[index]
            mask[place, : len(rows[index])] = True
        yield members, tokens, mask


def measure_buckets(model, num_texts, batch_tokens, repeats, tolerance):
    """Seconds to embed texts of lognormal length, by way of batching."""
    rng = np.random.default_rng(1)
    lengths = np.clip(rng.lognormal(np.log(80), 0.6, num_texts), 8, 384).astype(int)
    rows = {i: rng.integers(1, 500, size).tolist() for i, size in enumerate(lengths)}
    longest = -(-max(lengths) // 64) * 64
    num_rows = max(1, batch_tokens // longest)
    order = list(range(num_texts))

    def embed(batches):
        out = np.zeros((num_texts, model.config.hidden_size), np.float32)
        for members, tokens, mask in batches():
            out[members] = np.asarray(read(model.params, model.config, tokens, mask))[
                : len(members)
            ]
        return out

    ways = {
        "buckets": partial(bucketed, rows, bucket=64, batch_tokens=batch_tokens),
        "batch_maximum": partial(padded, rows, order, num_rows, 0),
        "maximum": partial(padded, rows, order, num_rows, longest),
    }
    calls = {name: partial(embed, batches) for name, batches in ways.items()}
    vectors = {name: call() for name, call in calls.items()}
    for name, value in vectors.items():
        np.testing.assert_allclose(value, vectors["buckets"], atol=tolerance, err_msg=name)
    seconds = interleaved(calls, repeats)
    for name, value in seconds.items():
        print(f"{name:14} {value:8.2f} s {lengths.sum() / value:9.0f} tokens/s")
    return seconds


def measure_prompts(model, num_prompts, prompt, response, repeats, tolerance):
    """Seconds to embed four responses to each prompt, with and without reading it once."""
    config, rng = model.config, np.random.default_rng(2)
    prompts = rng.integers(1, 500, (num_prompts, prompt)).astype(np.int32)
    responses = rng.integers(1, 500, (4 * num_prompts, response)).astype(np.int32)
    of = np.repeat(np.arange(num_prompts), 4)
    whole = np.concatenate([prompts[of], responses], axis=1)

    @jax.jit
    def share(params, prompts, responses, of):
        real = jnp.ones_like(prompts, bool)
        _, cache = lm.prefill(params, config, prompts, real, prompt + response)
        more = jnp.ones_like(responses, bool)
        hidden, _ = lm.extend(params, config, lm.take_rows(cache, of), responses, more)
        return lm.last_token(hidden, more)

    calls = {
        "shared": lambda: share(model.params, prompts, responses, of),
        "repeated": lambda: read(model.params, config, whole, np.ones_like(whole, bool)),
    }
    np.testing.assert_allclose(calls["shared"](), calls["repeated"](), atol=tolerance)
    seconds = interleaved(calls, repeats)
    for name, value in seconds.items():
        print(f"{name:10} {value:8.3f} s")
    return seconds


def main():
    parser = argparse.ArgumentParser(description="Embedding with a language model, timed.")
    parser.add_argument("--tiny", action="store_true", help="a size that takes seconds")
    parser.add_argument("--model", default="0.5b", help="0.5b (random weights) or smollm2")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--dtype", choices=TOLERANCE, default="float32")
    parser.add_argument("--shapes", nargs="+", default=["16x64", "8x128"], help="texts x tokens")
    parser.add_argument("--peak", type=float, help="FLOPs a second of the device at this dtype")
    arguments = parser.parse_args()
    tiny, tolerance = arguments.tiny, TOLERANCE[arguments.dtype]
    shapes = [tuple(map(int, shape.split("x"))) for shape in arguments.shapes]
    with tempfile.TemporaryDirectory() as folder:
        config = write(Path(folder), "tiny" if tiny else arguments.model)
        model = lm.load(folder, dtype=arguments.dtype)
        compared = "speed" in arguments.parts and arguments.dtype == "float32"
        other = load_torch(Path(folder)) if compared else None
    seconds, ratios, shares, rates = {}, {}, {}, {}
    if "speed" in arguments.parts:
        speed, shares, rates = measure_speed(model, other, shapes, 3)
        seconds |= speed
        if other is not None:
            ratios |= {
                f"torch {name}": speed[f"torch {name}"] / speed[f"prefjax {name}"]
                for name in shares
            }
    if "buckets" in arguments.parts:
        ways = measure_buckets(model, 32 if tiny else 48, 1024, 3 if tiny else 1, tolerance)
        seconds |= ways
        ratios |= {name: ways[name] / ways["buckets"] for name in ("batch_maximum", "maximum")}
    if "prompts" in arguments.parts:
        ways = measure_prompts(model, 2 if tiny else 4, 128, 64, 3, tolerance)
        seconds |= ways
        ratios["repeated"] = ways["repeated"] / ways["shared"]
    _, peak = measure_ceilings()
    print(
        json.dumps(
            {
                "benchmark": "embed",
                "device": jax.devices()[0].device_kind,
                "sizes": {"params": lm.num_params(config), "layers": config.num_layers},
                "dtype": arguments.dtype,
                "seconds": seconds,
                "ratios": ratios,
                "of_products_rate": shares,
                "flops_per_second": rates,
                "of_peak": {n: rate / arguments.peak for n, rate in rates.items()}
                if arguments.peak
                else {},
                "matmul_flops_per_second": peak,
                "agrees": bool(ratios),  # without another candidate nothing was compared
            }
        )
    )


if __name__ == "__main__":
    main()
