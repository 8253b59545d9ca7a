"""What GPUs and TPUs would run: every program compiled for them on a machine that has none.

    python -m benchmarks.gpu_programs [--programs "embed 64x512" …]
        [--targets h200:1 h200:8 v5e:1 v5e:8] [--layers 24] [--write]

Nothing is run. The figures are those of the compiled program: launches, bytes that the kernels read
and write, FLOPs of matrix products, memory for temporaries and what devices exchange, the same on
every machine and day. They bound the time from below by bytes / bandwidth and FLOPs / peak and say
nothing of how well a kernel fills the device. ``once`` is what runs once, loops of a known number
of rounds included; ``round`` is a round of the longest other loop: a token, a Newton step. Beside
the bytes stands the floor, counted by hand (`benchmarks.program_list`), and the ratio of the two;
of eight devices all figures are those of one. What a TPU keeps on the chip takes no bytes, so there
a program may stay below a floor that lets a layer hand its states on through memory.

The decoder has the width of Qwen2.5-0.5B in bfloat16 and ``--layers`` blocks; its 24 take XLA four
minutes a program, the default of 2 a tenth of that, and every layer is the same. Without the
compilers it says how to get them. ``--write`` stores the figures, over which the test
``tests/test_gpu_programs.py`` lets bytes and temporaries grow by 5 %.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

from benchmarks.devices import SET_UP, TARGETS, compile_for, compile_pmap
from benchmarks.hlo import Cost, count
from benchmarks.program import Program
from benchmarks.program_list import programs
from prefjax.parallel.mesh import AXIS

STORED = Path(__file__).with_name("gpu_programs.json")
NOTHING_RAN = "compiled, not run: no kernel was launched and no time was measured"
TOLERANCE = 1.05
GUARDED = ("bytes", "temporary")


def part(cost: Cost, floor: float | None) -> dict[str, Any]:
    """Figures of what runs once, or of a round."""
    line: dict[str, Any] = {
        "kernels": cost.kernels,
        "bytes": cost.bytes,
        "flops": cost.flops,
        "exchanged": {},
    }
    for kind, size in cost.collectives:
        line["exchanged"][kind] = line["exchanged"].get(kind, 0) + size
    if floor:
        line |= {"floor": floor, "ratio": cost.bytes / floor}
    return line


def measure(program: Program, target: str, num_devices: int) -> dict[str, Any]:
    """Figures of one program on a line of devices, those of one device."""
    device = TARGETS[target]
    mesh, arguments, donate = device.mesh(num_devices), program.arguments, program.donate
    if num_devices == 1:
        compiled = compile_for(device, program.function(None), arguments, mesh=mesh, donate=donate)
    elif program.mapped_by == "pmap":
        results = program.results, jax.eval_shape(program.function(None), *arguments)
        compiled = compile_pmap(
            device,
            program.function(AXIS),
            arguments,
            mesh=mesh,
            specs=program.specs,
            results=results,
            donate=donate,
        )
    else:
        function = jax.shard_map(
            program.function(AXIS),
            mesh=mesh,
            in_specs=program.specs,
            out_specs=program.results,
            check_vma=False,
        )
        compiled = compile_for(
            device, function, arguments, mesh=mesh, specs=program.specs, donate=donate
        )
    once, loop = count(compiled.as_text())
    floors = {name: floor.of(num_devices) for name, floor in program.floor.items()}
    line: dict[str, Any] = {"once": part(once, floors.get("once"))}
    if loop is not None:
        line["round"] = part(loop, floors.get("round"))
    return line | {"temporary": compiled.memory_analysis().temp_size_in_bytes}


def growth(now: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    """Where bytes or temporaries are more than 5 % above those stored."""

    def pairs(now: Any, stored: Any, path: str) -> Iterable[tuple[str, Any, Any]]:
        for name, value in stored.items():
            if isinstance(value, dict) and name in now:
                yield from pairs(now[name], value, f"{path} {name}")
            elif name in GUARDED:
                yield f"{path} {name}", now[name], value

    return [
        f"{name.strip()}: {value:,.0f}, stored {old:,.0f}"
        for name, value, old in pairs(now, stored, "")
        if value > TOLERANCE * old
    ]


def show(name: str, target: str, line: dict[str, Any]) -> None:
    for kind in ("once", "round"):
        if kind in line:
            figures = line[kind]
            print(
                f"{name:26} {target:7} {kind:6} {figures['kernels']:5} kernels "
                f"{figures['bytes'] / 1e9:9.3f} GB {figures['flops'] / 1e12:8.3f} TFLOP "
                f"ratio {figures.get('ratio', float('nan')):5.2f} {figures['exchanged'] or ''}"
            )
    print(f"{'':34} temporary {line['temporary'] / 1e9:.3f} GB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Programs compiled for GPUs and TPUs.")
    parser.add_argument("--programs", nargs="+", help="all by default")
    parser.add_argument("--targets", nargs="+", default=["h200:1", "h200:8", "v5e:1", "v5e:8"])
    parser.add_argument("--layers", type=int, default=2, help="blocks of the decoder")
    parser.add_argument("--write", action="store_true", help="store the figures")
    arguments = parser.parse_args()
    targets = [
        (name, int(count)) for name, _, count in (t.partition(":") for t in arguments.targets)
    ]
    missing = {name for name, _ in targets if not TARGETS[name].is_installed}
    if missing:
        print(SET_UP.format(jax=jax.__version__))
        raise SystemExit(f"No compiler for {', '.join(sorted(missing))}.")
    print(NOTHING_RAN)
    known = programs(arguments.layers)
    lines: dict[str, Any] = {}
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    for name in arguments.programs or known:
        program = known[name]()
        for target, num_devices in targets:
            if num_devices > 1 and not program.is_shared:
                print(f"{name:26} {target}:{num_devices} is no program of several devices")
                continue
            key = f"{name} | {arguments.layers} layers | {target}:{num_devices}"
            lines[key] = measure(program, target, num_devices)
            show(name, f"{target}:{num_devices}", lines[key])
            if arguments.write:
                stored[key] = lines[key]
                STORED.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
    print(json.dumps({"benchmark": "gpu_programs", "note": NOTHING_RAN, "programs": lines}))


if __name__ == "__main__":
    main()
