"""The text of a compiled program: its computations, instructions and the sizes of arrays.

XLA writes one instruction a line: name, shape with layout, opcode, operands, attributes.
"""

import math
import re
from dataclasses import dataclass

_WIDTH = {"pred": 1, "bf16": 2, "token": 0}
_ARRAY = re.compile(r"\b(pred|token|bf16|[sufc]\d+)\[([\d,]*)\](\{[^}]*\})?")
_ON_CHIP = re.compile(r"S\([1-9]\)")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{\s*$")
_NAME = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")


@dataclass
class Instruction:
    """One line of a computation."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    is_root: bool

    @property
    def called(self) -> tuple[str, ...]:
        """Computations that it names."""
        names = _CALLED.findall(self.attributes)
        for group in _BRANCHES.findall(self.attributes):
            names += re.findall(r"%?([\w.\-]+)", group)
        return tuple(names)


def num_bytes(shape: str) -> int:
    """Bytes of an array or a tuple, as HLO writes its shape."""
    return sum(_array_bytes(kind, dims) for kind, dims, _ in _ARRAY.findall(shape))


def in_memory(shape: str) -> int:
    """Bytes in the memory of the device; a TPU keeps some arrays on the chip instead."""
    return sum(
        _array_bytes(kind, dims)
        for kind, dims, layout in _ARRAY.findall(shape)
        if not _ON_CHIP.search(layout)
    )


def _array_bytes(kind: str, dims: str) -> int:
    width = _WIDTH[kind] if kind in _WIDTH else int(re.sub(r"\D", "", kind)[:2]) // 8
    return width * math.prod(dims_of(dims))


def arrays_of(shape: str) -> list[str]:
    """The arrays of a tuple, one shape each."""
    return [found.group(0) for found in _ARRAY.finditer(shape)]


def dims_of(text: str) -> list[int]:
    """Numbers between commas."""
    return [int(part) for part in text.split(",") if part]


def shape_of(shape: str) -> list[int]:
    """Dimensions of the first array in a shape."""
    found = _ARRAY.search(shape)
    return dims_of(found.group(2)) if found else []


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that opens at ``start`` closes."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if not depth:
            return place
    raise ValueError(f"a parenthesis stays open: {text[:80]}")


def parse(text: str) -> tuple[str, dict[str, list[Instruction]]]:
    """Name of the entry computation, and the instructions of every computation."""
    entry, current = "", []
    computations: dict[str, list[Instruction]] = {}
    for line in text.splitlines():
        if header := _HEADER.match(line):
            current = computations.setdefault(header.group(2), [])
            entry = header.group(2) if header.group(1) else entry
        elif found := _NAME.match(line):
            current.append(_instruction(line, found))
    return entry, computations


def _instruction(line: str, found: re.Match[str]) -> Instruction:
    rest = line[found.end() :]
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    shape, rest = rest[:end], rest[end + 1 :]
    start = rest.index("(")
    stop = _closing(rest, start)
    operands = tuple(re.findall(r"%([\w.\-]+)", rest[start:stop]))
    attributes = rest[stop + 1 :]
    if rest[:start] == "parameter":
        attributes = rest[start + 1 : stop]
    return Instruction(
        found.group(2), shape, rest[:start], operands, attributes, bool(found.group(1))
    )
