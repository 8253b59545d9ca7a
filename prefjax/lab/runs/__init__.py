"""Run folders: what was asked, where it ran, what came out, and the figure drawn from it.

``runs/<experiment>/<utc>-<preset>-<sha>/`` holds

    config.json       experiment, preset, every setting
    env.json          commit, dirty flag, versions, device
    metrics.jsonl     what the run logged, one JSON object a line; the last is its time and memory
    results.parquet   tidy results, one number a row, columns ``COLUMNS`` first
    arrays.npz        arrays too large for a table
    summary.md        the table the run printed
    figure.png        drawn from the saved files alone

An experiment is a module with ``PRESETS``, ``run(config) -> Result`` and ``plot(result) -> Figure``
that ends in ``if __name__ == "__main__": runs.main(PRESETS, run, plot)``; ``run`` touches no disk.
``python -m experiments.<name> smoke --num-seeds 3`` does the rest, and ``python -m prefjax.lab.runs
plot <dir>`` draws the figure again without computing anything. Folders lie in ``runs/`` of the
working directory, or where the environment variable ``PREFJAX_RUNS`` points.
"""

from prefjax.lab.runs.command import draw, main
from prefjax.lab.runs.environment import environment, peak_memory_mib
from prefjax.lab.runs.folder import (
    COLUMNS,
    SCHEMA,
    Result,
    create,
    load,
    save,
    tidy,
    write_json,
)

__all__ = [
    "COLUMNS",
    "SCHEMA",
    "Result",
    "create",
    "draw",
    "environment",
    "load",
    "main",
    "peak_memory_mib",
    "save",
    "tidy",
    "write_json",
]
