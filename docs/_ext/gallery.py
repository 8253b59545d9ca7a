"""Figures of finished runs for the gallery page: of a run at hand, or the committed picture.

``docs/figures.py`` makes the committed ones. A few that take seconds are run where neither is.
"""

import importlib
import json
import os
import tempfile
from pathlib import Path

from IPython.display import Image, Markdown, display

ROOT = Path(__file__).parent.parent.parent
COMMITTED = ROOT / "docs" / "_static" / "gallery"
CHEAP = ("fig9_scree", "fig11_per_user")
"""Experiments whose preset ``smoke`` takes seconds."""


def newest(name: str, root: Path) -> Path | None:
    """The newest finished run of an experiment; a smoke run only where there is no other."""
    found = sorted(path.parent for path in (root / name).glob("*/results.parquet"))
    larger = [path for path in found if "smoke" not in path.name]
    return (larger or found or [None])[-1]


def show(name: str) -> None:
    """Shows the figure of the newest run of an experiment, and says which run it was.

    Args:
        name: Of a module in ``experiments``.
    """
    from prefjax.lab import runs

    folder = newest(name, Path(os.environ.get("PREFJAX_RUNS", ROOT / "runs")))
    kept_runs = json.loads((COMMITTED / "runs.json").read_text(encoding="utf-8"))
    if folder is None and name in kept_runs:
        _display(COMMITTED / f"{name}.png", name, kept_runs[name])
        return
    if folder is None and name in CHEAP:
        module = importlib.import_module(f"experiments.{name}")
        kept = os.environ.get("PREFJAX_RUNS")
        os.environ["PREFJAX_RUNS"] = tempfile.mkdtemp()
        try:
            folder = runs.main(module.PRESETS, module.run, module.plot, ["smoke"])
        finally:
            os.environ.pop("PREFJAX_RUNS")
            if kept is not None:
                os.environ["PREFJAX_RUNS"] = kept
    if folder is None:
        display(Markdown("*No run was at hand when this page was built; the command makes one.*"))
        return
    picture = folder / "figure.png"
    if not picture.is_file():
        runs.draw(folder)
    _display(picture, name, folder.name)


def _display(picture: Path, name: str, run: str) -> None:
    display(Image(picture, width=640, alt=f"Figure of {name}"))
    display(Markdown(f"*Drawn from the run* `{run}` (time, preset, commit)."))
