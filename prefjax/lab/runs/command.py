"""The command line of an experiment, and drawing a finished run again."""

import dataclasses
import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from prefjax.io.atomic import write_atomically
from prefjax.lab.runs.environment import environment, peak_memory_mib
from prefjax.lab.runs.folder import Result, create, load, save, write_json
from prefjax.parallel import use_compilation_cache


def main(
    presets: Mapping[str, Any],
    run: Callable[[Any], Result],
    plot: Callable[[Result], Figure],
    argv: Sequence[str] | None = None,
) -> Path:
    """Command line of an experiment: parse, run, save, draw, print the folder last.

    Args:
        presets: Frozen dataclass per preset name, such as ``smoke`` and ``paper``.
        run: Computes the result; touches no disk.
        plot: Draws the figure from a result that was read back from disk.
        argv: Arguments; those of the process by default.

    Returns:
        The run folder.

    Raises:
        OSError: If the run folder cannot be written, before anything is computed.
    """
    import tyro

    argv = sys.argv[1:] if argv is None else list(argv)
    module = _module_name(plot)
    experiment = module.rpartition(".")[2]
    config = tyro.extras.overridable_config_cli(
        {name: (f"The {name} preset.", preset) for name, preset in presets.items()},
        args=argv,
        prog=f"python -m {module}",
    )
    preset = next(name for name in argv if name in presets)
    use_compilation_cache()
    environ = environment(Path(run.__code__.co_filename).resolve().parent)
    folder = create(experiment, preset, commit=environ["commit"])
    settings = {"experiment": module, "preset": preset, "arguments": argv, "config": config}
    write_json(folder / "config.json", settings)
    write_json(folder / "env.json", environ)

    start = time.perf_counter()
    result = run(config)
    cost = {
        "event": "finished",
        "seconds": round(time.perf_counter() - start, 3),
        "peak_memory_mib": peak_memory_mib(),
    }
    save(folder, dataclasses.replace(result, metrics=[*result.metrics, cost]))
    draw(folder, plot)
    if result.summary:
        print(result.summary)
    print(folder)
    return folder


def draw(folder: Path, plot: Callable[[Result], Figure] | None = None) -> Path:
    """Draw ``figure.png`` of a run folder from its saved results.

    Args:
        folder: A run folder.
        plot: The experiment's ``plot``; by default that of the module named in ``config.json``.

    Returns:
        Path of the figure.

    Raises:
        FileNotFoundError: If the folder holds no finished run.
        ImportError: If the experiment's module cannot be imported from here.
    """
    result = load(folder)
    figure = (_plot_of(folder) if plot is None else plot)(result)
    target = folder / "figure.png"
    write_atomically(target, lambda path: figure.savefig(path, format="png", dpi=200))
    return target


def _plot_of(folder: Path) -> Callable[[Result], Figure]:
    name = json.loads((folder / "config.json").read_text())["experiment"]
    try:
        return importlib.import_module(name).plot
    except ImportError as error:
        raise ImportError(
            f"Cannot import {name}, which drew {folder}; run from the repository root."
        ) from error


def _module_name(function: Callable[..., Any]) -> str:
    """Importable name of the module of a function, also when it runs as ``python -m``."""
    spec = getattr(sys.modules.get(function.__module__), "__spec__", None)
    return spec.name if spec is not None else Path(function.__code__.co_filename).stem
