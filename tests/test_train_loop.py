"""A run: it learns, it can be stopped anywhere and goes on with the same bits."""

import json
import os
import signal
from dataclasses import replace

import jax
import numpy as np
import pytest
from train_world import LAYOUT, NUM_RESPONSES, NUM_USERS, make_world

from prefjax.train import (
    MemorySource,
    ModelConfig,
    OptimizerConfig,
    StepConfig,
    TrainConfig,
    layout_for,
    predict,
    train,
    user_weights,
)
from prefjax.train.guard import Interrupts, Watchdog
from prefjax.types import Comparisons

pytestmark = pytest.mark.filterwarnings("ignore:The (training|validation) loss was still falling")

CONFIG = TrainConfig(
    step=StepConfig(ModelConfig(num_factors=3, penalty=1.0), batch_size=128),
    num_epochs=2,
    steps_per_call=4,
    save_every=8,
    backend="single",
)


def make_source(num_comparisons=1500, seed=0, layout=LAYOUT, users=()):
    data, embeddings = make_world(num_comparisons, num_users=layout.num_users, seed=seed)
    return MemorySource(data, NUM_RESPONSES, layout, users=users), embeddings


def bits(result):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(result.state)]


class Interrupting(MemorySource):
    """Sends this process a signal while a program runs."""

    def batches(self, seed, epoch, t, num_slots, num_steps, mesh):
        for number, batches in enumerate(
            super().batches(seed, epoch, t, num_slots, num_steps, mesh)
        ):
            if (epoch, number) == (1, 1):
                os.kill(os.getpid(), signal.SIGTERM)
            yield batches


@pytest.fixture(scope="module")
def whole():
    """A run that nothing stopped, from arrays that cannot be written to and are not."""
    data, embeddings = make_world(1500)
    before = [np.array(column) for column in (*data, embeddings)]
    for column in (*data, embeddings):
        column.setflags(write=False)
    result = train(MemorySource(data, NUM_RESPONSES, LAYOUT), embeddings, CONFIG)
    for column, old in zip((*data, embeddings), before, strict=True):
        np.testing.assert_array_equal(column, old)
    return result


def test_stopped_by_sigterm_and_resumed_it_ends_with_the_same_bits(tmp_path, whole):
    source, embeddings = make_source()
    assert whole.status == "finished"
    losses = [line["loss"] for line in whole.history]
    assert losses[-1] < losses[0] - 0.02
    assert all(line["comparisons_per_second"] > 0 for line in whole.history)

    data, _ = make_world(1500)
    interrupting = Interrupting(data, NUM_RESPONSES, LAYOUT)
    stopped = train(interrupting, embeddings, CONFIG, folder=tmp_path)
    assert stopped.status == "interrupted"
    steps_per_epoch = source.num_steps(16)
    at = steps_per_epoch + 8
    assert sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdecimal())[-1] == at
    with pytest.raises(ValueError, match=r"holds the steps .* resume it"):
        train(source, embeddings, CONFIG, folder=tmp_path)
    resumed = train(source, embeddings, CONFIG, folder=tmp_path, resuming=True)
    assert resumed.history[0] == {"step": at, "resumed": True}
    assert bits(resumed) == bits(whole)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == stopped.history + resumed.history

    changed = replace(CONFIG, step=replace(CONFIG.step, user_rate=0.2), seed=1)
    with pytest.raises(ValueError, match="cannot be resumed") as error:
        train(source, embeddings, changed, folder=tmp_path, resuming=True)
    assert "seed: saved 0, now 1" in str(error.value)
    assert "step.user_rate: saved 0.3, now 0.2" in str(error.value)
    other, _ = make_source(seed=1)
    with pytest.raises(ValueError, match="data: saved"):
        train(other, embeddings, CONFIG, folder=tmp_path, resuming=True)


def test_three_batches_that_are_not_finite_abort_by_name_and_leave_the_disk_finite(tmp_path):
    source, embeddings = make_source()
    exploding = replace(
        CONFIG, step=replace(CONFIG.step, user_rate=1e30), steps_per_call=4, save_every=1
    )
    with pytest.raises(FloatingPointError, match=r"3 batches in a row.*epoch 0 step \d+ \(128 com"):
        train(source, embeddings, exploding, folder=tmp_path)
    for step in (path for path in tmp_path.iterdir() if path.name.isdecimal()):
        meta = json.loads((step / "meta" / "metadata").read_text())
        assert meta["content"]["about"]["clock"] == int(step.name)


