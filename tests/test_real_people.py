"""The text encoder of the experiments on real people, on a small simulated set."""

import dataclasses

import numpy as np
import pytest

from experiments import quickstart, real_people
from experiments.quickstart.draw import embed
from experiments.real_people import models
from prefjax import encoders
from prefjax.data.attributes import WorldConfig, make_world

WORLD = WorldConfig(
    num_prompts=8, responses_per_prompt=5, pairs_per_prompt=10, pairs_per_user=40, num_users=12
)
CONFIG = dataclasses.replace(real_people.PRESETS["smoke"], encoder="by-name", ridges=(0.1, 1.0))


class Measured:
    """Embeds a response as what the judge measures in it."""

    fingerprint = "measured"

    def __init__(self, world):
        self.of = dict(zip(world.dataset.responses, world.attributes, strict=True))

    def encode(self, texts):
        return np.array([self.of[text] for text in texts], np.float32)


@pytest.fixture(scope="module")
def world():
    return make_world(WORLD, 0)


def gram(table):
    """Inner products of centered rows, up to scale: the same for every rotation."""
    table = table - table.mean(axis=0, keepdims=True)
    return table @ table.T / np.mean(np.sum(table**2, axis=1))


def test_per_user_sees_the_text_through_the_named_encoder(world, monkeypatch):
    asked = []
    monkeypatch.setattr(models, "get_encoder", lambda name: asked.append(name) or Measured(world))
    model = models.per_user_model(world.dataset, world.dataset.comparisons, CONFIG)
    assert asked == ["by-name"]
    np.testing.assert_allclose(gram(model.items.features), gram(world.attributes), atol=1e-4)
    assert model.prior.precision[0, 0] in np.float32(CONFIG.ridges)
    assert not model.items.utility.any()


def test_an_encoder_that_does_not_exist_is_named(world):
    with pytest.raises(ValueError, match="no encoder 'by-name'; there are hashed, minilm"):
        models.per_user_model(world.dataset, world.dataset.comparisons, CONFIG)


@pytest.mark.slow
def test_quickstart_sees_the_text_through_the_offline_language_model(world, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFJAX_CACHE", str(tmp_path))
    config = dataclasses.replace(
        quickstart.PRESETS["smoke"], encoder="offline-lm", num_inputs=100, num_own_inputs=100
    )
    seen = ~world.test_prompt[world.dataset.prompt_index]
    got = embed(world, config)
    want = encoders.encode_responses(encoders.get_encoder("offline-lm"), world.dataset)
    np.testing.assert_allclose(gram(got[seen]), gram(want[seen]), atol=1e-3)
