"""A program to be compiled for accelerators: its arguments, how they lie on devices, its floor."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from prefjax.parallel.mesh import AXIS

WHOLE: Any = PartitionSpec()
CUT: Any = PartitionSpec(AXIS)


class Floor(NamedTuple):
    """Bytes that must be moved whatever the program, counted by hand.

    Attributes:
        cut: What several devices share out among themselves.
        whole: What each of them moves, such as the weights of a language model.
    """

    cut: float
    whole: float = 0.0

    def of(self, num_devices: int) -> float:
        """Bytes of one of so many devices."""
        return self.whole + self.cut / num_devices


@dataclass(frozen=True)
class Program:
    """What is compiled.

    Attributes:
        function: ``function(axis) -> pure function``; ``axis`` is None on one device.
        arguments: Shapes of its arguments.
        specs: How they lie on several devices.
        results: The same for its results.
        floor: ``once`` for what runs once, ``round`` for a round of its loop.
        donate: Arguments whose memory the results may take.
        mapped_by: How several devices run it.
        is_shared: Whether several devices share its work out; if not, it is compiled for one.
    """

    function: Callable[[str | None], Callable[..., Any]]
    arguments: tuple[Any, ...]
    specs: tuple[Any, ...]
    results: Any
    floor: Mapping[str, Floor]
    donate: tuple[int, ...] = ()
    mapped_by: Literal["shard_map", "pmap"] = "shard_map"
    is_shared: bool = True


def shape(*size: int, dtype: Any = jnp.float32) -> Any:
    """An array that is not there, in the place of one."""
    return jax.ShapeDtypeStruct(size, dtype)


def size_of(tree: Any) -> float:
    """Bytes of all arrays."""
    return float(sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)))


def same(function: Callable[..., Any]) -> Callable[[str | None], Callable[..., Any]]:
    """For a program in which no device waits for another."""
    return lambda axis: function
