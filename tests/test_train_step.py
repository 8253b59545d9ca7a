"""One step against a dense twin, and what a step must not do."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from train_world import (
    CONFIG,
    LAYOUT,
    NUM_RESPONSES,
    NUM_SLOTS,
    NUM_USERS,
    STEPS_A_CALL,
    make_world,
    program,
    run,
    start,
    users_of_partition,
)

from prefjax import variational
from prefjax.basis import heads
from prefjax.numerics import softplus_loss
from prefjax.parallel import make_mesh
from prefjax.train.loop import user_weights
from prefjax.train.memory import MemorySource
from prefjax.types import Comparisons

SEVERAL_STEPS = [64, 37, 0, 1, 50, 61, 12, 63]
RATE = 0.3  # of the SGD of train_world


def dense_loss(params, mean, log_variance, data, embeddings, config):
    """The whole objective over every row and every user who answered, from its equation."""
    model = config.model
    items = heads.apply(params, embeddings)
    table = jnp.concatenate([items.features, items.utility[:, None]], axis=1)
    second = jnp.where((data.second >= 0)[:, None], table[data.second], 0)
    gap = table[data.first] - second
    z = jnp.sum(gap[:, :-1] * mean[data.user], axis=1) + gap[:, -1]
    answered = jnp.bincount(data.user, weights=data.sample_weight, length=NUM_USERS) > 0
    square = jnp.sum(jnp.square(mean), axis=1)
    if model.objective == "map":
        loss, divergence = softplus_loss(z, data.label), 0.5 * square
    else:
        variance = jnp.exp(log_variance)
        spread = jnp.sum(jnp.square(gap[:, :-1]) * variance[data.user], axis=1)
        loss = variational.expect(z, spread, model.bound).value - data.label * z
        divergence = 0.5 * (square + jnp.sum(variance - 1 - log_variance, axis=1))
    tau = jnp.asarray([model.penalty] * model.num_factors + [model.utility_penalty])
    params = for_unit_inputs(params, data, embeddings)
    return (
        jnp.sum(data.sample_weight * loss)
        + jnp.sum(jnp.where(answered, divergence, 0))
        + 0.5 * jnp.sum(jnp.square(params["out"]["kernel"]) * tau[None])
        + 0.5 * jnp.sum(jnp.square(params["out"]["bias"]) * tau)
        + heads.trunk_decay(params, model.head)
    )


def input_scale(data, embeddings):
    """Root of the mean squared norm of the centered embeddings that are compared."""
    used = embeddings[np.unique(np.concatenate([data.first, data.second[data.second >= 0]]))]
    centered = used - used.mean(0, keepdims=True)
    return np.sqrt(np.mean(np.sum(np.square(centered), axis=1))), used.mean(0)


def with_inputs(params, num_inputs, factor, shift):
    """What reads an embedding times a factor, its bias moved."""

    def change(layer):
        direct = layer["kernel"][:num_inputs]
        kernel = jnp.concatenate([factor * direct, layer["kernel"][num_inputs:]])
        return {"kernel": kernel, "bias": layer["bias"] + shift @ direct}

    trunk = params.get("trunk", {})
    if trunk:
        trunk = {"trunk": {**trunk, "layer0": change(trunk["layer0"])}}
    return {"out": change(params["out"]), **trunk}


def for_unit_inputs(params, data, embeddings):
    """The parameters that the optimizer steps, by hand."""
    scale, mean = input_scale(data, embeddings)
    return with_inputs(params, embeddings.shape[1], scale, mean)


def for_embeddings(params, data, embeddings):
    """Undoes `for_unit_inputs`."""
    scale, mean = input_scale(data, embeddings)
    return with_inputs(params, embeddings.shape[1], 1 / scale, -mean / scale)


def one_step(data, embeddings, config):
    """State before and after the first step; all comparisons are in its batch."""
    source = MemorySource(data, NUM_RESPONSES, LAYOUT)
    assert source.num_steps(NUM_SLOTS) == 1
    mesh = make_mesh(1)
    state, problem = start(source, embeddings, config, "sgd", mesh)
    rng = np.random.default_rng(1)
    shape = state.users.mean.shape
    users = state.users._replace(mean=jnp.asarray(rng.normal(size=shape), jnp.float32))
    if users.log_variance is not None:
        spread = jnp.asarray(0.5 * rng.normal(size=shape), jnp.float32)
        users = users._replace(log_variance=spread)
    state = state._replace(users=users)
    before = jax.tree.map(np.asarray, state)
    (batches,) = source.batches(0, 0, 0, NUM_SLOTS, STEPS_A_CALL, mesh)
    after, metrics = program(config, "sgd", "single", 1)(state, batches, problem)
    return before, jax.tree.map(np.asarray, after), jax.tree.map(np.asarray, metrics)


def variants():
    mlp = replace(CONFIG.model, hidden=(5,), objective="map")
    return [
        pytest.param(CONFIG, id="marginal"),
        pytest.param(
            replace(CONFIG, model=mlp, accumulate=2), id="map-mlp", marks=pytest.mark.slow
        ),
        pytest.param(
            replace(CONFIG, model=replace(CONFIG.model, bound="quadrature")),
            id="quadrature",
            marks=pytest.mark.slow,
        ),
    ]


@pytest.mark.parametrize("config", variants())
def test_a_full_batch_moves_along_the_dense_gradient(config):
    users = users_of_partition([16, 3, 0, 16, 9, 1, 12, 16])
    data, embeddings = make_world(users=users)
    before, after, metrics = one_step(data, embeddings, config)
    place = LAYOUT.locate(np.arange(NUM_USERS))
    mean = before.users.mean[place]
    log_variance = None if before.users.log_variance is None else before.users.log_variance[place]
    data = Comparisons(*(jnp.asarray(column) for column in data))
    data = data._replace(sample_weight=data.sample_weight.astype(jnp.float32))
    stepped = for_unit_inputs(before.params, data, embeddings)

    def loss(stepped, mean, log_variance):
        params = for_embeddings(stepped, data, embeddings)
        return dense_loss(params, mean, log_variance, data, embeddings, config)

    value, (head, *by_user) = jax.value_and_grad(
        loss, (0, 1) if log_variance is None else (0, 1, 2)
    )(stepped, mean, log_variance)

    total = float(data.sample_weight.sum())
    expected = jax.tree.map(lambda p, g: p - RATE * g / total, stepped, head)
    expected = for_embeddings(expected, data, embeddings)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), after.params, expected
    )
    tables = [(mean, after.users.mean[place], after.users.scale[place])]
    if log_variance is not None:
        tables.append(
            (
                log_variance,
                after.users.log_variance[place],
                after.users.log_variance_scale[place],
            )
        )
    for (old, new, scale), gradient in zip(tables, by_user, strict=True):
        square = np.mean(np.square(gradient), axis=1)
        np.testing.assert_allclose(scale, square, rtol=2e-4, atol=1e-9)
        moved = config.user_rate * gradient / np.sqrt(np.maximum(square, 1e-30))[:, None]
        np.testing.assert_allclose(new, old - moved, rtol=1e-4, atol=1e-4)
    assert metrics.total_weight[0] == pytest.approx(total, rel=1e-5)
    assert metrics.loss[0] < float(value) / total
    # The steps behind the end of the epoch did nothing.
    assert not metrics.total_weight[1:].any()
    assert (int(after.num_steps), int(after.t), int(after.num_skipped)) == (1, 1, 0)


def test_weight_zero_is_absent_and_weight_two_is_twice():
    data, embeddings = make_world(users=users_of_partition([16, 8, 8, 0, 3, 8, 8, 8]))
    # A response that only rows of weight zero show, and whose embedding is broken.
    embeddings[7] = np.nan
    shown = (data.first == 7) | (data.second == 7)
    weight = np.where(shown, 0, 1).astype(np.float32)
    weight[np.flatnonzero(weight)[16:28]] = 2
    masked = data._replace(sample_weight=weight)
    doubled = np.repeat(np.arange(len(weight)), weight.astype(int))
    written_out = Comparisons(*(column[doubled] for column in masked))
    written_out = written_out._replace(sample_weight=np.ones(len(doubled), np.float32))
    whole = np.where(np.isnan(embeddings), 0, embeddings)
    _, one, metrics = one_step(masked, whole, CONFIG)
    _, two, _ = one_step(written_out, whole, CONFIG)
    answered = one.users.mass > 0
    for a, b in zip(jax.tree.leaves(one.users), jax.tree.leaves(two.users), strict=True):
        np.testing.assert_allclose(a[answered], b[answered], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        one.params["out"]["kernel"], two.params["out"]["kernel"], rtol=1e-5, atol=1e-6
    )
    # The broken embedding itself changes nothing either: only the penalty's scale reads it.
    source = MemorySource(masked, NUM_RESPONSES, LAYOUT)
    mesh = make_mesh(1)
    state, problem = start(source, whole, CONFIG, "sgd", mesh)
    problem = problem._replace(embeddings=jnp.asarray(embeddings))
    (batches,) = source.batches(0, 0, 0, NUM_SLOTS, STEPS_A_CALL, mesh)
    _, broken = program(CONFIG, "sgd", "single", 1)(state, batches, problem)
    assert np.isfinite(broken.loss[0])
    assert bool(broken.finite.all())
    assert metrics.total_weight[0] == broken.total_weight[0]


def test_users_without_answers_stay_at_the_prior_exactly():
    counts = [16, 16, 0, 16, 16, 16, 16, 16]
    data, embeddings = make_world(users=users_of_partition(counts))
    state, _ = run(data, embeddings, num_steps=12)
    mean, variance = user_weights(jax.tree.map(np.asarray, state), LAYOUT)
    silent = ~np.isin(np.arange(NUM_USERS), data.user)
    assert silent.any()
    assert not mean[silent].any()
    assert (variance[silent] == 1).all()
    assert (mean[~silent] != 0).all()
    assert (variance[~silent] != 1).all()


def test_a_step_that_is_not_finite_changes_nothing_and_three_halt_the_program():
    data, embeddings = make_world(users=users_of_partition(SEVERAL_STEPS))
    source = MemorySource(data, NUM_RESPONSES, LAYOUT)
    mesh = make_mesh(1)
    call = program(CONFIG, "sgd", "single", 1)
    (batches, *_) = source.batches(0, 0, 0, NUM_SLOTS, STEPS_A_CALL, mesh)

    state, problem = start(source, embeddings, CONFIG, "sgd", mesh)
    before = jax.tree.map(np.array, (state.params, state.users))
    broken = problem._replace(embeddings=jnp.full_like(problem.embeddings, jnp.nan))
    state, metrics = call(state, batches, broken)
    assert metrics.finite.tolist() == [False] * STEPS_A_CALL
    assert (int(state.num_skipped), int(state.skipped_in_a_row)) == (3, 3)
    jax.tree.map(np.testing.assert_array_equal, (state.params, state.users), before)

    # A broken response that one comparison shows: one step is skipped, the others count.
    first, second = (np.where(column == 7, 8, column) for column in (data.first, data.second))
    first[3] = 7
    source = MemorySource(data._replace(first=first, second=second), NUM_RESPONSES, LAYOUT)
    state, problem = start(source, embeddings, CONFIG, "sgd", mesh)
    problem = problem._replace(embeddings=problem.embeddings.at[7].set(jnp.inf))
    bad = 0
    for batches in source.batches(0, 0, 0, NUM_SLOTS, STEPS_A_CALL, mesh):
        state, metrics = call(state, batches, problem)
        bad += int((~metrics.finite).sum())
    assert (bad, int(state.num_skipped), int(state.skipped_in_a_row)) == (1, 1, 0)
    assert int(state.num_steps) == source.num_steps(NUM_SLOTS)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((state.params, state.users)))


@pytest.mark.slow
def test_bfloat16_products_stay_close_and_keep_float32_state():
    data, embeddings = make_world()
    low = replace(CONFIG, model=replace(CONFIG.model, precision="bfloat16"))
    exact, _ = run(data, embeddings, num_steps=20)
    rough, _ = run(data, embeddings, num_steps=20, config=low)
    kernel, other = exact.params["out"]["kernel"], rough.params["out"]["kernel"]
    assert other.dtype == jnp.float32
    assert 0 < float(jnp.abs(kernel - other).max()) < 0.02 * float(jnp.abs(kernel).max())


def test_a_program_is_traced_once():
    data, embeddings = make_world(users=users_of_partition(SEVERAL_STEPS))
    call = program(CONFIG, "sgd", "single", 1)
    run(data, embeddings, num_steps=12)
    before = call._cache_size()
    run(data, embeddings, num_steps=24)
    assert call._cache_size() == before
