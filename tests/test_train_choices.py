"""Minibatches of choices of one among several: the loss, the source, a planted world."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefjax.basis import EMConfig, fit_block, make_problem
from prefjax.data import from_comparisons
from prefjax.train import MemorySource, ModelConfig, StepConfig, TrainConfig, to_basis, train
from prefjax.train.batch import ABSENT, Batch, ChoiceBatch, pack, padding_of, unpack
from prefjax.train.objective import UserRows, batch_loss
from prefjax.types import BASELINE, Choices, Penalties
from tests.train_world import NUM_INPUTS, NUM_RESPONSES, NUM_USERS, make_world

J = 3


def make_choices(num_choices, num_shown=4, seed=0, num_users=NUM_USERS):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(NUM_RESPONSES, NUM_INPUTS)).astype(np.float32)
    weight = rng.normal(size=(num_users, J)) @ rng.normal(size=(J, NUM_INPUTS))
    user = rng.integers(0, num_users, num_choices)
    shown = np.argsort(rng.random((num_choices, NUM_RESPONSES)), axis=1)[:, :num_shown]
    reward = np.einsum("cki,ci->ck", embeddings[shown], weight[user]) / np.sqrt(NUM_INPUTS)
    shown[::9, 0], reward[::9, 0] = BASELINE, 0
    mask = np.arange(num_shown)[None] < rng.integers(2, num_shown + 1, num_choices)[:, None]
    reward = np.where(mask, reward + rng.gumbel(size=reward.shape), -np.inf)
    label = np.eye(num_shown, dtype=np.float32)[reward.argmax(axis=1)]
    return Choices(user, shown, label, mask, np.ones(num_choices, np.float32)), embeddings


@pytest.mark.parametrize("objective", ["marginal", "map"])
@pytest.mark.parametrize("bound", ["jaakkola", "quadrature"])
def test_the_loss_of_two_shown_and_its_gradient_are_those_of_the_pair(objective, bound):
    config = ModelConfig(num_factors=J, objective=objective, bound=bound)
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(8, 5)).astype(np.float32)
    first, second = np.array([[0, 3, 5, 1]]), np.array([[2, BASELINE, 4, 0]])
    label = np.array([[1.0, 0.0, 0.5, 1.0]], np.float32)
    weight = np.array([[1.0, 2.0, 1.0, 0.0]], np.float32)
    row = np.zeros((1, 4), np.int32)
    absent = np.full((1, 4), ABSENT)
    pairs = Batch(row, first, second, label, weight)
    nothing = np.zeros_like(label)
    choices = ChoiceBatch(
        row,
        np.stack([first, second, absent], axis=-1),
        np.stack([label, 1 - label, nothing], axis=-1),
        weight,
    )
    log_variance = rng.normal(size=(1, 4, J)).astype(np.float32)
    users = UserRows(
        mean=rng.normal(size=(1, 4, J)).astype(np.float32),
        log_variance=log_variance if objective == "marginal" else None,
        mass=np.ones((1, 4), np.float32),
    )
    params = {
        "out": {
            "kernel": jnp.asarray(rng.normal(size=(5, J + 1)), jnp.float32),
            "bias": jnp.asarray(rng.normal(size=J + 1), jnp.float32),
        }
    }

    def loss(batch):
        def of(params, mean):
            return batch_loss(params, users._replace(mean=mean), embeddings, batch, config)[0]

        return jax.value_and_grad(of, (0, 1))(params, jnp.asarray(users.mean))

    chex.assert_trees_all_close(loss(choices), loss(pairs), rtol=2e-4, atol=2e-4)


def test_rows_are_packed_and_unpacked_as_they_are():
    choices, _ = make_choices(7)
    batch = ChoiceBatch(
        choices.user.astype(np.int32),
        choices.shown.astype(np.int32),
        choices.label,
        choices.sample_weight,
    )
    chex.assert_trees_all_equal(unpack(jnp.asarray(pack(batch))), batch)
    assert pack(padding_of(batch)).shape == (10,)


def test_a_source_of_choices_among_two_is_one_of_comparisons():
    rows, _ = make_world(60)
    one = MemorySource(rows, NUM_RESPONSES)
    other = MemorySource(from_comparisons(rows), NUM_RESPONSES)
    chex.assert_trees_all_equal(other._columns, one._columns)
    choices, _ = make_choices(50)
    twice = Choices(*(np.concatenate([part, part]) for part in choices))
    source = MemorySource(twice, NUM_RESPONSES)
    assert source.num_comparisons == len(np.unique(choices.user * 1000 + np.arange(50)))
    assert source.total_weight == 100
    np.testing.assert_array_equal(
        np.flatnonzero(source.compared()),
        np.unique(choices.shown[choices.mask & (choices.shown != BASELINE)]),
    )


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["marginal", "map"])
def test_training_on_choices_reaches_the_block_fit(objective):
    choices, embeddings = make_choices(3000)
    model = ModelConfig(num_factors=J, objective=objective, penalty=2.0, utility_penalty=1.0)
    config = TrainConfig(
        step=StepConfig(model, batch_size=512), num_epochs=150, patience=0, backend="single"
    )
    validation = choices._replace(sample_weight=choices.sample_weight * 0.5)
    source = MemorySource(choices, NUM_RESPONSES)
    result = train(source, embeddings, config, validation=validation)
    basis, _, _ = to_basis(result, model)
    scale = 1.0 if objective == "marginal" else 0.0
    penalties = Penalties(*(np.float32(x) for x in (2.0, 1.0, scale)))
    problem = make_problem(choices, embeddings, num_users=NUM_USERS)
    block, _, _ = fit_block(
        jax.random.key(0), problem, penalties, config=EMConfig(num_factors=J, exact_steps=0)
    )
    nlls = [line["nll"] for line in result.history if "nll" in line]
    assert nlls[-1] < 0.95 * nlls[0]
    # The rewards of the population and the directions in which people differ are those of the fit.
    tables = [np.asarray(found.params["out"]["kernel"]) for found in (basis, block)]
    utility = [table[:, -1] for table in tables]
    assert np.corrcoef(*utility)[0, 1] > 0.97
    spans = [np.linalg.qr(table[:, :-1])[0] for table in tables]
    assert np.linalg.svd(spans[0].T @ spans[1])[1].min() > 0.95
