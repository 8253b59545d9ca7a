"""All cells of a comparison, one after the other; those that are on disk are not computed again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from prefjax.families import REGISTRY, Family, get_family
from prefjax.lab.compare._measure import CONTROLS, make_cases, measure
from prefjax.lab.compare.draws import MOST_ANSWERS, Source
from prefjax.lab.compare.sources import SOURCES, encoder_of, make_source
from prefjax.lab.compare.store import Cell, cell_path, load_cell, save_cell
from prefjax.lab.runs import environment

LENGTH_ONLY = "length-only"
"""Bradley–Terry that sees nothing but the number of words."""


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        families: Names in ``REGISTRY``; `length-only` is a control and always runs.
        datasets: Names in ``SOURCES``.
        encoders: Names for `get_encoder`.
        seeds: Draws of people, items and noise.
        num_answers: After how many answers new people are scored.
        controls: Which of ``CONTROLS`` to run.
    """

    families: tuple[str, ...] = tuple(REGISTRY)
    datasets: tuple[str, ...] = ("attributes",)
    encoders: tuple[str, ...] = ("hashed",)
    seeds: tuple[int, ...] = tuple(range(10))
    num_answers: tuple[int, ...] = (0, 1, 3, 5, 10, 20, 40)
    controls: tuple[str, ...] = CONTROLS


def check(plan: Plan) -> None:
    """Refuse a plan that cannot run.

    Raises:
        ValueError: A family, data set, encoder or control is unknown, where the message lists the
            names; or the numbers of answers cannot be measured.
    """
    for name in plan.families:
        get_family(name)
    for name in plan.datasets:
        if name not in SOURCES:
            raise ValueError(f"there is no data set {name!r}; there are {', '.join(SOURCES)}")
    for name in plan.controls:
        if name not in CONTROLS:
            raise ValueError(f"there is no control {name!r}; there are {', '.join(CONTROLS)}")
    for name in plan.encoders:
        encoder_of(name)
    numbers = list(plan.num_answers)
    if numbers[:1] != [0] or numbers != sorted(set(numbers)) or numbers[-1] > MOST_ANSWERS:
        raise ValueError(
            f"num_answers must begin at 0, which is the population, and rise to at most "
            f"{MOST_ANSWERS}, which is what new people are asked; got {plan.num_answers}"
        )


def blind(source: Source) -> Source:
    """The same draws where all that is seen of a response is its length."""
    seen = source.length.astype(np.float32)
    return source._replace(
        draw=source.draw._replace(embeddings=seen),
        inner=source.inner._replace(embeddings=seen),
        embed=None,
    )


def run_cells(
    plan: Plan, folder: Path, *, say: Callable[[str], None] = print, make: Callable = make_source
) -> list[Cell]:
    """Every cell of a plan, in the order of data sets, encoders, methods and seeds.

    Args:
        plan: What is compared, checked.
        folder: Where finished cells lie.
        say: Told about every cell that is computed.
        make: ``make(dataset, encoder, seed)`` gives a `Source`.

    Returns:
        The cells, those that failed with the reason.
    """
    cells = []
    for dataset in plan.datasets:
        for encoder in plan.encoders:
            cells += _table(plan, folder, dataset, encoder, say, make)
    return cells


def with_earlier(cells: Sequence[Cell], plan: Plan, folder: Path) -> list[Cell]:
    """Cells of a plan and all others in its folder of the same settings, failed ones too.

    Args:
        cells: From `run_cells`.
        plan: What they were computed for.
        folder: Where finished cells lie.

    Returns:
        By data set, encoder (those of the plan first), method and seed.
    """
    named = {cell_path(folder, c.dataset, c.encoder, c.seed, c.method): c for c in cells}
    for path in sorted((folder / "cells").glob("*.npz")):
        cell = None if path in named else load_cell(path)
        if cell and _is_known(cell) and _has_settings(cell, plan):
            named[path] = cell
    methods, datasets = [*REGISTRY, LENGTH_ONLY], list(SOURCES)

    def place(cell: Cell) -> tuple:
        encoder = cell.encoder not in plan.encoders, cell.encoder
        return datasets.index(cell.dataset), encoder, methods.index(cell.method), cell.seed

    return sorted(named.values(), key=place)


