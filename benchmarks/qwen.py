"""Checkpoints for the benchmarks of the language model: random of a real shape, or real."""

import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from prefjax import lm

SHAPES = {
    "0.5b": lm.QwenConfig(151936, 896, 4864, 24, 14, 2, 64),
    "tiny": lm.QwenConfig(512, 64, 160, 2, 4, 2, 16),
}


def make(folder: Path, config: lm.QwenConfig) -> None:
    """Write random weights, biases and gains in bfloat16, the dtype Qwen is published in."""
    params = lm.init_params(jax.random.key(0), config, dtype=jnp.bfloat16)

    def spread(path: Any, array: jax.Array) -> jax.Array:
        if array.ndim == 2:
            return array
        key = jax.random.key(zlib.crc32(jax.tree_util.keystr(path).encode()))
        return array + 0.1 * jax.random.normal(key, array.shape, array.dtype)

    lm.save(folder, jax.tree_util.tree_map_with_path(spread, params), config)


def write(folder: Path, name: str) -> lm.QwenConfig:
    """Write a shape of ``SHAPES`` with random weights, or a real model by its name."""
    if name in SHAPES:
        make(folder, SHAPES[name])
        return SHAPES[name]
    model = lm.load(name)
    lm.save(folder, lm.unstack_layers(model.params), model.config, tokenizer=model.tokenizer)
    return model.config


def load_torch(folder: Path) -> Any:
    """The same model in transformers with torch's fused attention, or None without torch."""
    try:
        import torch
    except ImportError:
        return None
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa"
    )
    return model.eval()
