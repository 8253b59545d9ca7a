"""Steering the language model that comes with the package towards concise responses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefjax import lm
from prefjax.align import temporal
from prefjax.align.decode import decode_advantage, decode_value
from prefjax.align.heads import project_tokens
from prefjax.align.samples import draw
from prefjax.align.teach import collect, encode_prompts
from prefjax.align.temporal import TrainConfig
from prefjax.data.attributes import load_prompts
from prefjax.lm.bundled import OFFLINE

LENGTH, ROWS, CANDIDATES = 160, 32, 10
TRAIN = TrainConfig(num_steps=400, learning_rate=2e-3, width=256)


def count_words(texts):
    return np.array([[len(text.split())] for text in texts], np.float32)


@pytest.mark.slow
def test_steering_to_concise_shortens_and_states_before_tokens_do_not_learn_to():
    model = lm.load(OFFLINE)
    questions = [prompt.question for prompt in load_prompts()]
    data = collect(
        jax.random.key(0), model, questions[ROWS : 2 * ROWS], count_words, num_samples=12,
        max_new_tokens=LENGTH,
    )  # fmt: skip
    # The published convention: the states before each token, the last of which is left out.
    before = np.roll(data.mask, -1, axis=1)
    before[:, -1] = False
    head, _ = temporal.fit_value(jax.random.key(1), data, TRAIN)
    published, _ = temporal.fit_value(jax.random.key(1), data._replace(mask=before), TRAIN)
    embedding = model.params["embedding"]
    advantage, _ = temporal.fit_advantage(jax.random.key(2), data, head, embedding, TRAIN)

    prompts = encode_prompts(model, questions[:ROWS], LENGTH)
    shared = {"max_new_tokens": LENGTH, "num_ids": len(model.tokenizer)}
    base = draw(jax.random.key(3), model.params, model.config, *prompts, num_samples=1, **shared)
    weight = jnp.full((ROWS, 1), -1 / data.features.std())
    static = {"config": model.config, "num_candidates": CANDIDATES, **shared}

    def length(decode, beta=2.0, **head):
        program = jax.jit(partial(decode, **static))
        got = program(
            jax.random.key(3), model.params, tokens=prompts.tokens, mask=prompts.mask,
            weight=weight, beta=jnp.float32(beta), **head,
        )  # fmt: skip
        return float(got.mask.sum(1).mean())

    plain = float(base.mask.sum(1).mean())
    rows = project_tokens(advantage, embedding)
    assert length(decode_value, beta=0.0, head=head) == plain
    assert length(decode_value, head=head) < 0.7 * plain
    assert length(decode_advantage, head=advantage, token_rows=rows) < 0.7 * plain
    assert length(decode_value, head=published) > 0.7 * plain
