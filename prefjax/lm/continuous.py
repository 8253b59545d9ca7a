"""Many samples of many prompts: a prompt is read once for all of them, and no row waits for others.

A batch has a fixed number of rows. Its rows draw a few tokens, then those that have ended are given
the next samples that are wanted: the keys and values of their prompt are copied into them. So the
batch is full until the last samples, however different the lengths are, and nothing is compiled
again. Prompts are read a few at a time, just before they are needed; their widths are padded to
powers of two, so that few shapes are compiled.

What a sample draws depends on the key, on the place of its prompt and on its own number, up to
rounding: not on the rows beside it.
"""

import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Key

from prefjax.lm.cache import Cache, extend, prefill
from prefjax.lm.config import QwenConfig
from prefjax.lm.layers import KeyValue
from prefjax.lm.model import logits
from prefjax.lm.sampling import DEFAULT, SamplingConfig, sample
from prefjax.lm.text import pad_left
from prefjax.types import Array, Params, PRNGKey

_NARROWEST = 32  # tokens of a prompt


class Drawn(NamedTuple):
    """One sample.

    Attributes:
        tokens: What was drawn, the token that ended it included.
        ended: It ended by itself, not at the limit.
        log_prob: Sum of the log-probabilities of its tokens under the model at temperature 1, with
            no token left out but those that the tokenizer lacks.
    """

    tokens: Int[np.ndarray, " token"]
    ended: bool
    log_prob: float


