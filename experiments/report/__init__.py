"""Published numbers beside ours, from the run folders: writes ``docs/results.md``.

    python -m experiments.report            # of runs/ and of PREFJAX_RUNS
    python -m experiments.report --output page.md --runs other/runs

For every published number the newest finished run of the experiment that answers it is looked up,
a smoke run only where there is no other; what was not run says so. Nothing is computed here and
nothing is written by hand.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from experiments.report.published import figures, prototypes, real_people, table_one
from prefjax import metrics

Run = tuple[str, list[dict[str, Any]]]
"""Name and rows of a run folder."""


def finished(roots: list[Path], experiment: str) -> list[Run]:
    """Finished runs, the newest first; smoke runs only where there is no other."""
    found = sorted(
        (
            folder
            for root in roots
            for folder in (root / experiment).glob("*")
            if (folder / "results.parquet").is_file()
        ),
        key=lambda path: path.name,
        reverse=True,
    )
    found = [path for path in found if "smoke" not in path.name] or found[:1]
    return [(path.name, pq.read_table(path / "results.parquet").to_pylist()) for path in found]


def ours(rows: list[dict], wanted: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Value with its interval; rows of single seeds are summed up over seeds."""
    hits = [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]
    if not hits:
        return None
    single = [row for row in hits if row["seed"] is None]
    if single:
        ends = (single[0][name] for name in ("value", "low", "high"))
        value, low, high = (np.nan if end is None else end for end in ends)
        return value, low, high
    value, low, high, _ = metrics.mean_interval(np.array([row["value"] for row in hits]))
    return float(value), float(low), float(high)


def page(roots: list[Path]) -> str:
    """The page in Markdown."""
    published = [*table_one(), *figures(), *real_people(), *prototypes()]
    names = sorted({entry.experiment for entry in published if entry.experiment})
    runs = {name: finished(roots, name) for name in names}
    used: dict[str, dict[str, None]] = {name: {} for name in names}
    lines = [
        "# Published numbers and ours",
        "Written by `python -m experiments.report` from run folders; intervals are 95 %. The gap "
        "is ours minus the published number. Where the last column says something, the two are "
        "not the same measurement: the gap then tells settings apart, not methods.",
        "| source | setting | published | ours | gap | why not comparable |\n" + "|---" * 6 + "|",
    ]
    for entry in published:
        shown = entry.shown or ("" if entry.value is None else f"{entry.value:g}")
        mine, gap = "not run", ""
        for run, rows in runs.get(entry.experiment, ()):
            found = ours(rows, entry.row)
            if found:
                used[entry.experiment][run] = None
                value, low, high = found
                mine = f"{value:.3f}" + ("" if np.isnan(low) else f" [{low:.3f}, {high:.3f}]")
                gap = "" if entry.value is None else f"{value - entry.value:+.3f}"
                break
        lines[-1] += (
            f"\n| {entry.source} | {entry.setting} | {shown} | {mine} | {gap} | {entry.why} |"
        )
    sources = [f"- `{name}`: {', '.join(found) or 'not run'}" for name, found in used.items()]
    return "\n\n".join([*lines, "## Runs", "\n".join(sources)]) + "\n"


def main(
    output: Path = Path("docs/results.md"),
    runs: tuple[Path, ...] = (Path(os.environ.get("PREFJAX_RUNS", "runs")),),
) -> None:
    """Write the page.

    Args:
        output: Where to.
        runs: Folders of run folders.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page(list(runs)))
    print(output)
