"""Many families on many sets of people under one protocol, cell by cell.

    plan = Plan(families=("bradley-terry", "pref"), datasets=("attributes",), seeds=(0, 1))
    check(plan)
    cells = run_cells(plan, folder)            # goes on where it was stopped
    rows = tidy_rows(cells, plan.num_answers)  # for `runs.tidy` and `plots`
    text = report(rows, cells, number=20)

A new family is one line of `prefjax.families.REGISTRY`, a new set one line of ``SOURCES``.
"""

from prefjax.lab.compare._measure import (
    CONTROLS,
    Case,
    Cases,
    Measured,
    choose,
    make_cases,
    measure,
    programs,
    scores_of,
)
from prefjax.lab.compare._report import manifest, report
from prefjax.lab.compare.cells import (
    LENGTH_ONLY,
    Plan,
    check,
    run_cells,
    run_families,
    with_earlier,
)
from prefjax.lab.compare.draws import Draw, Source, hold_out_people
from prefjax.lab.compare.represent import item_block, text_block
from prefjax.lab.compare.sources import SOURCES, attributes, make_source
from prefjax.lab.compare.store import Cell, load_cell, save_cell
from prefjax.lab.compare.table import tidy_rows
from prefjax.lab.planted import Planted, PlantedConfig, make_planted

__all__ = [
    "CONTROLS",
    "LENGTH_ONLY",
    "SOURCES",
    "Case",
    "Cases",
    "Cell",
    "Draw",
    "Measured",
    "Plan",
    "Planted",
    "PlantedConfig",
    "Source",
    "attributes",
    "check",
    "choose",
    "hold_out_people",
    "item_block",
    "load_cell",
    "make_cases",
    "make_planted",
    "make_source",
    "manifest",
    "measure",
    "programs",
    "report",
    "run_cells",
    "run_families",
    "save_cell",
    "scores_of",
    "text_block",
    "tidy_rows",
    "with_earlier",
]