class DrawnSamples(NamedTuple):
    """What `draw_samples` returns.

    Attributes:
        samples: By prompt and number.
        num_tokens: Tokens drawn in all.
        seconds: Time it took, compilation included.
    """

    samples: list[list[Drawn]]
    num_tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens drawn a second."""
        return self.num_tokens / max(self.seconds, 1e-9)


class _Rows(NamedTuple):
    cache: Cache
    last: Int[Array, " row"]
    key: Key[Array, " row"]
    tokens: Int[Array, "row token"]
    count: Int[Array, " row"]
    going: Bool[Array, " row"]
    ended: Bool[Array, " row"]
    log_prob: Float[Array, " row"]


class _Prompts(NamedTuple):
    """Prompts that were read but for their last token."""

    layers: Any
    mask: Bool[Array, "prompt slot"]
    last: Int[Array, " prompt"]


def draw_samples(
    key: PRNGKey,
    params: Params,
    config: QwenConfig,
    prompts: Sequence[Sequence[int]],
    num_samples: int,
    *,
    max_new_tokens: int,
    sampling: SamplingConfig = DEFAULT,
    num_ids: int | None = None,
    batch_size: int = 32,
    num_steps: int = 16,
    prompts_at_once: int = 8,
) -> DrawnSamples:
    """Several continuations of each of many prompts.

    Args:
        key: Random key; sample j of prompt i draws its token s with
            ``fold_in(fold_in(fold_in(key, i), j), s)``.
        params: Parameters of the decoder, as ``load`` gives them, layers as a list.
        config: Static configuration; its ``eos_ids`` end a sample.
        prompts: Token ids of each prompt.
        num_samples: Samples of each.
        max_new_tokens: Most tokens of a sample.
        sampling: Temperature, top-k, top-p.
        num_ids: Length of the tokenizer; ids from there to ``vocab_size`` are never drawn.
        batch_size: Rows that draw together.
        num_steps: Tokens that are drawn before rows are filled again.
        prompts_at_once: Prompts read together.

    Raises:
        ValueError: A prompt is empty or leaves too little of the window, or a number is below 1.
    """
    numbers = (num_samples, max_new_tokens, batch_size, num_steps, prompts_at_once)
    if min(numbers) < 1:
        raise ValueError(f"every number must be at least 1, got {numbers}")
    room = config.max_length - max_new_tokens
    for index, prompt in enumerate(prompts):
        if not 1 <= len(prompt) <= room:
            raise ValueError(
                f"prompt {index} has {len(prompt)} tokens; it must have between 1 and {room}: the "
                f"window of {config.max_length} less {max_new_tokens} new tokens"
            )
    began = time.perf_counter()
    num_wanted = num_samples * len(prompts)
    batch_size = min(batch_size, 1 << (num_wanted - 1).bit_length())  # few shapes are compiled
    by_width: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        width = max(_NARROWEST, 1 << (len(prompt) - 1).bit_length())
        by_width.setdefault(min(width, room), []).append(index)
    out: list[list[Drawn | None]] = [[None] * num_samples for _ in prompts]
    static = {
        "config": config,
        "sampling": sampling,
        "num_ids": config.vocab_size if num_ids is None else num_ids,
        "num_steps": num_steps,
    }
    for width, members in sorted(by_width.items()):
        rows = _empty(params, config, batch_size, width, max_new_tokens)
        job_of: list[tuple[int, int] | None] = [None] * batch_size
        pending = deque((i, j) for i in members for j in range(num_samples))
        place_of: dict[int, int] = {}
        read: _Prompts | None = None
        while pending or any(job is not None for job in job_of):
            free = [row for row, job in enumerate(job_of) if job is None]
            while free and pending:
                if pending[0][0] not in place_of:
                    some = list(dict.fromkeys(i for i, _ in pending))[:prompts_at_once]
                    read = _read_prompts(params, config, [prompts[i] for i in some], width,
                                         prompts_at_once)  # fmt: skip
                    place_of = {i: place for place, i in enumerate(some)}
                which = np.full(batch_size, -1, np.int32)
                names = np.zeros((batch_size, 2), np.int32)
                while free and pending and pending[0][0] in place_of:
                    row, job = free.pop(), pending.popleft()
                    which[row], names[row], job_of[row] = place_of[job[0]], job, job
                assert read is not None
                rows = _fill(key, rows, read, which, names)
            rows = _draw(params, rows, **static)
            going, ended, count = map(np.asarray, (rows.going, rows.ended, rows.count))
            done = [r for r, job in enumerate(job_of) if job is not None and not going[r]]
            if done:
                tokens, log_prob = np.asarray(rows.tokens), np.asarray(rows.log_prob)
            for row in done:
                i, j = job_of[row] or (0, 0)
                own = tokens[row, : count[row]].copy()
                out[i][j] = Drawn(own, bool(ended[row]), float(log_prob[row]))
                job_of[row] = None
    samples = [[one for one in some if one is not None] for some in out]
    num_tokens = sum(len(one.tokens) for some in samples for one in some)
    return DrawnSamples(samples, num_tokens, time.perf_counter() - began)


def _empty(
    params: Params, config: QwenConfig, batch_size: int, width: int, max_new_tokens: int
) -> _Rows:
    """Rows that draw nothing, with room for a prompt and its continuation."""
    num_slots = width + max_new_tokens
    shape = (batch_size, config.num_kv_heads, num_slots, config.head_dim)
    dtype = params["embedding"].dtype
    layers = [
        KeyValue(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(config.num_layers)
    ]

    def zeros() -> Array:  # every array its own, since all are donated
        return jnp.zeros(batch_size, jnp.int32)

    cache = Cache(layers, jnp.zeros((batch_size, num_slots), bool), zeros(), zeros())
    return _Rows(
        cache=cache,
        last=zeros(),
        key=jax.random.split(jax.random.key(0), batch_size),
        tokens=jnp.zeros((batch_size, max_new_tokens), jnp.int32),
        count=zeros(),
        going=jnp.zeros(batch_size, bool),
        ended=jnp.zeros(batch_size, bool),
        log_prob=jnp.zeros(batch_size, jnp.float32),
    )


def _read_prompts(
    params: Params, config: QwenConfig, prompts: list[Sequence[int]], width: int, size: int
) -> _Prompts:
    rows = [list(prompt[:-1]) for prompt in prompts] + [[]] * (size - len(prompts))
    tokens, mask = pad_left(rows, width)
    last = np.array([prompt[-1] for prompt in prompts] + [0] * (size - len(prompts)), np.int32)
    return _Prompts(_prefill(params, config, tokens, mask), jnp.asarray(mask), jnp.asarray(last))


@partial(jax.jit, static_argnames="config")
def _prefill(params: Params, config: QwenConfig, tokens: Array, mask: Array) -> Any:
    return prefill(params, config, tokens, mask, tokens.shape[1])[1].layers


@partial(jax.jit, donate_argnums=1)
def _fill(
    key: PRNGKey,
    rows: _Rows,
    prompts: _Prompts,
    which: Int[Array, " row"],
    names: Int[Array, "row two"],
) -> _Rows:
    """Rows with new samples where ``which`` is the place of a prompt, the others as they were."""
    is_new, place = which >= 0, jnp.maximum(which, 0)
    width = prompts.mask.shape[1]
    free = rows.cache.mask.shape[1] - width

    def copy(old: Array, new: Array) -> Array:
        room = [(0, 0), (0, 0), (0, free), (0, 0)]
        return jnp.where(is_new[:, None, None, None], jnp.pad(new[place], room), old)

    def put(old: Array, new: Array) -> Array:
        return jnp.where(is_new.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    mask = prompts.mask[place]
    cache = Cache(
        layers=jax.tree.map(copy, rows.cache.layers, prompts.layers),
        mask=put(rows.cache.mask, jnp.pad(mask, [(0, 0), (0, free)])),
        used=put(rows.cache.used, jnp.full_like(rows.cache.used, width)),
        num_tokens=put(rows.cache.num_tokens, jnp.sum(mask, axis=1, dtype=jnp.int32)),
    )

    def name(pair: Array) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, pair[0]), pair[1])

    return _Rows(
        cache=cache,
        last=put(rows.last, prompts.last[place]),
        key=jnp.where(is_new, jax.vmap(name)(names), rows.key),
        tokens=put(rows.tokens, jnp.zeros_like(rows.tokens)),
        count=put(rows.count, jnp.zeros_like(rows.count)),
        going=rows.going | is_new,
        ended=rows.ended & ~is_new,
        log_prob=put(rows.log_prob, jnp.zeros_like(rows.log_prob)),
    )


@partial(jax.jit, static_argnames=("config", "sampling", "num_ids", "num_steps"), donate_argnums=1)
def _draw(
    params: Params,
    rows: _Rows,
    *,
    config: QwenConfig,
    sampling: SamplingConfig,
    num_ids: int,
    num_steps: int,
) -> _Rows:
    """A few tokens of every row that goes on."""
    eos = jnp.array(config.eos_ids, jnp.int32)
    known = jnp.arange(config.vocab_size) < num_ids
    place = jnp.arange(len(rows.last))

    def step(carry: tuple[Array, _Rows]) -> tuple[Array, _Rows]:
        number, rows = carry
        going = rows.going
        hidden, cache = extend(params, config, rows.cache, rows.last[:, None], going[:, None])
        cache = cache._replace(used=jnp.where(going, cache.used, rows.cache.used))
        scores = jnp.where(known[None], logits(params, config, hidden[:, 0]), -jnp.inf)
        keys = jax.vmap(jax.random.fold_in)(rows.key, rows.count)
        token = jax.vmap(partial(sample, config=sampling))(keys, scores)
        own = jnp.take_along_axis(scores, token[:, None], axis=1)[:, 0]
        own = own - jax.nn.logsumexp(scores, axis=1)
        old = rows.tokens[place, rows.count]
        is_end = going & jnp.any(token[:, None] == eos[None], axis=1)
        count = rows.count + going
        return number + 1, _Rows(
            cache=cache,
            last=jnp.where(going, token, rows.last),
            key=rows.key,
            tokens=jnp.asarray(rows.tokens).at[place, rows.count].set(jnp.where(going, token, old)),
            count=count,
            going=going & ~is_end & (count < rows.tokens.shape[1]),
            ended=rows.ended | is_end,
            log_prob=rows.log_prob + jnp.where(going, own, 0.0),
        )

    def unfinished(carry: tuple[Array, _Rows]) -> Array:
        return (carry[0] < num_steps) & jnp.any(carry[1].going)

    return jax.lax.while_loop(unfinished, step, (jnp.int32(0), rows))[1]