def run_families(
    families: Sequence[str],
    sources: Sequence[Source],
    seeds: Sequence[int],
    num_answers: tuple[int, ...],
    *,
    dataset: str,
    encoder: str = "",
    controls: tuple[str, ...] = (),
) -> list[Cell]:
    """The same for sources at hand, without files; what fails is raised.

    Args:
        families: Names in ``REGISTRY``.
        sources: One for each seed, of one shape but for the numbers of rows and people.
        seeds: Of the draws.
        num_answers: After how many answers new people are scored.
        dataset: Name in results.
        encoder: Name in results.
        controls: Which of ``CONTROLS`` to run.
    """
    cases = make_cases(list(sources), list(seeds))
    cells = []
    for name in families:
        for seed, source, case in zip(seeds, sources, cases, strict=True):
            key = jax.random.key(seed)
            scores, kept = measure(key, get_family(name), case, num_answers, controls)
            cells.append(
                Cell(dataset, encoder, seed, name, source.draw.split.new_users, scores, kept)
            )
    return cells


def _table(
    plan: Plan, folder: Path, dataset: str, encoder: str, say: Callable, make: Callable
) -> list[Cell]:
    """The cells of one data set and encoder."""
    commit = environment(Path(__file__).resolve().parent)["commit"]
    methods = [*plan.families, LENGTH_ONLY]
    found = {}
    for method in methods:
        for seed in plan.seeds:
            cell = load_cell(cell_path(folder, dataset, encoder, seed, method))
            if cell and "error" not in cell.about and _has_settings(cell, plan):
                found[method, seed] = cell
    missing = [method for method in methods if any((method, s) not in found for s in plan.seeds)]
    if missing:
        try:
            sources = [make(dataset, encoder, seed) for seed in plan.seeds]
        except (OSError, ValueError, KeyError) as error:
            sources = error
        for blinded in (False, True):
            some = [name for name in missing if (name == LENGTH_ONLY) == blinded]
            cases = None
            if some and not isinstance(sources, Exception):
                seen = [blind(source) for source in sources] if blinded else sources
                cases = make_cases(seen, list(plan.seeds))
            for method in some:
                family = _family(method)
                for place, seed in enumerate(plan.seeds):
                    if (method, seed) in found:
                        continue
                    about = {"settings": _settings(plan, family), "commit": commit}
                    if cases is None or isinstance(sources, Exception):
                        users, scores, kept = np.zeros(0, int), {}, {"error": _reason(sources)}
                    else:
                        users = sources[place].draw.split.new_users
                        scores, kept = _attempt(plan, family, seed, cases[place])
                    cell = Cell(dataset, encoder, seed, method, users, scores, about | kept)
                    save_cell(folder, cell)
                    found[method, seed] = cell
                    what = kept.get("error") or f"{kept['seconds']:.1f} s"
                    say(f"{dataset}, {encoder}, seed {seed}, {method}: {what}")
    return [found[method, seed] for method in methods for seed in plan.seeds]


def _attempt(plan: Plan, family: Family, seed: int, cases: Any):
    """Scores, or the reason why there are none: one family must not stop the others."""
    began = time.perf_counter()
    try:
        key = jax.random.key(seed)
        scores, kept = measure(key, family, cases, plan.num_answers, plan.controls)
        own = scores[""].auc
        if np.isnan(own).all():
            return {}, {"error": "every AUC is NaN"}
    except Exception as error:
        return {}, {"error": _reason(error)}
    return scores, {"seconds": time.perf_counter() - began, **kept}


def _reason(error: Any) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _family(method: str) -> Family:
    return get_family("bradley-terry" if method == LENGTH_ONLY else method)


def _settings(plan: Plan, family: Family) -> dict[str, Any]:
    """What a cell depends on beside its name."""
    return {
        "num_answers": list(plan.num_answers),
        "controls": list(plan.controls),
        "config_grid": [repr(trial) for trial in family.config_grid(family.config)],
    }


def _is_known(cell: Cell) -> bool:
    return cell.dataset in SOURCES and cell.method in (*REGISTRY, LENGTH_ONLY)


def _has_settings(cell: Cell, plan: Plan) -> bool:
    return cell.about.get("settings") == _settings(plan, _family(cell.method))
