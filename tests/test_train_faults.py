"""What a run must not do in silence: follow rows nobody compared, end untrained, save what is no
number, mistake one person for another."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from train_world import LAYOUT, NUM_RESPONSES, NUM_USERS, make_world

from prefjax.train import (
    MemorySource,
    ModelConfig,
    OptimizerConfig,
    ShardSource,
    StepConfig,
    TrainConfig,
    UserLayout,
    monitor,
    predict,
    train,
    user_weights,
    write_shards,
)
from prefjax.types import BASELINE, Comparisons

still_falling = pytest.mark.filterwarnings(
    "ignore:The (training|validation) loss was still falling"
)

CONFIG = TrainConfig(
    step=StepConfig(ModelConfig(num_factors=3, penalty=1.0), batch_size=128),
    num_epochs=2,
    steps_per_call=4,
    backend="single",
    progress=False,
)
MLP = replace(CONFIG, step=replace(CONFIG.step, model=ModelConfig(num_factors=3, hidden=(5,))))


def fit(data, embeddings, config=CONFIG, num_responses=None, layout=LAYOUT, **settings):
    source = MemorySource(data, num_responses or len(embeddings), layout)
    return train(source, embeddings, config, **settings)


def learned(result):
    """Head and people, as arrays."""
    return jax.tree.leaves((result.state.params, result.state.users))


def assert_same(ours, other):
    for one, two in zip(learned(ours), learned(other), strict=True):
        np.testing.assert_array_equal(one, two)


UNUSED = {
    "one of length 10,000": 1e4 * np.ones((1, 6)),
    "forty around another mean": 50 + np.random.default_rng(1).normal(size=(40, 6)),
    "ten zeros": np.zeros((10, 6)),
}


@still_falling
@pytest.mark.parametrize("config", [CONFIG, MLP], ids=["linear", "mlp"])
def test_responses_that_nobody_compared_change_no_bit(config, tmp_path):
    data, embeddings = make_world(900)
    expected = fit(data, embeddings, config)
    for name, extra in UNUSED.items():
        more = np.concatenate([embeddings, extra.astype(np.float32)])
        assert_same(fit(data, more, config), expected)
        if config is MLP:
            break
        folder = tmp_path / name
        write_shards([data], folder, layout=LAYOUT, num_responses=len(more), block_rows=64)
        source = ShardSource(folder)
        np.testing.assert_array_equal(source.compared(), np.arange(len(more)) < len(embeddings))
        # A folder from before this was kept in a file tells the same.
        about = json.loads((folder / "shards.json").read_text())
        del about["compared_sha256"]
        (folder / "shards.json").write_text(json.dumps({**about, "version": 1}))
        np.testing.assert_array_equal(ShardSource(folder).compared(), source.compared())


@still_falling
def test_a_response_that_only_rows_without_weight_show_changes_no_bit():
    data, embeddings = make_world(900)
    shown = (data.first == 7) | (data.second == 7)
    data = data._replace(sample_weight=np.where(shown, 0, data.sample_weight))
    changed = embeddings.copy()
    changed[7] = -3e3
    assert_same(fit(data, changed), fit(data, embeddings))


@still_falling
@pytest.mark.parametrize("config", [CONFIG, MLP], ids=["linear", "mlp"])
def test_the_unit_and_the_origin_of_embeddings_change_no_prediction(config):
    data, embeddings = make_world(900)
    data = data._replace(second=np.where(data.second == BASELINE, 0, data.second))
    first = fit(data, embeddings, config)
    pairs = data.user, data.first, data.second
    expected = predict(first.state, LAYOUT, embeddings, *pairs, config=config.step.model)
    assert np.ptp(expected) > 0.05
    for scale, offset in ((2.0**20, 0), (2.0**-14, 0), (1.0, 3.0)):
        other = (embeddings * np.float32(scale) + np.float32(offset)).astype(np.float32)
        result = fit(data, other, config)
        found = predict(result.state, LAYOUT, other, *pairs, config=config.step.model)
        np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_epochs": 1}, "training loss was still falling at the end, .*: raise num_epochs"),
        (
            {"num_epochs": 12, "optimizer": OptimizerConfig(learning_rate=1e-3)},
            "training loss was still falling .* raise num_epochs or optimizer.learning_rate",
        ),
    ],
)
def test_a_run_that_ended_too_early_says_so(settings, message):
    data, embeddings = make_world(2000)
    with pytest.warns(UserWarning, match=message):
        result = fit(data, embeddings, replace(CONFIG, **settings))
    assert result.status == "finished"
    assert "still falling" in result.trend


def test_a_validation_loss_that_still_fell_is_said():
    data, embeddings = make_world(2000)
    rows = [Comparisons(*(c[part] for c in data)) for part in (slice(0, 1500), slice(1500, None))]
    with pytest.warns(UserWarning, match="validation loss was still falling"):
        fit(rows[0], embeddings, replace(CONFIG, num_epochs=8), validation=rows[1])


def test_a_loss_that_rose_is_said():
    data, embeddings = make_world(2000)
    high = replace(CONFIG, num_epochs=8, optimizer=OptimizerConfig(learning_rate=3.0))
    with pytest.warns(
        UserWarning, match="training loss rose from .* lower optimizer.learning_rate"
    ):
        fit(data, embeddings, high)


def test_by_default_a_run_stops_when_nothing_is_gained():
    data, embeddings = make_world(1500)
    config = replace(CONFIG, num_epochs=TrainConfig().num_epochs)
    result = fit(data, embeddings, config)
    assert (result.status, result.trend) == ("converged", "")
    losses = [line["loss"] for line in result.history if "loss" in line]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.05
    rows = [Comparisons(*(c[part] for c in data)) for part in (slice(0, 700), slice(700, None))]
    weak = replace(config.step, model=replace(config.step.model, objective="map", penalty=1e-3))
    stopped = fit(rows[0], embeddings, replace(config, step=weak), validation=rows[1])
    seen = {line["step"]: line["nll"] for line in stopped.history if "nll" in line}
    assert stopped.status == "stopped early"
    assert int(stopped.state.num_steps) == min(seen, key=seen.get) < max(seen)


@pytest.mark.parametrize(
    ("optimizer", "user_rate"),
    [(OptimizerConfig(name="sgd", learning_rate=1e5), 0.3), (OptimizerConfig(), 1e4)],
)
def test_divergence_is_an_error_with_step_and_remedy_and_leaves_the_disk_good(
    tmp_path, optimizer, user_rate
):
    data, embeddings = make_world(1500)
    step = replace(CONFIG.step, user_rate=user_rate)
    config = replace(CONFIG, optimizer=optimizer, step=step, save_every=1, steps_per_call=1)
    with pytest.raises(FloatingPointError, match=r"diverged at step \d+ \(epoch 0 step") as error:
        fit(data, embeddings, config, folder=tmp_path)
    assert f"learning_rate (now {optimizer.learning_rate:g})" in str(error.value)
    assert f"user_rate (now {user_rate:g})" in str(error.value)
    clocks = [int(path.name) for path in tmp_path.iterdir() if path.name.isdecimal()]
    assert all(f"diverged at step {clock} " not in str(error.value) for clock in clocks[:-1])


@still_falling
@pytest.mark.parametrize("kind", ["names", "sparse", "far"])
def test_users_may_have_any_ids(kind):
    data, embeddings = make_world(1200)
    ids = {
        "names": np.array([f"person {i:03d}" for i in range(NUM_USERS)]),
        "sparse": 7_000_000_000 + 13 * np.arange(NUM_USERS),
        "far": np.append(np.arange(NUM_USERS - 1), 2**40),
    }[kind]
    rows = [Comparisons(*(c[part] for c in data)) for part in (slice(0, 900), slice(900, None))]
    named = [part._replace(user=ids[part.user]) for part in rows]
    assert len(np.unique(rows[0].user)) == NUM_USERS
    expected = train(
        MemorySource(rows[0], NUM_RESPONSES, UserLayout((NUM_USERS,))),
        embeddings,
        CONFIG,
        validation=rows[1],
    )
    source = MemorySource(named[0], NUM_RESPONSES)
    result = train(source, embeddings, CONFIG, validation=named[1])
    assert source.users == tuple(map(str, ids.tolist()))
    assert result.layout.num_users == NUM_USERS
    assert_same(result, expected)
    assert [x for x in result.history if "nll" in x] == [x for x in expected.history if "nll" in x]
    unknown = named[1]._replace(user=np.full_like(named[1].user, 5 if kind != "names" else "eve"))
    if kind != "far":
        with pytest.raises(ValueError, match="without training comparisons, first row 0"):
            train(source, embeddings, CONFIG, validation=unknown)


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (np.array([1.5, np.nan]), "got 1.5 in row 0"),
        (np.array(["ada", None], object), "got None in row 1"),
        (np.array([2, ("bo",)], object), r"got \('bo',\) in row 1"),
        (np.array([True, False]), "got True in row 0"),
    ],
)
def test_ids_that_are_none_are_refused_by_row(users, message):
    zero, one = np.zeros(2, int), np.ones(2)
    with pytest.raises(TypeError, match=message):
        MemorySource(Comparisons(users, zero, zero + 1, one, one), 2)


@pytest.mark.parametrize("names", [["bob", "bob "], ["caf\u00e9", "cafe\u0301"]])
def test_names_that_look_alike_are_reported(names):
    zero, one = np.zeros(2, int), np.ones(2)
    with pytest.warns(UserWarning, match="taken for different people"):
        source = MemorySource(Comparisons(np.array(names), zero, zero + 1, one, one), 2)
    assert sorted(source.users) == sorted(names)


@still_falling
@pytest.mark.parametrize("times", [3, 1000])
def test_a_row_that_stands_several_times_is_one_with_the_sum_of_weights(times):
    data, embeddings = make_world(300)
    data = data._replace(sample_weight=np.ones(300))
    weight = np.where(np.arange(300) < 5, times, 1)
    repeated = Comparisons(*(np.repeat(column, weight) for column in data))
    result = fit(repeated, embeddings)
    assert_same(result, fit(data._replace(sample_weight=weight.astype(float)), embeddings))
    assert len(result.history) < 20


@still_falling
@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_of_rows_changes_no_bit(seed):
    data, embeddings = make_world(900)
    order = np.random.default_rng(seed).permutation(900)
    shuffled = Comparisons(*(column[order] for column in data))
    assert_same(fit(shuffled, embeddings), fit(data, embeddings))


@still_falling
def test_long_work_shows_its_progress_and_its_loss(monkeypatch, capsys):
    monkeypatch.setattr(monitor, "SECONDS_WITHOUT_BAR", 0.0)
    data, embeddings = make_world(900)
    fit(data, embeddings, replace(CONFIG, progress=True))
    shown = capsys.readouterr().err
    assert "loss=0." in shown
    assert "comparison/s" in shown


@still_falling
def test_a_run_folder_that_is_a_file_or_all_damaged_is_named(tmp_path):
    data, embeddings = make_world(900)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Cannot write checkpoints in .*file"):
        fit(data, embeddings, folder=tmp_path / "file")
    run = tmp_path / "run"
    fit(data, embeddings, folder=run)
    for path in run.rglob("metadata"):
        path.write_bytes(path.read_bytes()[:40])
    with (
        pytest.warns(RuntimeWarning, match="is damaged"),
        pytest.raises(ValueError, match=r"No step in .*run is good"),
    ):
        fit(data, embeddings, folder=run, resuming=True)


@still_falling
def test_a_run_of_the_version_before_goes_on_under_its_own_objective(tmp_path, monkeypatch):
    data, embeddings = make_world(900)
    from prefjax.train import loop, setup

    monkeypatch.setattr(loop, "VERSION", 1)
    old = fit(data, embeddings, folder=tmp_path)
    monkeypatch.setattr(loop, "VERSION", setup.VERSION)
    longer = replace(CONFIG, num_epochs=3)
    resumed = fit(data, embeddings, longer, folder=tmp_path, resuming=True)
    monkeypatch.setattr(loop, "VERSION", 1)
    assert_same(resumed, fit(data, embeddings, longer))
    assert user_weights(old.state, LAYOUT)[0].shape == (NUM_USERS, 3)
