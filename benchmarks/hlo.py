"""What a compiled program moves: kernels, bytes, products and collectives, read from its HLO text.

Every instruction that is launched reads its operands and writes its results once, but

- a kernel that only slices or gathers from an operand reads what it takes, not the operand;
- what is updated in place reads and writes the update, not the whole;
- scratch memory of a library call is not traffic, nor are arrays that a TPU keeps on the chip.

The program and the bodies of its loops are counted apart: a body once, for one round. FLOPs are
those of matrix products and of fused attention, two for a multiplication with its addition.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks.hlo_text import (
    Instruction,
    arrays_of,
    dims_of,
    in_memory,
    num_bytes,
    parse,
    shape_of,
)

_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_FREE = frozenset(
    ("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "iota",
     "partition-id", "replica-id", "opt-barrier", "async-update", "add-dependency", "domain")
)  # fmt: skip
_SLICES = frozenset(("dynamic-slice", "slice", "gather"))
_UPDATES = {"dynamic-update-slice": 1, "scatter": 2}  # place of the update among the operands
_COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "reduce-scatter",
    "collective-permute",
    "collective-broadcast",
    "ragged-all-to-all",
)


@dataclass
class Cost:
    """What one run of a computation launches, loops inside it left out.

    Attributes:
        kernels: Launches.
        bytes: Bytes read and written.
        flops: FLOPs of products and attention.
        collectives: Kind and bytes of each reduction or exchange between devices.
        largest: ``(bytes, opcode, name, shape)`` of every launch.
        loops: Body, rounds if the compiler knows them, cost of one round.
    """

    kernels: int = 0
    bytes: int = 0
    flops: float = 0.0
    collectives: list[tuple[str, int]] = field(default_factory=list)
    largest: list[tuple[int, str, str, str]] = field(default_factory=list)
    loops: list[tuple[str, int | None, "Cost"]] = field(default_factory=list)

    def add(self, other: "Cost") -> None:
        """Count another computation that runs as a part of this one."""
        self.kernels += other.kernels
        self.bytes += other.bytes
        self.flops += other.flops
        self.collectives += other.collectives
        self.largest += other.largest
        self.loops += other.loops

    def all_loops(self) -> Iterator[tuple[str, int | None, "Cost"]]:
        """The loops, those inside others included."""
        for loop in self.loops:
            yield loop
            yield from loop[2].all_loops()


class Program:
    """A compiled program as computations; `cost` counts what it launches."""

    def __init__(self, text: str):
        self.entry, self.computations = parse(text)

    @property
    def cost(self) -> Cost:
        """Of the entry computation."""
        return self._cost(self.entry)

    def _cost(self, name: str) -> Cost:
        body = self.computations[name]
        shapes = {one.name: one.shape for one in body}
        total = Cost()
        for one in body:
            if one.opcode in _FREE or one.opcode.endswith("-done"):
                continue
            if one.opcode == "call":
                total.add(self._cost(one.called[0]))
            elif one.opcode == "while":
                inner = re.search(r"body=%?([\w.\-]+)", one.attributes)
                trips = _TRIPS.search(one.attributes)
                assert inner is not None
                rounds = int(trips.group(1)) if trips else None
                total.loops.append((inner.group(1), rounds, self._cost(inner.group(1))))
            elif one.opcode == "conditional":
                costs = [self._cost(branch) for branch in one.called]
                total.add(max(costs, key=_with_loops))
            else:
                total.add(self._launch(one, shapes))
        return total

    def _launch(self, one: Instruction, shapes: Mapping[str, str]) -> Cost:
        called = [self.computations[name] for name in one.called if name in self.computations]
        operands = [shapes.get(name, "") for name in one.operands]
        sizes = [in_memory(shape) for shape in operands]
        kind = one.opcode.removesuffix("-start")
        flops = _flops(one, shapes)
        if kind in ("fusion", "async"):
            inner = called[0]
            flops += sum(self._nested_flops(inner))
            moved = sum(_fusion_reads(inner)) + _fusion_writes(inner)
        elif kind in _SLICES:
            # One that is started and awaited names what it reads, what it writes and a flag.
            result = arrays_of(one.shape)[1 if one.opcode.endswith("-start") else 0]
            moved = min(num_bytes(result), sizes[0]) + in_memory(result)
            moved += sum(sizes[1:] if kind == "gather" else [])
        elif kind in _UPDATES:
            moved = 2 * sizes[_UPDATES[kind]] + (sizes[1] if kind == "scatter" else 0)
        elif one.opcode == "copy-start":
            moved = sizes[0] + in_memory(arrays_of(one.shape)[0])
        elif kind in _COLLECTIVES:
            moved = 2 * sum(sizes)
        else:
            moved = sum(sizes) + in_memory(_without_scratch(one))
        exchanged = sum(num_bytes(shape) for shape in operands)
        collectives = [(kind, exchanged)] if kind in _COLLECTIVES else []
        return Cost(1, moved, flops, collectives, [(moved, one.opcode, one.name, one.shape)])

    def _nested_flops(self, body: Iterable[Instruction]) -> Iterator[float]:
        body = list(body)
        shapes = {one.name: one.shape for one in body}
        for one in body:
            yield _flops(one, shapes)
            if one.opcode == "fusion":
                yield from self._nested_flops(self.computations[one.called[0]])


def _with_loops(cost: Cost) -> tuple[float, float]:
    """FLOPs, then bytes, by which branches are compared; a loop of unknown length is one round."""
    flops, moved = cost.flops, float(cost.bytes)
    for _, rounds, body in cost.loops:
        inner_flops, inner_bytes = _with_loops(body)
        flops, moved = flops + (rounds or 1) * inner_flops, moved + (rounds or 1) * inner_bytes
    return flops, moved


def _without_scratch(one: Instruction) -> str:
    """Shape of the results; a library call returns its scratch memory as bytes, last."""
    if one.opcode != "custom-call" or not one.shape.startswith("("):
        return one.shape
    return re.sub(r"(?:, )?[su]8\[\d+\](?:\{0\})?\)$", ")", one.shape)


_THROUGH = frozenset(
    ("bitcast", "reshape", "convert", "copy", "transpose", "broadcast", "reduce", "add", "subtract",
     "multiply", "divide", "maximum", "minimum", "select", "compare", "negate", "exponential")
)  # fmt: skip


def _fusion_reads(body: list[Instruction]) -> list[int]:
    """Bytes that a fusion reads of each of its parameters: it computes only what a result needs."""
    users: dict[str, list[Instruction]] = {}
    for one in body:
        for name in set(one.operands):
            users.setdefault(name, []).append(one)

    def needed(one: Instruction) -> float:
        """The part of a value that results need."""
        total = 1.0 if one.is_root else 0.0
        for user in users.get(one.name, []):
            first = user.operands[0] == one.name and one.name not in user.operands[1:]
            if user.opcode in _SLICES and first:
                total += needed(user) * num_bytes(user.shape) / max(num_bytes(one.shape), 1)
            elif user.opcode == "scatter" and first:
                total += num_bytes(_updated(user, body)) / max(num_bytes(one.shape), 1)
            elif user.opcode == "dynamic-update-slice" and first:
                continue  # written in place
            else:
                total += needed(user) if user.opcode in _THROUGH else 1.0
            if total >= 1:
                return 1.0
        return total

    return [round(needed(one) * in_memory(one.shape)) for one in body if one.opcode == "parameter"]


def _updated(user: Instruction, body: list[Instruction]) -> str:
    shapes = {one.name: one.shape for one in body}
    return shapes[user.operands[_UPDATES[user.opcode]]]


def _fusion_writes(body: list[Instruction]) -> int:
    by_name = {one.name: one for one in body}
    root = next(one for one in body if one.is_root)

    def written(one: Instruction) -> int:
        if one.opcode == "tuple":
            return sum(written(by_name[name]) for name in one.operands)
        if one.opcode in _UPDATES:
            return num_bytes(_updated(one, body)) if in_memory(one.shape) else 0
        if one.opcode in ("bitcast", "reshape") and by_name[one.operands[0]].opcode in _UPDATES:
            return written(by_name[one.operands[0]])
        return in_memory(one.shape)

    return written(root)


def _flops(one: Instruction, shapes: Mapping[str, str]) -> float:
    """FLOPs of a product or of fused attention; 0 of anything else."""
    if one.opcode == "convolution":  # as TPUs write a product
        return 2.0 * math.prod(shape_of(one.shape)) * _contracted(one, shapes)
    if one.opcode == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.attributes)
    elif one.opcode == "custom-call" and "__cublas" in one.attributes:
        contracted = re.search(r'"lhs_contracting_dimensions":\[([^\]]*)\]', one.attributes)
    elif one.opcode == "custom-call" and "__cudnn$fmha" in one.attributes:
        query, key = (shape_of(shapes[name]) for name in one.operands[:2])
        return 4.0 * math.prod(query) * _key_length(query, key)
    else:
        return 0.0
    left = shape_of(shapes.get(one.operands[0], ""))
    inner = (
        math.prod(left[i] for i in dims_of(contracted.group(1).replace('"', "")))
        if contracted
        else 1
    )
    return 2.0 * math.prod(shape_of(one.shape)) * inner


def _contracted(one: Instruction, shapes: Mapping[str, str]) -> int:
    """Products that an entry of a convolution sums; dilated dimensions stand for a batch."""
    labels = re.search(r"dim_labels=\w+_(\w+)->", one.attributes)
    window = re.search(r"window=\{size=([\dx]+)([^}]*)\}", one.attributes)
    if labels is None:
        return 1
    inner = shape_of(shapes.get(one.operands[1], ""))[labels.group(1).index("i")]
    if window is None or "dilate" in window.group(2):
        return inner
    return inner * math.prod(int(size) for size in window.group(1).split("x"))


def _key_length(query: list[int], key: list[int]) -> int:
    """Slots of the keys, in ``[batch, token, head, dim]`` as cuDNN is given them."""
    return key[1] if len(key) == 4 else query[1]


def count(text: str) -> tuple[Cost, Cost | None]:
    """What a program launches once, and in a round of the loop that moves most.

    Loops of which the compiler knows the rounds are part of what they stand in.

    Args:
        text: HLO of the compiled program.
    """

    def whole(cost: Cost) -> tuple[Cost, list[Cost]]:
        total, rounds = Cost(), []
        total.add(Cost(cost.kernels, cost.bytes, cost.flops, cost.collectives, cost.largest))
        for _, known, body in cost.loops:
            inner, inner_rounds = whole(body)
            rounds += inner_rounds
            if known is None:
                rounds.append(inner)
            for _ in range(known or 0):
                total.add(inner)
        return total, rounds

    once, rounds = whole(Program(text).cost)
    return once, max(rounds, key=lambda cost: cost.bytes, default=None)
