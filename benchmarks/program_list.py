"""The programs in which an accelerator spends its time: what is compiled, and the floor of each.

A floor is the bytes that must be moved whatever the program: every input and result once, the
weights of a model once a round. It is counted by hand from the sizes, beside the compiled figure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from prefjax import lm, logistic
from prefjax.align import DecodeConfig, Prompts, best_of_n, decode_advantage, decode_value
from prefjax.align.heads import Moments, init_advantage, init_value, project_tokens
from prefjax.basis import EMConfig, em, make_problem
from prefjax.parallel.mesh import AXIS
from prefjax.person import RULES, ResponsePool, select
from prefjax.train.batch import Batch, StackedBatches
from prefjax.train.problem import ModelConfig, Problem
from prefjax.train.state import STATE_SPECS, TrainState, init
from prefjax.train.step import StepConfig, make_steps
from prefjax.types import Comparisons, Gaussian, Penalties

WHOLE: Any = PartitionSpec()
CUT: Any = PartitionSpec(AXIS)


@dataclass(frozen=True)
class Program:
    """What is compiled.

    Attributes:
        function: ``function(axis) -> pure function``; ``axis`` is None on one device.
        arguments: Shapes of its arguments.
        specs: How they lie on several devices.
        results: The same for its results.
        floor: Bytes by hand: ``once`` for what runs once, ``round`` for a round of its loop.
        donate: Arguments whose memory the results may take.
    """

    function: Callable[[str | None], Callable[..., Any]]
    arguments: tuple[Any, ...]
    specs: tuple[Any, ...]
    results: Any
    floor: Mapping[str, float]
    donate: tuple[int, ...] = ()


def shape(*size: int, dtype: Any = jnp.float32) -> Any:
    """An array that is not there, in the place of one."""
    return jax.ShapeDtypeStruct(size, dtype)


def size_of(tree: Any) -> int:
    """Bytes of all arrays."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def same(function: Callable[..., Any]) -> Callable[[str | None], Callable[..., Any]]:
    """For a program in which no device waits for another."""
    return lambda axis: function


def qwen(num_layers: int) -> tuple[lm.QwenConfig, Any]:
    """The shape of Qwen2.5-0.5B, in bfloat16."""
    config = lm.QwenConfig(151936, 896, 4864, num_layers, 14, 2, 64)
    make = partial(lm.init_params, config=config, dtype=jnp.bfloat16)
    return config, jax.eval_shape(make, jax.random.key(0))


def texts(rows: int, tokens: int) -> tuple[Any, Any]:
    return shape(rows, tokens, dtype=jnp.int32), shape(rows, tokens, dtype=jnp.bool_)


def embed(num_layers: int, rows: int, tokens: int) -> Program:
    config, params = qwen(num_layers)

    def read(params, tokens, mask):
        return lm.last_token(lm.forward(params, config, tokens, mask), mask)

    # In a layer the state, its queries, keys and values, both wide states and their product are
    # written and read once; everything else could stay on the chip.
    width = 2 * config.hidden_size + 2 * (config.num_heads + 2 * config.num_kv_heads) * 64
    states = 2 * rows * tokens * (width + 4 * config.intermediate_size)
    weights = size_of(params["layers"])
    floor = {"once": weights + num_layers * states}
    arguments = (params, *texts(rows, tokens))
    return Program(same(read), arguments, (WHOLE, CUT, CUT), CUT, floor)


def cache_bytes(config: lm.QwenConfig, rows: int, slots: int) -> int:
    return 4 * config.num_layers * rows * config.num_kv_heads * slots * config.head_dim


def prefill(num_layers: int, rows: int = 64, tokens: int = 128) -> Program:
    config, params = qwen(num_layers)

    def read(params, tokens, mask):
        hidden, cache = lm.prefill(params, config, tokens, mask, 2 * tokens.shape[1])
        return lm.logits(params, config, hidden[:, -1]), cache

    floor = {"once": size_of(params) + cache_bytes(config, rows, 2 * tokens)}
    arguments = (params, *texts(rows, tokens))
    results = (CUT, lm.Cache(CUT, CUT, WHOLE, CUT))
    return Program(same(read), arguments, (WHOLE, CUT, CUT), results, floor)


def decode(num_layers: int, rows: int = 64, tokens: int = 128) -> Program:
    config, params = qwen(num_layers)
    key = jax.eval_shape(lambda: jax.random.key(0))

    def run(key, params, tokens, mask):
        return lm.generate(key, params, config, tokens, mask, max_new_tokens=128).tokens

    weights = size_of(params)
    slots = cache_bytes(config, rows, tokens + 127)
    floor = {"once": weights + slots, "round": weights + slots}
    arguments = (key, params, *texts(rows, tokens))
    return Program(same(run), arguments, (WHOLE, WHOLE, CUT, CUT), CUT, floor)


