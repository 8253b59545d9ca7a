"""Programs of a language model: texts read, tokens drawn, alone or steered for people."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.program import CUT, WHOLE, Floor, Program, same, shape, size_of
from prefjax import lm
from prefjax.align import DecodeConfig, Prompts, decode_advantage, decode_value
from prefjax.align.heads import Moments, init_advantage, init_value, project_tokens


def qwen(num_layers: int) -> tuple[lm.QwenConfig, Any]:
    """The shape of Qwen2.5-0.5B, in bfloat16."""
    config = lm.QwenConfig(151936, 896, 4864, num_layers, 14, 2, 64)
    make = partial(lm.init_params, config=config, dtype=jnp.bfloat16)
    return config, jax.eval_shape(make, jax.random.key(0))


def first_token(config: lm.QwenConfig, params: Any, rows: int, tokens: int, slots: int) -> Floor:
    """Floor of prompts that are read ahead, with the logits behind them."""
    logits = 4.0 * rows * config.vocab_size
    cut = states(config, rows * tokens) + cache_bytes(config, rows, slots) + logits
    return Floor(cut, size_of(params))


def texts(rows: int, tokens: int) -> tuple[Any, Any]:
    return shape(rows, tokens, dtype=jnp.int32), shape(rows, tokens, dtype=jnp.bool_)


def embed(num_layers: int, rows: int, tokens: int) -> Program:
    config, params = qwen(num_layers)

    def read(params, tokens, mask):
        return lm.last_token(lm.forward(params, config, tokens, mask), mask)

    floor = {"once": Floor(states(config, rows * tokens), size_of(params["layers"]))}
    arguments = (params, *texts(rows, tokens))
    return Program(same(read), arguments, (WHOLE, CUT, CUT), CUT, floor)


def states(config: lm.QwenConfig, num_tokens: int) -> float:
    """Bytes that the layers must move for tokens which are read together.

    The state, its queries, keys and values and both wide states are written and read once; the
    product of the wide states and everything else could stay on the chip.
    """
    width = config.hidden_size + (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    return 4.0 * config.num_layers * num_tokens * (width + 2 * config.intermediate_size)


def cache_bytes(config: lm.QwenConfig, rows: int, slots: int) -> float:
    """Bytes of the keys and values of all layers, in bfloat16."""
    return 4.0 * config.num_layers * rows * config.num_kv_heads * slots * config.head_dim


def prefill(num_layers: int, rows: int = 64, tokens: int = 128) -> Program:
    config, params = qwen(num_layers)

    def read(params, tokens, mask):
        hidden, cache = lm.prefill(params, config, tokens, mask, 2 * tokens.shape[1])
        return lm.logits(params, config, hidden[:, -1]), cache

    floor = {"once": first_token(config, params, rows, tokens, 2 * tokens)}
    arguments = (params, *texts(rows, tokens))
    results = (CUT, lm.Cache(CUT, CUT, WHOLE, CUT))
    return Program(same(read), arguments, (WHOLE, CUT, CUT), results, floor)


def decode(num_layers: int, rows: int = 64, tokens: int = 128) -> Program:
    config, params = qwen(num_layers)
    key = jax.eval_shape(lambda: jax.random.key(0))

    def run(key, params, tokens, mask):
        return lm.generate(key, params, config, tokens, mask, max_new_tokens=128).tokens

    floor = {
        "once": first_token(config, params, rows, tokens, tokens + 127),
        "round": Floor(cache_bytes(config, rows, tokens + 127), size_of(params)),
    }
    arguments = (key, params, *texts(rows, tokens))
    return Program(same(run), arguments, (WHOLE, WHOLE, CUT, CUT), CUT, floor, is_shared=rows > 1)


def steer(num_layers: int, kind: str, rows: int = 64, tokens: int = 128) -> Program:
    config, params = qwen(num_layers)
    num_factors, width = 8, config.hidden_size
    key = jax.eval_shape(lambda: jax.random.key(0))
    inputs = Moments(shape(3 * width), shape(3 * width))
    outputs = Moments(shape(num_factors), shape(num_factors))
    prompts, weights = Prompts(*texts(rows, tokens)), shape(rows, num_factors)
    floor = {
        "once": first_token(config, params, rows, tokens, tokens + 128),
        "round": Floor(cache_bytes(config, rows, tokens + 128), size_of(params)),
    }
    if kind == "value":
        head = jax.eval_shape(init_value, key, inputs, outputs)
        settings = DecodeConfig(128, num_candidates=10)

        def run(key, params, head, prompts, weights):
            return decode_value(key, params, config, head, prompts, weights, 1.0, decoding=settings)

        arguments = (key, params, head, prompts, weights)
        return Program(same(run), arguments, (WHOLE, WHOLE, WHOLE, CUT, CUT), CUT, floor)
    make = lambda key, moments, deviation: init_advantage(key, width, moments, deviation)  # noqa: E731
    head = jax.eval_shape(make, key, inputs, outputs.deviation)
    rows_of = jax.eval_shape(project_tokens, head, params["embedding"])
    settings = DecodeConfig(128, num_candidates=20)

    def steered(key, params, head, table, prompts, weights):
        return decode_advantage(
            key, params, config, head, table, prompts, weights, 1.0, decoding=settings
        )

    arguments = (key, params, head, rows_of, prompts, weights)
    specs = (WHOLE, WHOLE, WHOLE, WHOLE, CUT, CUT)
    return Program(same(steered), arguments, specs, CUT, floor)
