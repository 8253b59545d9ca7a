"""How parameters and batches lie on several devices.

Data parallel: the batch is cut along its first axis, parameters are whole everywhere. This is the
way to embed with a model that fits one device.

Tensor parallel, for models that do not (7 B in bfloat16 needs 15 GB): every matrix is cut once, so
that a block needs one sum over devices after the attention and one after the feed-forward layer.

    tensor                              cut along                     7 B on 4 devices
    query, key, value, their biases     outputs: whole heads          7 of 28 heads, 1 of 4 kv
    output                              inputs: the same heads        (3584, 896)
    gate, up                            outputs                       (4736, 3584)
    down                                inputs                        (3584, 4736)
    embedding, head                     vocabulary                    (38016, 3584)
    norms                               whole everywhere

The number of devices must divide the kv heads, the feed-forward width and the vocabulary. XLA puts
the sums in; the functions of this package are the same on one device and on many.

References:
    Megatron-LM, arXiv 1909.08053, section 3.
"""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Int

from prefjax.lm.config import QwenConfig
from prefjax.lm.params import layer_shapes, outer_shapes
from prefjax.types import Array, Params

_OUTPUTS = ("query", "key", "value", "gate", "up", "query_bias", "key_bias", "value_bias")
_INPUTS = ("output", "down")


def tensor_parallel(config: QwenConfig, axis: str, *, stacked: bool = False) -> dict[str, Any]:
    """``PartitionSpec`` of every parameter, cut over the mesh axis ``axis``.

    Args:
        config: Static configuration.
        axis: Name of the mesh axis.
        stacked: The layers have a leading layer axis, as ``stack_layers`` makes it.
    """

    def spec(name: str) -> PartitionSpec:
        cut = (axis,) if name in _OUTPUTS else (None, axis) if name in _INPUTS else ()
        return PartitionSpec(*((None, *cut) if stacked and cut else cut))

    layer = {name: spec(name) for name in layer_shapes(config)}
    outer = {
        name: PartitionSpec(axis) if name != "norm" else PartitionSpec()
        for name in outer_shapes(config)
    }
    return outer | {"layers": layer if stacked else [layer] * config.num_layers}


def place(
    params: Params, config: QwenConfig, mesh: Mesh, *, tensor_axis: str | None = None
) -> dict[str, Any]:
    """Parameters on the devices of a mesh.

    Args:
        params: Parameters, as a list of layers or stacked.
        config: Their configuration.
        mesh: Devices; its axes must be of type ``Auto``.
        tensor_axis: Axis to cut the matrices over; whole on every device by default.

    Raises:
        ValueError: The axis is not in the mesh or its size does not divide the model.
    """
    if tensor_axis is None:
        return jax.device_put(dict(params), NamedSharding(mesh, PartitionSpec()))
    if tensor_axis not in mesh.shape:
        raise ValueError(f"the mesh has the axes {tuple(mesh.shape)}, not {tensor_axis!r}")
    size = mesh.shape[tensor_axis]
    for name in ("num_kv_heads", "intermediate_size", "vocab_size"):
        if getattr(config, name) % size:
            raise ValueError(f"{size} devices do not divide {name} {getattr(config, name)}")
    specs = tensor_parallel(config, tensor_axis, stacked=isinstance(params["layers"], dict))
    specs = {name: specs[name] for name in params}  # a backbone has no head
    shardings = jax.tree.map(
        lambda spec: NamedSharding(mesh, spec),
        specs,
        is_leaf=lambda x: isinstance(x, PartitionSpec),
    )
    return jax.device_put(dict(params), shardings)


def place_batch(
    tokens: Int[Array, "batch token"], mask: Bool[Array, "batch token"], mesh: Mesh, axis: str
) -> tuple[Int[jax.Array, "batch token"], Bool[jax.Array, "batch token"]]:
    """Rows of a batch spread over a mesh axis; ``forward`` under ``jit`` then runs on all devices.

    Raises:
        ValueError: The size of the axis does not divide the batch.
    """
    if tokens.shape[0] % mesh.shape[axis]:
        raise ValueError(f"{mesh.shape[axis]} devices do not divide a batch of {tokens.shape[0]}")
    return jax.device_put((tokens, mask), NamedSharding(mesh, PartitionSpec(axis)))