def steer(num_layers: int, kind: str, rows: int = 64, tokens: int = 128) -> Program:
    config, params = qwen(num_layers)
    num_factors, width = 8, config.hidden_size
    key = jax.eval_shape(lambda: jax.random.key(0))
    inputs = Moments(shape(3 * width), shape(3 * width))
    outputs = Moments(shape(num_factors), shape(num_factors))
    prompts, weights = Prompts(*texts(rows, tokens)), shape(rows, num_factors)
    slots = cache_bytes(config, rows, tokens + 128)
    floor = {"once": size_of(params) + slots, "round": size_of(params) + slots}
    if kind == "value":
        head = jax.eval_shape(init_value, key, inputs, outputs)
        settings = DecodeConfig(128, num_candidates=10)

        def run(key, params, head, prompts, weights):
            return decode_value(key, params, config, head, prompts, weights, 1.0, decoding=settings)

        arguments = (key, params, head, prompts, weights)
        return Program(same(run), arguments, (WHOLE, WHOLE, WHOLE, CUT, CUT), CUT, floor)
    make = lambda key, moments, deviation: init_advantage(key, width, moments, deviation)  # noqa: E731
    head = jax.eval_shape(make, key, inputs, outputs.deviation)
    rows_of = jax.eval_shape(project_tokens, head, params["embedding"])
    settings = DecodeConfig(128, num_candidates=20)

    def steered(key, params, head, table, prompts, weights):
        return decode_advantage(
            key, params, config, head, table, prompts, weights, 1.0, decoding=settings
        )

    arguments = (key, params, head, rows_of, prompts, weights)
    specs = (WHOLE, WHOLE, WHOLE, WHOLE, CUT, CUT)
    return Program(same(steered), arguments, specs, CUT, floor)


def solve(kind: str, users: int = 1 << 20, pairs: int = 20, factors: int = 6) -> Program:
    fit = logistic.fit if kind == "map" else logistic.fit_gaussian
    prior = {"mean": jnp.zeros(factors), "precision": jnp.eye(factors)}

    def run(features, label, weight):
        return jax.vmap(lambda f, y, w: fit(f, y, w, **prior).weights)(features, label, weight)

    arguments = (shape(users, pairs, factors), shape(users, pairs), shape(users, pairs))
    floor = {"once": float(size_of(arguments)), "round": float(size_of(arguments))}
    return Program(same(run), arguments, (CUT,) * 3, CUT, floor)


def best(users: int = 1 << 17, prompts: int = 100, responses: int = 64) -> Program:
    people = Gaussian(shape(users, 8), shape(users, 8, 8))
    pool = ResponsePool(
        shape(prompts, responses, 8), shape(prompts, responses),
        shape(prompts, responses, dtype=jnp.bool_),
    )  # fmt: skip
    floor = {"once": 4.0 * users * 8 + 8.0 * users * prompts}
    return Program(same(best_of_n), (people, pool), (CUT, WHOLE), CUT, floor)


def score(users: int = 1 << 17, responses: int = 1000, inputs: int = 512) -> Program:
    def run(kernel, weights, embeddings):
        ones = jnp.ones((len(weights), 1), weights.dtype)
        return jnp.concatenate([weights, ones], axis=1) @ (embeddings @ kernel).T

    arguments = (shape(inputs, 9), shape(users, 8), shape(responses, inputs))
    floor = {"once": size_of(arguments) + 4.0 * users * responses}
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
    floor = {"once": float(size_of((pool, people, asked)))}
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
    floor = {"once": config.user_steps * read + 2 * size_of(state) + size_of(problem.embeddings)}
    structs = jax.tree.map(lambda x: shape(*x.shape, dtype=x.dtype), problem)
    return Program(same(run), (state, structs, penalties), (WHOLE,) * 3, WHOLE, floor, (0,))


def train_step(precision: Any, people: int = 125_000, batch: int = 131_072) -> Program:
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
    floor = {"once": batch * (8.0 * inputs + 2 * 4 * (factors + 1) + 20)}
    return Program(
        lambda axis: lambda state, batches, problem: steps(state, batches, problem, axis),
        (state, batches, problem), (specs, CUT, WHOLE), (specs, WHOLE), floor, (0,),
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
        "training step, bfloat16": partial(train_step, "bfloat16"),
    }
