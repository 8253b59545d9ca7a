"""The programs in which an accelerator spends its time: what is compiled, and the floor of each.

A floor is the bytes that must be moved whatever the program: every input and result once, the
weights of a model once a round. It is counted by hand from the sizes, beside the compiled figure.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.program import CUT, WHOLE, Floor, Program, same, shape, size_of
from benchmarks.program_decoders import decode, embed, prefill, steer
from prefjax import logistic
from prefjax.align import best_of_n
from prefjax.basis import EMConfig, em, make_problem
from prefjax.person import RULES, ResponsePool, select
from prefjax.train.batch import Batch, StackedBatches
from prefjax.train.problem import ModelConfig, Problem
from prefjax.train.state import STATE_SPECS, TrainState, init
from prefjax.train.step import StepConfig, make_steps
from prefjax.types import Comparisons, Gaussian, Penalties


def solve(kind: str, users: int = 1 << 20, pairs: int = 20, factors: int = 6) -> Program:
    fit = logistic.fit if kind == "map" else logistic.fit_gaussian
    prior = {"mean": jnp.zeros(factors), "precision": jnp.eye(factors)}

    def run(features, label, weight):
        return jax.vmap(lambda f, y, w: fit(f, y, w, **prior).weights)(features, label, weight)

    arguments = (shape(users, pairs, factors), shape(users, pairs), shape(users, pairs))
    floor = {"once": Floor(size_of(arguments)), "round": Floor(size_of(arguments))}
    return Program(same(run), arguments, (CUT,) * 3, CUT, floor)


def best(users: int = 1 << 17, prompts: int = 100, responses: int = 64) -> Program:
    people = Gaussian(shape(users, 8), shape(users, 8, 8))
    pool = ResponsePool(
        shape(prompts, responses, 8), shape(prompts, responses),
        shape(prompts, responses, dtype=jnp.bool_),
    )  # fmt: skip
    floor = {"once": Floor(4.0 * users * 8 + 8.0 * users * prompts, size_of(pool))}
    return Program(same(best_of_n), (people, pool), (CUT, WHOLE), CUT, floor)


def score(users: int = 1 << 17, responses: int = 1000, inputs: int = 512) -> Program:
    def run(kernel, weights, embeddings):
        ones = jnp.ones((len(weights), 1), weights.dtype)
        return jnp.concatenate([weights, ones], axis=1) @ (embeddings @ kernel).T

    arguments = (shape(inputs, 9), shape(users, 8), shape(responses, inputs))
    shared = size_of((arguments[0], arguments[2]))
    floor = {"once": Floor(size_of(arguments[1]) + 4.0 * users * responses, shared)}
    return Program(same(run), arguments, (WHOLE, CUT, WHOLE), CUT, floor)


def pair_search(users: int = 1024, prompts: int = 100, responses: int = 64) -> Program:
    people = Gaussian(shape(users, 6), shape(users, 6, 6))
    pool = ResponsePool(
        shape(prompts, responses, 6), shape(prompts, responses),
        shape(prompts, responses, dtype=jnp.bool_),
    )  # fmt: skip
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), users))

    def run(keys, pool, people, asked):
        one = partial(select, rule=RULES["d_optimal"])
        return jax.vmap(one, in_axes=(0, None, 0, 0))(keys, pool, people, asked)

    asked = shape(users, 20, dtype=jnp.int32)
    floor = {"once": Floor(size_of((people, asked)) + 8.0 * users, size_of(pool))}
    return Program(same(run), (keys, pool, people, asked), (CUT, WHOLE, CUT, CUT), CUT, floor)


def block_fit(users: int = 20_000, rows_each: int = 20, inputs: int = 896) -> Program:
    rng = np.random.default_rng(0)
    num_rows, responses = users * rows_each, 4000
    pair = rng.integers(0, 8000, num_rows)
    ends = rng.integers(0, responses, (2, 8000))
    ends[1] = np.where(ends[0] == ends[1], (ends[1] + 1) % responses, ends[1])
    rows = Comparisons(
        np.repeat(np.arange(users), rows_each), ends[0][pair], ends[1][pair],
        rng.integers(0, 2, num_rows).astype(np.float32), np.ones(num_rows, np.float32),
    )  # fmt: skip
    embeddings = rng.normal(size=(responses, inputs)).astype(np.float32)
    problem = make_problem(rows, embeddings, num_users=users)
    config = EMConfig(num_factors=6)
    key = jax.random.key(0)
    state = jax.eval_shape(
        partial(em.init, config=config), key, problem, np.zeros((inputs, 6), np.float32)
    )
    penalties = Penalties(*(shape() for _ in Penalties._fields))

    def run(state, problem, penalties):
        return em.step(state, problem, penalties, config)

    layout = problem.rows._replace(order=np.zeros((0, 0), np.int32))
    read = size_of((layout.pair, layout.label, layout.sample_weight))
    moved = config.user_steps * read + 2 * size_of(state) + size_of(problem.embeddings)
    structs = jax.tree.map(lambda x: shape(*x.shape, dtype=x.dtype), problem)
    floor = {"once": Floor(moved)}
    arguments = (state, structs, penalties)
    return Program(same(run), arguments, (WHOLE,) * 3, WHOLE, floor, (0,), is_shared=False)


def train_step(
    precision: Any, people: int = 125_000, batch: int = 131_072, mapped_by: Any = "shard_map"
) -> Program:
    partitions, factors, inputs, responses = 8, 16, 1024, 1_000_000
    model = ModelConfig(num_factors=factors, objective="map", precision=precision)
    config = StepConfig(model, batch_size=batch)
    optimizer = optax.adam(1e-2)
    slots = config.num_slots(partitions)
    number = shape()
    problem = Problem(
        shape(responses, inputs), number, shape(inputs), shape(factors + 1), number,
        shape(dtype=jnp.int32),
    )  # fmt: skip
    small = problem._replace(
        embeddings=np.zeros((4, inputs), np.float32), input_scale=np.float32(1),
        input_mean=np.zeros(inputs, np.float32),
    )  # fmt: skip
    mass = np.zeros((partitions, 4), np.float32)
    made = init(jax.random.key(0), small, mass, optimizer, config.model)
    state = jax.tree.map(lambda x: shape(*np.shape(x), dtype=np.asarray(x).dtype), made)
    wide = jax.tree.map(lambda x: shape(partitions, people, *x.shape[2:]), state.users)
    state = state._replace(users=wide)
    word, real = shape(partitions, 1, slots, dtype=jnp.int32), shape(partitions, 1, slots)
    batches = StackedBatches(Batch(word, word, word, real, real))
    steps = make_steps(config, optimizer, slots, 1)
    specs = TrainState(*(CUT if spec == "sharded" else WHOLE for spec in STATE_SPECS))
    # Both embeddings of every comparison, and a person's row with its accumulator in and out.
    floor = {"once": Floor(batch * (8.0 * inputs + 2 * 4 * (factors + 1) + 20))}
    return Program(
        lambda axis: lambda state, batches, problem: steps(state, batches, problem, axis),
        (state, batches, problem), (specs, CUT, WHOLE), (specs, WHOLE), floor, (0,), mapped_by,
    )  # fmt: skip


def programs(num_layers: int) -> dict[str, Callable[[], Program]]:
    """Every program by name; a decoder has so many layers."""
    return {
        "embed 64x512": partial(embed, num_layers, 64, 512),
        "embed 256x128": partial(embed, num_layers, 256, 128),
        "prefill 64x128": partial(prefill, num_layers),
        "decode 64": partial(decode, num_layers),
        "decode 1": partial(decode, num_layers, 1),
        "decode 64, value head": partial(steer, num_layers, "value"),
        "decode 64, advantage head": partial(steer, num_layers, "advantage"),
        "best of n": best,
        "solve, map": partial(solve, "map"),
        "solve, gaussian": partial(solve, "gaussian"),
        "score": score,
        "pair search": pair_search,
        "block fit": block_fit,
        "training step": partial(train_step, "float32"),
        "training step, pmap": partial(train_step, "float32", mapped_by="pmap"),
        "training step, bfloat16": partial(train_step, "bfloat16"),
    }
