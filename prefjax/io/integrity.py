"""How damage is noticed: checksums of arrays on device, differences of settings.

The checksum of an array of words x_i is the pair, modulo 2³²,

    Σ_i x_i · (2 h(i) + 1),    Σ_i h(x_i ⊕ h(i)),

with h a mixing function. Changing one bit of one word changes the first sum by an odd multiple of a
power of two, so it is always noticed; anything else is missed with probability 2⁻⁶⁴. Sums do not
depend on the order of their terms, hence not on how an array lies on the devices, which compute
them where it lies.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped, UInt32


def named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves by their path, such as ``users.mean``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _mix(word):
    word = (word ^ (word >> 16)) * jnp.uint32(0x7FEB352D)
    word = (word ^ (word >> 15)) * jnp.uint32(0x846CA68B)
    return word ^ (word >> 16)


def _words(x: Shaped[jax.Array, "*shape"]) -> UInt32[jax.Array, "*words"]:
    if x.dtype == jnp.bool_:
        return x.astype(jnp.uint32)
    size = x.dtype.itemsize
    if size in (1, 2):
        return jax.lax.bitcast_convert_type(x, f"uint{8 * size}").astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(x, jnp.uint32)


@jax.jit
def _checksum(x: Shaped[jax.Array, "*shape"]) -> UInt32[jax.Array, "2"]:
    words = _words(x)
    place, stride = jnp.zeros(words.shape, jnp.uint32), 1
    for axis in reversed(range(words.ndim)):
        along = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
        place = place + along * jnp.uint32(stride % 2**32)
        stride *= words.shape[axis]
    mixed = _mix(place)
    odd = words * (2 * mixed + 1)
    return jnp.stack(
        [jnp.sum(odd, dtype=jnp.uint32), jnp.sum(_mix(words ^ mixed), dtype=jnp.uint32)]
    )


@jax.jit
def _all_finite(leaves: list[jax.Array]) -> jax.Array:
    flags = [jnp.all(jnp.isfinite(x)) for x in leaves]
    return jnp.all(jnp.stack(flags)) if flags else jnp.asarray(True)


def checksums(tree: Any) -> dict[str, str]:
    """The checksum of every leaf by its name; on device, for any placement.

    >>> checksums({"a": jnp.arange(3.0)}) == checksums({"a": np.arange(3, dtype=np.float32)})
    True
    """
    named = named_leaves(tree)
    sums = jax.device_get({name: _checksum(jnp.asarray(leaf)) for name, leaf in named.items()})
    return {name: f"{int(a):08x}{int(b):08x}" for name, (a, b) in sums.items()}


def is_finite(tree: Any) -> bool:
    """Whether every floating number of the tree is finite."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(x), jnp.floating)]
    return bool(_all_finite(floats))


def differences(saved: Any, now: Any, name: str = "") -> list[str]:
    """Fields in which two JSON values differ, one sentence each.

    >>> differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    ['b.c: saved 2, now 3']
    """
    if isinstance(saved, Mapping) and isinstance(now, Mapping):
        found = []
        for key in sorted({*saved, *now}):
            inner = f"{name}.{key}" if name else str(key)
            if key not in saved or key not in now:
                there, value = ("saved", saved[key]) if key in saved else ("now", now[key])
                found.append(f"{inner}: only {there}, {value!r}")
            else:
                found += differences(saved[key], now[key], inner)
        return found
    return [] if saved == now else [f"{name}: saved {saved!r}, now {now!r}"]


def describe(tree: Any) -> dict[str, dict[str, Any]]:
    """Shape and type of every leaf, as JSON."""
    return {
        name: {"shape": list(np.shape(leaf)), "dtype": str(jnp.result_type(leaf))}
        for name, leaf in named_leaves(tree).items()
    }
