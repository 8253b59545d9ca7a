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
    static_argnames=("config", "max_new_tokens", "sampling", "num_ids", "hook", "num_candidates"),
    compiler_options=FAST,
)
GREEDY = lm.SamplingConfig(temperature=0.0)


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
