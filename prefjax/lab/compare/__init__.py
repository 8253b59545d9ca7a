"""Many families on many sets of people under one protocol, cell by cell.

    plan = Plan(families=("bradley-terry", "pref"), datasets=("attributes",), seeds=(0, 1))
    check(plan)
    cells = run_cells(plan, folder)            # goes on where it was stopped
    rows = tidy_rows(cells, plan.num_answers)  # for `runs.tidy` and `plots`
    text = report(rows, cells, number=20)

A new family is one line of `prefjax.families.REGISTRY`, a new set one line of ``SOURCES``.
"""

from prefjax.lab.compare._measure import CONTROLS, as_given, choose, measure, with_factors
from prefjax.lab.compare._report import manifest, report
from prefjax.lab.compare.cases import Case, Cases, make_cases
from prefjax.lab.compare.cells import (
    LENGTH_ONLY,
    Plan,
    check,
    run_cells,
    run_families,
    with_earlier,
)
from prefjax.lab.compare.draws import (
    Draw,
    SimulatedPeople,
    Source,
    hold_out_people,
    narrowed,
)
from prefjax.lab.compare.identity import family_digest, source_digest
from prefjax.lab.compare.own import fitting_protocol, make_own, own_set
from prefjax.lab.compare.questions import QUESTIONS
from prefjax.lab.compare.represent import item_block, text_block
from prefjax.lab.compare.scoring import (
    NUM_CANDIDATES,
    Measured,
    fit,
    scores_of,
    states_of,
)
from prefjax.lab.compare.sources import (
    SOURCES,
    attributes,
    encoder_of,
    make_source,
    real,
    shown,
    text_inputs,
)
from prefjax.lab.compare.store import Cell, cell_path, load_cell, save_cell
from prefjax.lab.compare.table import by_person, tidy_rows
from prefjax.lab.planted import Planted, PlantedConfig, make_planted

__all__ = [
    "CONTROLS",
    "LENGTH_ONLY",
    "NUM_CANDIDATES",
    "QUESTIONS",
    "SOURCES",
    "Case",
    "Cases",
    "Cell",
    "Draw",
    "Measured",
    "Plan",
    "Planted",
    "PlantedConfig",
    "SimulatedPeople",
    "Source",
    "as_given",
    "attributes",
    "by_person",
    "cell_path",
    "check",
    "choose",
    "encoder_of",
    "family_digest",
    "fit",
    "fitting_protocol",
    "hold_out_people",
    "item_block",
    "load_cell",
    "make_cases",
    "make_own",
    "make_planted",
    "make_source",
    "manifest",
    "measure",
    "narrowed",
    "own_set",
    "real",
    "report",
    "run_cells",
    "run_families",
    "save_cell",
    "scores_of",
    "shown",
    "source_digest",
    "states_of",
    "text_block",
    "text_inputs",
    "tidy_rows",
    "with_earlier",
    "with_factors",
]
