"""The tiny checkpoints that tests/make_lm_tiny.py made, for the tests of the language model.

Most of a test here is compilation, so what is run once is compiled without optimization (``FAST``).
"""

from pathlib import Path

import jax
import numpy as np

from prefjax import lm

FOLDER = Path(__file__).parent / "data" / "lm_tiny"
NAMES = ("qwen2", "qwen3", "llama")
TOLERANCE = 1e-5
LEFT = [0, 1, 3]  # rows without padding on the right: the prompts of the stored continuation

FAST = {"xla_backend_optimization_level": 0}

hidden_states = jax.jit(lm.hidden_states, static_argnums=1)
forward = jax.jit(lm.forward, static_argnums=1, static_argnames="layer", compiler_options=FAST)
prefill = jax.jit(lm.prefill, static_argnums=(1, 4), compiler_options=FAST)
extend = jax.jit(lm.extend, static_argnums=1, compiler_options=FAST)
_generate = jax.jit(
    lm.generate,
    static_argnames=(
        "config",
        "max_new_tokens",
        "sampling",
        "num_ids",
        "hook",
        "num_candidates",
        "hook_layer",
    ),
    compiler_options=FAST,
)
GREEDY = lm.SamplingConfig(temperature=0.0)


def chat_model(folder, words):
    """A random Qwen2 of two layers whose tokenizer was trained on the words and knows turns."""
    from transformers import Qwen2Tokenizer

    tokenizer = Qwen2Tokenizer().train_new_from_iterator(
        words * 3, 300, new_special_tokens=["<|im_start|>", "<|im_end|>"], show_progress=False
    )
    config = lm.QwenConfig(
        vocab_size=304,
        hidden_size=16,
        intermediate_size=24,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        max_length=128,
    )
    leaves, tree = jax.tree.flatten(lm.init_params(jax.random.key(0), config, scale=0.3))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [
        leaf + 0.2 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    lm.save(folder, tree.unflatten(noisy), config, tokenizer=tokenizer)
    return lm.load(folder)


def load(name):
    """Model and stored outputs."""
    with np.load(FOLDER / name / "outputs.npz") as stored:
        outputs = dict(stored)
    return lm.load(FOLDER / name), outputs


def error(ours, theirs, mask=None):
    """Largest difference, at the real tokens."""
    gap = np.abs(np.asarray(ours) - np.asarray(theirs))
    return float((gap if mask is None else gap[mask]).max())


def generate(model, tokens, mask, *, key=0, config=None, **settings):
    """Greedy unless told otherwise."""
    settings = {"config": config or model.config, "sampling": GREEDY} | settings
    return _generate(jax.random.key(key), model.params, tokens=tokens, mask=mask, **settings)
