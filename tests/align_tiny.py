"""A tiny language model with random weights, samples of it and heads trained on them.

Prompts are three times token 0 and one other, so that attention to token 0, which thins out as a
response grows, tells the model where it is.
"""

import jax
import jax.numpy as jnp
import numpy as np
from lm_tiny import FAST

from prefjax import lm
from prefjax.align import (
    DecodeConfig,
    Prompts,
    TrainConfig,
    decode_advantage,
    decode_value,
    draw,
    project_tokens,
    states_after,
    temporal,
)
from prefjax.align.trajectories import Trajectories

CONFIG = lm.QwenConfig(
    vocab_size=16, hidden_size=32, intermediate_size=48, num_layers=1, num_heads=2,
    num_kv_heads=1, head_dim=16, max_length=64, eos_ids=(1,),
)  # fmt: skip
LENGTH, PROMPT, BATCH = 24, 4, 64
DECODING = DecodeConfig(LENGTH, num_candidates=15)
TRAIN = TrainConfig(
    td=0.95, num_steps=1000, learning_rate=3e-3, weight_decay=10.0, width=64, rank=16
)


def make_model():
    """Random weights, biases and gains included."""
    params = lm.init_params(jax.random.key(30), CONFIG, scale=0.15)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(31), len(leaves))
    noise = [0.1 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, [a + b for a, b in zip(leaves, noise, strict=True)])


def make_prompts():
    """Prompts of different length, padded on the left."""
    tokens = np.zeros((BATCH, PROMPT), np.int32)
    tokens[:, -1] = np.random.default_rng(0).integers(2, 16, BATCH)
    mask = np.arange(PROMPT)[None] >= (np.arange(BATCH) % 8 == 0)[:, None]
    return Prompts(tokens, mask)


def measure(drawn):
    """φ = (−length, how often token 5)."""
    fives = jnp.sum((drawn.tokens == 5) & drawn.mask, axis=1)
    return jnp.stack([-drawn.mask.sum(1), fives], axis=1).astype(jnp.float32)


class Study:
    """A model, samples of it, and heads trained on them."""

    def __init__(self):
        self.params, self.prompts = make_model(), make_prompts()
        parts = []
        for seed in range(8):
            drawn = self.plain(seed)
            states = states_program(self.params, CONFIG, self.prompts, drawn.tokens, drawn.mask)
            part = Trajectories(
                states=states,
                tokens=jnp.concatenate([self.prompts.tokens[:, -1:], drawn.tokens], axis=1),
                mask=jnp.pad(drawn.mask, [(0, 0), (1, 0)], constant_values=True),
                ended=drawn.ended,
                features=measure(drawn),
            )
            parts.append(jax.tree.map(np.asarray, part))
        self.data = jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
        self.head, self.losses = temporal.fit_value(
            jax.random.key(3), self.data, self.params["embedding"], TRAIN
        )
        self.advantage, _ = temporal.fit_advantage(
            jax.random.key(4), self.data, self.head, self.params["embedding"], TRAIN
        )
        self.rows = project_tokens(self.advantage, self.params["embedding"])
        self.short = np.array([1 / self.data.features[:, 0].std(), 0.0], np.float32)

    def plain(self, seed, num_samples=1):
        return draw_program(
            jax.random.key(seed), self.params, CONFIG, self.prompts, num_samples=num_samples,
            decoding=DECODING,
        )  # fmt: skip

    def by_value(self, weight, beta, head=None, seed=99):
        return by_value_program(
            jax.random.key(seed), self.params, CONFIG, self.head if head is None else head,
            self.prompts, everyone(weight), jnp.float32(beta), decoding=DECODING,
        )  # fmt: skip

    def by_advantage(self, weight, beta, seed=99):
        return by_advantage_program(
            jax.random.key(seed), self.params, CONFIG, self.advantage, self.rows, self.prompts,
            everyone(weight), jnp.float32(beta), decoding=DECODING,
        )  # fmt: skip


def everyone(weight):
    return jnp.broadcast_to(jnp.asarray(weight, jnp.float32), (BATCH, 2))


def mean_length(steered):
    return float(steered.mask.sum(1).mean())


STATIC = ("config", "decoding")
by_value_program = jax.jit(decode_value, static_argnames=STATIC, compiler_options=FAST)
by_advantage_program = jax.jit(decode_advantage, static_argnames=STATIC, compiler_options=FAST)
states_program = jax.jit(states_after, static_argnames="config", compiler_options=FAST)
draw_program = jax.jit(draw, static_argnames=(*STATIC, "num_samples"), compiler_options=FAST)