def test_an_unknown_user_is_an_error_and_never_somebody_else(whole):
    data, embeddings = make_world(1500)
    model = CONFIG.step.model

    def ask(user, first, second):
        pair = (np.asarray([index]) for index in (user, first, second))
        return predict(whole.state, LAYOUT, embeddings, *pair, config=model)[0]

    for index, name in (((NUM_USERS, 0, 1), "user 80"), ((-1, 0, 1), "user -1"),
                        ((0, 40, 1), "response 40"), ((0, 1, -2), "response -2"),
                        ((0, -1, 1), "response -1")):  # fmt: skip
        with pytest.raises(KeyError, match=f"no {name}"):
            ask(*index)
    assert ask(3, 5, 6) == pytest.approx(1 - ask(3, 6, 5), abs=1e-6)
    found = predict(
        whole.state, LAYOUT, embeddings, data.user, data.first, data.second, config=model
    )
    right = (found > 0.5) == (data.label > 0.5)
    assert right.mean() > 0.6


def test_input_that_cannot_be_trained_on_is_refused():
    source, embeddings = make_source()
    with pytest.raises(ValueError, match="39 rows for 40 responses"):
        train(source, embeddings[:39], CONFIG)
    broken = embeddings.copy()
    broken[3, 1] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        train(source, broken, CONFIG)
    with pytest.raises(ValueError, match="num_epochs must be at least 1"):
        replace(CONFIG, num_epochs=0)
    data, _ = make_world(100)
    nothing = data._replace(sample_weight=np.zeros(100))
    with pytest.raises(ValueError, match="All comparisons have weight 0"):
        train(MemorySource(nothing, NUM_RESPONSES, LAYOUT), embeddings, CONFIG)
    with pytest.raises(ValueError, match="All validation comparisons have weight 0"):
        train(source, embeddings, CONFIG, validation=nothing)
    nobody = Comparisons(*(np.zeros(0, t) for t in "iiiff"))
    with pytest.raises(ValueError, match="no comparisons"):
        MemorySource(nobody, NUM_RESPONSES, LAYOUT)
    stranger = Comparisons(*(np.asarray([x]) for x in (NUM_USERS, 0, 1, 1.0, 1.0)))
    with pytest.raises(ValueError, match=r"comparisons.user must lie in \[0, 80\)"):
        MemorySource(stranger, NUM_RESPONSES, LAYOUT)


def test_a_batch_larger_than_the_data_is_one_padded_batch():
    """What fills a batch changes nothing, however much of it there is."""
    source, embeddings = make_source(num_comparisons=20)
    exact = replace(CONFIG, num_epochs=3, steps_per_call=1)
    small, large = (
        train(source, embeddings, replace(exact, step=replace(CONFIG.step, batch_size=size)))
        for size in (512, 4096)
    )
    assert small.state.num_steps == large.state.num_steps == 3
    for ours, other in zip(*(jax.tree.leaves(r.state.params) for r in (small, large)), strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-6)


def test_a_second_interrupt_ends_at_once_and_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.wanted
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_watchdog_lets_a_run_go_that_moves():
    with Watchdog(seconds=60.0, first_seconds=60.0) as watchdog:
        watchdog.beat()


