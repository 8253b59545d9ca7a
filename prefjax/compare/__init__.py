"""Many families on many sets of people under one protocol, cell by cell.

    plan = Plan(families=("bradley-terry", "pref"), datasets=("attributes",), seeds=(0, 1))
    check(plan)
    cells = run_cells(plan, folder)            # goes on where it was stopped
    rows = tidy_rows(cells, plan.num_answers)  # for `runs.tidy` and `plots`
    text = report(rows, cells, number=20)

A new family is one line of `prefjax.families.REGISTRY`, a new set one line of ``SOURCES``.
"""

from prefjax.compare.draw import Draw, Source, new_prompts, shared_items
from prefjax.compare.measure import CONTROLS, Cases, Measured, make_cases, measure
from prefjax.compare.report import manifest, report
from prefjax.compare.represent import item_block, text_block
from prefjax.compare.run import METHODS, Plan, check, run_cells
from prefjax.compare.sources import SOURCES, attributes, make_source
from prefjax.compare.store import Cell, load_cell, save_cell
from prefjax.compare.table import tidy_rows

__all__ = [
    "CONTROLS",
    "METHODS",
    "SOURCES",
    "Cases",
    "Cell",
    "Draw",
    "Measured",
    "Plan",
    "Source",
    "attributes",
    "check",
    "item_block",
    "load_cell",
    "make_cases",
    "make_source",
    "manifest",
    "measure",
    "new_prompts",
    "report",
    "run_cells",
    "save_cell",
    "shared_items",
    "text_block",
    "tidy_rows",
]
