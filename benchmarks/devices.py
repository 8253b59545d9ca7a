"""Devices that this machine need not have, and programs compiled for them.

XLA compiles from a description of a device: for NVIDIA GPUs with the packages of CUDA, for TPUs
with ``libtpu``. Nothing is run.
"""

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from prefjax.parallel import tracing_for
from prefjax.parallel.mesh import AXIS

SET_UP = """The compilers for NVIDIA GPUs and TPUs are not installed. They take some 4 GB, so make
an environment for them alone:

    python -m venv gpu && gpu/bin/pip install jax=={jax} jaxlib=={jax} jax-cuda13-plugin=={jax} \\
        jax-cuda13-pjrt=={jax} nvidia-cuda-nvcc nvidia-cudnn-cu13 nvidia-cublas nvidia-cusparse \\
        nvidia-cusolver nvidia-cufft nvidia-cuda-cupti nvidia-nccl-cu13 nvidia-nvshmem-cu13 libtpu

and put its site-packages on PYTHONPATH before those of the environment of prefjax, with
JAX_PLATFORMS=cpu and JAX_SKIP_CUDA_CONSTRAINTS_CHECK=1. libtpu alone is enough for TPUs."""

_H200 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 4800000000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 150754820096 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536 }
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 patch: 0 }
device_description_str: "NVIDIA H200"
"""
"""An H200 as XLA wants it described; NVIDIA's data sheet and CUDA's tables for capability 9.0."""


@dataclass(frozen=True)
class Target:
    """A kind of device.

    Attributes:
        name: Its name.
        platform: As `prefjax.parallel.platform` names it.
        package: Module of its compiler.
        bandwidth: Bytes a second of its memory, as the maker states.
        peak: FLOPs a second of dense bfloat16 products, as the maker states.
    """

    name: str
    platform: Any
    package: str
    bandwidth: float
    peak: float

    @property
    def is_installed(self) -> bool:
        """Whether this machine can compile for it."""
        return importlib.util.find_spec(self.package) is not None

    def mesh(self, num_devices: int) -> Mesh:
        """Described devices in a line; of TPUs 1, 4 or 8."""
        if self.platform == "cuda":
            shape = f"1x1x{num_devices}"
            settings: Mapping[str, Any] = {"target_config": _H200, "topology": shape}
            topology = topologies.get_topology_desc(shape, "cuda", **settings)
        else:
            os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
            shape = {1: "1x1", 4: "2x2", 8: "2x4"}[num_devices]
            settings = {"chips_per_host_bounds": [1, 1, 1]} if num_devices == 1 else {}
            topology = topologies.get_topology_desc(f"{self.name}:{shape}", "tpu", **settings)
        devices = np.array(topology.devices).reshape(num_devices)
        return Mesh(devices, (AXIS,), axis_types=(AxisType.Auto,))


H200 = Target("h200", "cuda", "jax_cuda13_plugin", 4.8e12, 989e12)
V5E = Target("v5e", "tpu", "libtpu", 0.819e12, 197e12)
TARGETS = {target.name: target for target in (H200, V5E)}


def compile_for(
    target: Target,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    *,
    mesh: Mesh | None = None,
    specs: tuple[Any, ...] | None = None,
    donate: tuple[int, ...] = (),
) -> Any:
    """The function compiled for a line of devices; the compiler chooses how results lie.

    Args:
        target: Kind of device.
        function: Pure.
        arguments: Pytrees of anything with shape and dtype.
        mesh: Devices of `Target.mesh`; one by default.
        specs: ``PartitionSpec``, as a tree prefix, of each argument; whole everywhere by default.
        donate: Arguments whose memory the results may take.
    """
    mesh = target.mesh(1) if mesh is None else mesh
    specs = (PartitionSpec(),) * len(arguments) if specs is None else specs

    def place(spec: PartitionSpec, argument: Any) -> Any:
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), argument
        )

    placed = [
        jax.tree.map(place, spec, argument, is_leaf=lambda x: isinstance(x, PartitionSpec))
        for spec, argument in zip(specs, arguments, strict=True)
    ]
    with tracing_for(target.platform):
        return jax.jit(function, donate_argnums=donate).lower(*placed).compile()


def compile_pmap(
    target: Target,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    *,
    mesh: Mesh,
    specs: tuple[Any, ...],
    results: tuple[Any, Any],
    donate: tuple[int, ...] = (),
) -> Any:
    """The function compiled by ``jax.pmap``, as `prefjax.parallel.data_parallel` calls it.

    Args:
        target: Kind of device.
        function: Pure; it reduces over ``AXIS``.
        arguments: Pytrees of anything with shape and dtype, of all devices together.
        mesh: Devices of `Target.mesh`.
        specs: ``PartitionSpec``, as a tree prefix, of each argument.
        results: The same of the results, and their shapes.
        donate: Arguments whose memory the results may take.
    """

    def is_cut(specs: Any, tree: Any) -> Any:
        """For every leaf, whether it has a part on each device."""
        return jax.tree.map(
            lambda spec, part: jax.tree.map(lambda _: spec == PartitionSpec(AXIS), part),
            specs,
            tree,
            is_leaf=lambda x: isinstance(x, PartitionSpec),
        )

    def axes(cut: Any) -> tuple[int | None, ...]:
        return tuple(0 if leaf else None for leaf in jax.tree.leaves(cut))

    def part(leaf: Any, cut: bool) -> jax.ShapeDtypeStruct:
        size = leaf.shape
        size = (mesh.size, size[0] // mesh.size, *size[1:]) if cut else size
        return jax.ShapeDtypeStruct(size, leaf.dtype)

    leaves, tree = jax.tree.flatten(arguments)
    cut = is_cut(specs, arguments)
    parts = map(part, leaves, jax.tree.leaves(cut))
    owner = [i for i, argument in enumerate(arguments) for _ in jax.tree.leaves(argument)]

    def flat(*leaves: Any) -> tuple[Any, ...]:
        return tuple(jax.tree.leaves(function(*jax.tree.unflatten(tree, leaves))))

    with tracing_for(target.platform):
        mapped = jax.pmap(
            flat,
            axis_name=AXIS,
            in_axes=axes(cut),
            out_axes=axes(is_cut(results[0], results[1])),
            devices=list(mesh.devices.flat),
            donate_argnums=tuple(i for i, argument in enumerate(owner) if argument in donate),
        )
        return mapped.lower(*parts).compile()
