"""The order of an epoch: a seeded permutation of 0 … N−1 that is never written down.

    π = walk ∘ (F_R ∘ … ∘ F_1),   F_i: (l, r) ↦ (l + h(r, k_i) mod a, r)   i even
                                       (l, r + h(l, k_i) mod b)            i odd

on x = l b + r with a b ≥ N, a = ⌈√N⌉, b = ⌈N/a⌉. Every F_i is undone by a subtraction, so their
composition permutes 0 … a b − 1 whatever the function h is; x is sent through it again until it
falls below N (cycle walking, which few do, as a b − N < a). The k_i are Philox words, a function of
(seed, stream, epoch).

So an order needs no memory, any position of it is found at once, and it is the same on every number
of hosts and devices: the state of the sampler is the pair (epoch, t).

References:
    Black and Rogaway, "Ciphers with arbitrary finite domains" (2002), section 5.
    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), for Philox.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped, UInt32

from prefjax.types import Array

NUM_ROUNDS = 8
LARGEST = 2**32 - 2**17


class Permutation(NamedTuple):
    """One permutation of 0 … N−1; arrays, so that many are a batch.

    Attributes:
        size: N, the number of places.
        sides: a and b, the sides of the rectangle that holds them.
        keys: k, one word for each round.
    """

    size: UInt32[Array, "*many"]
    sides: UInt32[Array, "*many 2"]
    keys: UInt32[Array, "*many round"]


def make_permutation(size: int, seed: int, stream: int, epoch: int) -> Permutation:
    """Makes the permutation of ``0 … size − 1`` that belongs to (seed, stream, epoch).

    Args:
        size: N, at most `LARGEST`; 0 counts as 1, so that an empty part has an order too.
        seed: Seed of the run.
        stream: Number of the part of the data that is permuted.
        epoch: Number of the pass over it.

    Raises:
        ValueError: N does not fit, or a number is negative.
    """
    if not 0 <= size <= LARGEST:
        raise ValueError(f"An order has 0 to {LARGEST} places, not {size}.")
    if min(seed, stream, epoch) < 0:
        raise ValueError(f"seed, stream and epoch are negative: {seed}, {stream}, {epoch}.")
    size = max(size, 1)
    rows = math.isqrt(size - 1) + 1
    words = np.random.Philox(key=[seed, stream], counter=[0, epoch, 0, 0]).random_raw(NUM_ROUNDS)
    return Permutation(
        size=np.asarray(size, np.uint32),
        sides=np.asarray([rows, -(-size // rows)], np.uint32),
        keys=(words >> np.uint64(32)).astype(np.uint32),
    )


def permute(order: Permutation, position: UInt32[Array, " place"]) -> UInt32[jax.Array, " place"]:
    """Gives what stands at these positions; inside ``jit``, under ``vmap`` over permutations.

    Args:
        order: The permutation.
        position: Places below N.
    """

    def outside(x):
        return jnp.any(x >= order.size)

    def walk(x):
        return jnp.where(x >= order.size, _round_trip(order, x), x)

    return jax.lax.while_loop(outside, walk, _round_trip(order, jnp.asarray(position, jnp.uint32)))


def permute_on_host(
    order: Permutation, position: Shaped[np.ndarray, " place"]
) -> UInt32[np.ndarray, " place"]:
    """`permute` in NumPy, for places that are needed outside a compiled program.

    >>> permute_on_host(make_permutation(5, seed=0, stream=0, epoch=0), np.arange(5)).tolist()
    [1, 2, 0, 4, 3]
    """
    x = _round_trip(order, np.asarray(position).astype(np.uint32))
    while (outside := x >= order.size).any():
        x[outside] = _round_trip(order, x[outside])
    return x


def _round_trip(order: Permutation, x):
    """All rounds, once; NumPy and JAX alike."""
    rows, columns = order.sides[..., 0], order.sides[..., 1]
    left, right = x // columns, x % columns
    for i in range(NUM_ROUNDS):
        key = order.keys[..., i]
        if i % 2 == 0:
            left = _add(left, _hash(right, key), rows)
        else:
            right = _add(right, _hash(left, key), columns)
    return left * columns + right


def _add(value, word, modulus):
    """``value + uniform`` modulo a modulus of at most 2¹⁶; the word's upper half is the draw."""
    moved = value + (((word >> np.uint32(16)) * modulus) >> np.uint32(16))
    return moved - (moved >= modulus).astype(np.uint32) * modulus


def _hash(value, key):
    """A word that depends on every bit of ``value`` and ``key``: multiply, fold, three times."""
    word = (value ^ key) * np.uint32(0x9E3779B1)
    word = (word ^ (word >> np.uint32(15))) * np.uint32(0x85EBCA77)
    word = (word ^ (word >> np.uint32(13))) * np.uint32(0xC2B2AE3D)
    return word ^ (word >> np.uint32(16))