@pytest.mark.slow
def test_a_run_moves_to_another_number_of_devices(tmp_path, whole):
    source, embeddings = make_source()
    train(source, embeddings, replace(CONFIG, num_epochs=1), folder=tmp_path)
    for backend, num_devices, epochs in (("pmap", 3, 2), ("shard_map", 4, 3)):
        config = replace(CONFIG, backend=backend, num_devices=num_devices, num_epochs=epochs)
        moved = train(source, embeddings, config, folder=tmp_path, resuming=True)
        one = whole if epochs == 2 else train(source, embeddings, replace(CONFIG, num_epochs=3))
        for ours, theirs in zip(
            user_weights(moved.state, LAYOUT), user_weights(one.state, LAYOUT), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
def test_early_stopping_returns_to_the_best_state(tmp_path):
    data, embeddings = make_world(2000)
    rows = [Comparisons(*(c[part] for c in data)) for part in (slice(0, 700), slice(700, None))]
    source = MemorySource(rows[0], NUM_RESPONSES, LAYOUT)
    weak = replace(CONFIG.step, model=replace(CONFIG.step.model, objective="map", penalty=1e-3))
    config = replace(CONFIG, step=weak, num_epochs=200, patience=3)
    result = train(source, embeddings, config, validation=rows[1], folder=tmp_path)
    assert result.status == "stopped early"
    seen = {line["step"]: line["nll"] for line in result.history if "nll" in line}
    best = min(seen, key=seen.get)
    assert list(seen)[-1] > best
    assert int(result.state.num_steps) == best
    assert seen[best] < np.log(2)


@pytest.mark.slow
def test_new_users_join_at_the_prior_and_nobody_else_changes(tmp_path):
    more = NUM_USERS + 21
    names = [f"person {i}" for i in range(more)]
    source, embeddings = make_source(users=names[:NUM_USERS])
    before = train(source, embeddings, CONFIG, folder=tmp_path)
    weight, _ = user_weights(before.state, before.layout)
    fresh = layout_for(more, LAYOUT.num_partitions, 0, tmp_path)
    assert fresh.segments == (more,)
    layout = layout_for(more, LAYOUT.num_partitions, 0, tmp_path, grow=True)
    assert layout.segments == (NUM_USERS, 21)
    grown, _ = make_source(2000, seed=2, layout=layout, users=names)
    others, _ = make_source(2000, seed=2, layout=layout, users=names[::-1])
    with pytest.raises(ValueError, match=r"cannot be extended.*user_names: saved"):
        train(others, embeddings, CONFIG, folder=tmp_path, resuming=True, grow=True)
    with pytest.raises(ValueError, match=r"cannot be resumed.*layout"):
        train(grown, embeddings, CONFIG, folder=tmp_path, resuming=True)
    same = train(grown, embeddings, CONFIG, folder=tmp_path, resuming=True, grow=True)
    kept, variance = user_weights(same.state, layout)
    np.testing.assert_array_equal(kept[:NUM_USERS], weight)
    assert not kept[NUM_USERS:].any()
    assert (variance[NUM_USERS:] == 1).all()
    longer = replace(CONFIG, num_epochs=5)
    after = train(grown, embeddings, longer, folder=tmp_path / "again", resuming=True, grow=True)
    assert (user_weights(after.state, layout)[0][NUM_USERS:] != 0).any()


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["marginal", "map"])
def test_planted_people_are_found(objective):
    """As well as by block solves of the same objective, on comparisons of known people."""
    data, embeddings = make_world(12_000)
    rows = [Comparisons(*(c[part] for c in data)) for part in (slice(0, 8000), slice(8000, None))]
    source = MemorySource(rows[0], NUM_RESPONSES, LAYOUT)
    model = ModelConfig(num_factors=3, penalty=1.0, objective=objective)
    config = replace(
        CONFIG,
        step=StepConfig(model, batch_size=256, user_rate=0.3),
        optimizer=OptimizerConfig(learning_rate=0.03, decay_steps=750),
        num_epochs=24,
        patience=0,
        steps_per_call=16,
    )
    result = train(source, embeddings, config, validation=rows[1])
    reached = [line["nll"] for line in result.history if "nll" in line][-1]
    assert reached < block_solve(rows, embeddings, objective) + 0.004


def block_solve(rows, embeddings, objective):
    from prefjax import basis
    from prefjax.types import Penalties

    scale = {"marginal": 1.0, "map": 0.0}[objective]
    fitted, people, _ = basis.fit_head(
        jax.random.key(0),
        basis.make_problem(rows[0], embeddings, num_users=NUM_USERS),
        Penalties(np.float32(1.0), np.float32(1.0), np.float32(scale)),
        config=basis.HeadConfig(num_factors=3),
    )
    items, test = basis.apply(fitted.params, embeddings), rows[1]
    there = (test.second >= 0)[:, None]
    gap = items.features[test.first] - np.where(there, items.features[test.second], 0)
    offset = items.utility[test.first] - np.where(there[:, 0], items.utility[test.second], 0)
    logit = np.sum(gap * people.mean[test.user], axis=1) + offset
    loss = np.logaddexp(0, logit) - test.label * logit
    return float(np.average(loss, weights=test.sample_weight))
