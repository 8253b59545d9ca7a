"""The text encoder of the experiments on real people, on a small simulated set."""

import dataclasses

import numpy as np
import pytest

from experiments import quickstart, real_people
from prefjax import encoders
from prefjax.data import NamedSet, SharedItemsConfig
from prefjax.data.attributes import WorldConfig, make_world
from prefjax.lab import compare

WORLD = WorldConfig(
    num_prompts=8, responses_per_prompt=5, pairs_per_prompt=10, pairs_per_user=40, num_users=12
)
CONFIG = dataclasses.replace(
    real_people.PRESETS["smoke"], encoder="by-name", num_factors=2, num_answers=(0, 3)
)


class Measured:
    """Embeds a response as what the judge measures in it, any other text by its length."""

    fingerprint = "measured"

    def __init__(self, world):
        self.of = dict(zip(world.dataset.responses, world.attributes, strict=True))

    def encode(self, texts):
        other = np.arange(7.0)
        rows = [self.of.get(text, other * len(text)) for text in texts]
        return np.array(rows, np.float32)


@pytest.fixture(scope="module")
def world():
    return make_world(WORLD, 0)


def gram(table):
    """Inner products of centered rows, up to scale: the same for every rotation."""
    table = table - table.mean(axis=0, keepdims=True)
    return table @ table.T / np.mean(np.sum(table**2, axis=1))


@pytest.fixture
def named(world, monkeypatch, tmp_path):
    """The world as a named set, and the names of encoders that were asked for."""
    asked = []
    protocol = SharedItemsConfig(group="prompt", num_new_users=3)
    record = NamedSet("toy", lambda folder: world.dataset, protocol, "", "", "")
    monkeypatch.setattr(real_people, "SETS", {"toy": record})
    monkeypatch.setenv("PREFJAX_CACHE", str(tmp_path))

    def encoder_of(name):
        asked.append(name)
        return Measured(world)

    monkeypatch.setattr(compare.sources, "encoder_of", encoder_of)
    return asked


def test_per_user_sees_the_text_through_the_named_encoder(world, named):
    source = real_people.text_source("toy", 0, CONFIG)
    assert set(named) == {"by-name"}
    np.testing.assert_allclose(gram(source.draw.embeddings), gram(world.attributes), atol=1e-4)


def test_every_method_is_measured_on_the_same_people_and_rows(named):
    """PReF sees which item it is, and can be asked by a rule; the text of an item is for others."""
    cells = {cell.method: cell for cell in real_people.cells_of("toy", CONFIG)}
    assert set(cells) == {"bradley-terry", "pref", "pref-map", "per-user"}
    for cell in cells.values():
        np.testing.assert_array_equal(cell.users, cells["pref"].users)
        assert cell.scores["random", ""].auc.shape == (2, 3)
    assert {("d_optimal", ""), ("random", "wrong-user"), ("random", "shuffled-users")} <= set(
        cells["pref"].scores
    )
    np.testing.assert_array_equal(
        cells["pref"].scores["d_optimal", ""].auc[0], cells["pref"].scores["random", ""].auc[0]
    )


def test_an_encoder_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="no encoder 'by-name'; there are hashed, minilm"):
        compare.sources.encoder_of("by-name")


@pytest.mark.slow
def test_quickstart_sees_the_text_through_the_offline_language_model(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFJAX_CACHE", str(tmp_path))
    config = dataclasses.replace(
        quickstart.PRESETS["smoke"],
        encoder="offline-lm",
        num_inputs=100,
        num_seeds=1,
        world=WORLD,
    )
    (source,) = quickstart.make_sources(config)
    shown = compare.shown(source.draw.split.train)
    dataset = source.people.dataset
    want = encoders.encode_responses(encoders.get_encoder("offline-lm"), dataset)
    np.testing.assert_allclose(gram(source.draw.embeddings[shown]), gram(want[shown]), atol=1e-3)
