"""Data parallelism: one step, four ways to run it, on any number of devices and processes.

A step is a pure function ``step(*arguments, axis)`` that reduces with `all_sum(x, axis)`. Arguments
and results are pytrees of global arrays, each leaf either

    "replicated"   the same on every device
    "sharded"      cut along its leading axis, whose length is a multiple of the number of devices

and `data_parallel` compiles the step as ``pmap``, ``shard_map``, ``jit`` (the compiler partitions)
or ``single`` (one device). All four give the same numbers if the step reduces *sums* and divides
once: a mean of local means is wrong when shards are uneven and NaN when one holds only padding.

``shard_map`` runs with ``check_vma=False``, because with the check JAX sums the gradient of a
replicated argument by itself, and a step that reduces too would count it once for every device.

References:
    JAX documentation, "Migrating from pmap to shard_map" and "Multi-process environments".
"""

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from prefjax.parallel.mesh import AXIS, make_mesh, partition, sharding

Backend = Literal["pmap", "shard_map", "jit", "single"]


class Specs(NamedTuple):
    """How arguments and results of a step lie on the devices; tree prefixes of ``Spec``."""

    inputs: tuple[Any, ...]
    outputs: Any


def data_parallel(
    step: Callable[..., Any],
    specs: Specs,
    *,
    backend: Backend = "pmap",
    mesh: Mesh | None = None,
    donate: Sequence[int] = (),
) -> Callable[..., Any]:
    """Compiles a step for the devices of a mesh.

    Args:
        step: Pure ``step(*arguments, axis)``; it sees its own part of every sharded leaf, and
            reduces with ``all_sum(…, axis)``.
        specs: Placement of arguments and results.
        backend: How it is run; all agree.
        mesh: The devices; all by default.
        donate: Arguments whose memory the results may take.

    Returns:
        A function of global arrays as `place` makes them, returning global arrays.

    Raises:
        ValueError: The backend is unknown, or ``single`` is given a mesh of several devices.

    Examples:
        >>> from prefjax.parallel.mesh import all_sum
        >>> specs = Specs(inputs=("sharded",), outputs="replicated")
        >>> total = data_parallel(lambda x, axis: all_sum(x.sum(), axis), specs, mesh=make_mesh(1))
        >>> float(total(jax.numpy.arange(4.0)))
        6.0
    """
    mesh = make_mesh(1 if backend == "single" else None) if mesh is None else mesh
    donate = tuple(donate)
    if backend == "single":
        if mesh.size > 1:
            raise ValueError(f"The backend 'single' has one device, the mesh has {mesh.size}.")
        return jax.jit(partial(step, axis=None), donate_argnums=donate)
    if backend == "jit":
        return jax.jit(
            partial(step, axis=None),
            in_shardings=jax.tree.map(partial(sharding, mesh), specs.inputs),
            out_shardings=jax.tree.map(partial(sharding, mesh), specs.outputs),
            donate_argnums=donate,
        )
    if backend == "shard_map":
        mapped = jax.shard_map(
            partial(step, axis=AXIS),
            mesh=mesh,
            in_specs=jax.tree.map(partition, specs.inputs),
            out_specs=jax.tree.map(partition, specs.outputs),
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=donate)
    if backend == "pmap":
        return _mapped_by_pmap(step, specs, mesh, donate)
    raise ValueError(f"There is no backend {backend!r}: pmap, shard_map, jit and single are.")


def _mapped_by_pmap(
    step: Callable[..., Any], specs: Specs, mesh: Mesh, donate: tuple[int, ...]
) -> Callable[..., Any]:
    """``pmap`` over ``[device, rows of the device]`` views of the sharded leaves.

    The view of a donated array shares its memory; that of another one is a copy, which is kept for
    as long as the same array is passed again. Across processes ``pmap`` sees the rows of one
    process, and takes its outputs as a flat tuple.
    """
    num_devices = mesh.size
    whole = sharding(mesh, "sharded")

    def split(*flat):
        return tuple(x.reshape(num_devices, x.shape[0] // num_devices, *x.shape[1:]) for x in flat)

    def join(flat, flat_specs):
        return tuple(
            x.reshape(-1, *x.shape[2:]) if spec == "sharded" else x
            for x, spec in zip(flat, flat_specs, strict=True)
        )

    def compile_for(arguments):
        in_tree = jax.tree.structure(arguments)
        per_argument = [
            jax.tree.leaves(jax.tree.broadcast(spec, argument))
            for spec, argument in zip(specs.inputs, arguments, strict=True)
        ]
        in_specs = [spec for part in per_argument for spec in part]
        argument_of = [i for i, part in enumerate(per_argument) for _ in part]
        donated = tuple(i for i, argument in enumerate(argument_of) if argument in donate)
        result = jax.eval_shape(partial(step, axis=None), *arguments)
        out_tree = jax.tree.structure(result)
        out_specs = jax.tree.leaves(jax.tree.broadcast(specs.outputs, result))

        def flat_step(*leaves):
            return tuple(jax.tree.leaves(step(*jax.tree.unflatten(in_tree, leaves), axis=AXIS)))

        def axes(flat_specs):
            return tuple(0 if spec == "sharded" else None for spec in flat_specs)

        mapped = jax.pmap(
            flat_step,
            axis_name=AXIS,
            in_axes=axes(in_specs),
            out_axes=axes(out_specs),
            devices=list(mesh.devices.flat),
            donate_argnums=donated,
        )
        sharded = [i for i, spec in enumerate(in_specs) if spec == "sharded"]
        donated_views = [i for i in sharded if i in donated]
        retained = [i for i in sharded if i not in donated]
        share = jax.jit(split, donate_argnums=tuple(range(len(donated_views))), out_shardings=whole)
        copy = jax.jit(split, out_shardings=whole)
        views: list[tuple[Any, ...]] = [(), ()]
        from_views = jax.jit(
            lambda *flat: join(flat, out_specs),
            donate_argnums=tuple(range(len(out_specs))),
            out_shardings=tuple(sharding(mesh, spec) for spec in out_specs),
        )

        def run(*arguments):
            flat = jax.tree.leaves(arguments)
            passed = tuple(flat[i] for i in retained)
            if len(views[0]) != len(passed) or any(map(operator.is_not, views[0], passed)):
                views[:] = passed, copy(*passed)
            for i, view in zip(retained, views[1], strict=True):
                flat[i] = view
            for i, view in zip(
                donated_views, share(*(flat[i] for i in donated_views)), strict=True
            ):
                flat[i] = view
            if jax.process_count() > 1:
                flat = multihost_utils.global_array_to_host_local_array(
                    tuple(flat), mesh, tuple(partition(spec) for spec in in_specs)
                )
            flat = mapped(*flat)
            if jax.process_count() > 1:
                flat = multihost_utils.host_local_array_to_global_array(
                    flat, mesh, tuple(partition(spec) for spec in out_specs)
                )
            return jax.tree.unflatten(out_tree, from_views(*flat))

        return run

    compiled: dict[Any, Callable[..., Any]] = {}

    def call(*arguments):
        tree = jax.tree.structure(arguments)
        if tree not in compiled:
            compiled[tree] = compile_for(arguments)
        return compiled[tree](*arguments)

    return call
