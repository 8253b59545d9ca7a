"""A second run at the same sizes compiles nothing, and neither does reading a step back."""

from dataclasses import replace

import numpy as np
import pytest
from compilations import compilations
from train_world import LAYOUT, NUM_RESPONSES, make_world

from prefjax.train import MemorySource, ModelConfig, StepConfig, TrainConfig, predict, train
from prefjax.types import Comparisons

pytestmark = pytest.mark.filterwarnings("ignore:The (training|validation) loss was still falling")

CONFIG = TrainConfig(
    step=StepConfig(ModelConfig(num_factors=3), batch_size=128),
    num_epochs=1,
    steps_per_call=4,
    save_every=4,
    backend="single",
)


def run(folder, seed, backend="single", **settings):
    """A run with validation and checkpoints, then some predictions."""
    data, embeddings = make_world(900)
    rng = np.random.default_rng(seed)
    data = data._replace(label=rng.permutation(data.label))
    embeddings = rng.normal(size=embeddings.shape).astype(np.float32)
    rows = [Comparisons(*(c[part] for c in data)) for part in (slice(0, 700), slice(700, None))]
    config = replace(CONFIG, backend=backend, num_devices=None if backend == "single" else 2)
    source = MemorySource(rows[0], NUM_RESPONSES, LAYOUT)
    result = train(source, embeddings, config, validation=rows[1], folder=folder, **settings)
    pairs = (column[:50] for column in data[:3])
    predict(result.state, LAYOUT, embeddings, *pairs, config=config.step.model)
    return result


@pytest.mark.parametrize("backend", ["single", "pmap"])
def test_a_second_run_compiles_nothing(tmp_path, backend):
    with compilations() as first:
        run(tmp_path / "first", seed=0, backend=backend)
    with compilations() as second:
        run(tmp_path / "second", seed=1, backend=backend)
    assert first
    assert not second


def test_reading_a_step_back_compiles_nothing_the_second_time(tmp_path):
    results = []
    for seed in (0, 1):
        run(tmp_path / str(seed), seed=seed)
        with compilations() as seen:
            results.append(run(tmp_path / str(seed), seed=seed, resuming=True))
    assert not seen
    assert all(result.history[0]["resumed"] for result in results)
    assert np.isfinite(results[1].state.params["out"]["kernel"]).all()
