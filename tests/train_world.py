"""A small simulated world for the tests of training, and the step's program for it."""

from functools import lru_cache

import jax
import numpy as np
import optax

from prefjax.parallel import data_parallel, make_mesh, padded_size, place
from prefjax.train.layout import UserLayout
from prefjax.train.memory import MemorySource
from prefjax.train.problem import ModelConfig, make_problem
from prefjax.train.state import STATE_SPECS, init
from prefjax.train.step import SPECS, StepConfig, make_steps
from prefjax.types import Comparisons

NUM_USERS, NUM_RESPONSES, NUM_INPUTS, NUM_PARTITIONS = 80, 40, 6, 8
LAYOUT = UserLayout((NUM_USERS,), NUM_PARTITIONS)
CONFIG = StepConfig(ModelConfig(num_factors=3), batch_size=128)
NUM_SLOTS = CONFIG.num_slots(NUM_PARTITIONS)
STEPS_A_CALL = 4
OPTIMIZERS = {"sgd": optax.sgd(0.3), "adam": optax.adam(0.01)}


def make_world(num_comparisons=700, num_users=NUM_USERS, seed=0, users=None):
    """Comparisons of simulated people with planted weights, some against the baseline."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(NUM_RESPONSES, NUM_INPUTS)).astype(np.float32)
    theta = rng.normal(size=(NUM_INPUTS, 3)) / np.sqrt(NUM_INPUTS)
    weight = rng.normal(size=(num_users, 3))
    user = rng.integers(0, num_users, num_comparisons) if users is None else users
    first = rng.integers(0, NUM_RESPONSES, len(user))
    second = rng.integers(-1, NUM_RESPONSES, len(user))
    second = np.where(second == first, (first + 1) % NUM_RESPONSES, second)
    gap = embeddings[first] - np.where((second >= 0)[:, None], embeddings[second], 0)
    chance = 1 / (1 + np.exp(-((gap @ theta) * weight[user]).sum(1)))
    label = (rng.random(len(user)) < chance).astype(np.float32)
    rows = Comparisons(user, first, second, label, rng.uniform(0.5, 2, len(user)))
    return Comparisons(*(np.asarray(column) for column in rows)), embeddings


def users_of_partition(count):
    """Users for comparisons, ``count[p]`` of them from partition p."""
    partition, _ = LAYOUT.locate(np.arange(NUM_USERS))
    return np.concatenate(
        [np.resize(np.flatnonzero(partition == p), n) for p, n in enumerate(count)]
    )


@lru_cache(maxsize=64)
def program(config, optimizer, backend, num_devices):
    return data_parallel(
        make_steps(config, OPTIMIZERS[optimizer], NUM_SLOTS, STEPS_A_CALL),
        SPECS,
        backend=backend,
        mesh=make_mesh(num_devices),
        donate=(0,),
    )


def start(source, embeddings, config, optimizer, mesh, seed=0):
    """State and problem on the devices."""
    more = padded_size(source.layout.num_partitions, mesh) - source.layout.num_partitions
    mass = np.pad(source.mass(), ((0, more), (0, 0)))
    num_steps = source.num_steps(NUM_SLOTS)
    problem = make_problem(
        embeddings, source.compared(), source.total_weight, num_steps, config.model
    )
    state = init(jax.random.key(seed), problem, mass, OPTIMIZERS[optimizer], config.model)
    return place(state, STATE_SPECS, mesh), place(problem, "replicated", mesh)


def run(comparisons, embeddings, *, num_steps, config=CONFIG, optimizer="sgd", backend="single",
        num_devices=1):  # fmt: skip
    """State after at least ``num_steps`` steps, and the metrics of each."""
    source = MemorySource(comparisons, NUM_RESPONSES, LAYOUT)
    mesh = make_mesh(num_devices)
    state, problem = start(source, embeddings, config, optimizer, mesh)
    train_step = program(config, optimizer, backend, num_devices)
    collected, epoch = [], 0
    while len(collected) * STEPS_A_CALL < num_steps:
        epoch_t = place((np.int32(epoch), np.int32(0)), "replicated", mesh)
        state = state._replace(epoch=epoch_t[0], t=epoch_t[1])
        for batches in source.batches(0, epoch, 0, NUM_SLOTS, STEPS_A_CALL, mesh):
            state, metrics = train_step(state, batches, problem)
            collected.append(jax.tree.map(np.asarray, metrics))
        epoch += 1
    return state, jax.tree.map(lambda *x: np.concatenate(x), *collected)
