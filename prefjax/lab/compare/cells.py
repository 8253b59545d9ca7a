"""All cells of a comparison, one after the other; those that are on disk are not computed again."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np

from prefjax.families import REGISTRY, Family, get_family
from prefjax.lab.compare._measure import CONTROLS, measure, with_factors
from prefjax.lab.compare.cases import Cases, make_cases
from prefjax.lab.compare.draws import MOST_ANSWERS, Source
from prefjax.lab.compare.identity import family_digest, source_digest
from prefjax.lab.compare.questions import QUESTIONS, RECORDED
from prefjax.lab.compare.sources import SOURCES, encoder_of, make_source
from prefjax.lab.compare.store import Cell, cell_path, check_name, load_cell, save_cell
from prefjax.lab.runs import environment

LENGTH_ONLY = "length-only"
"""PReF with one base reward that sees nothing but the number of words."""


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        families: Names for `get_family`; `length-only` is a control and always runs.
        datasets: Names in ``SOURCES``, or of own sets (`prefjax.lab.compare.own`).
        encoders: Names for `get_encoder`.
        seeds: Draws of people, items and noise.
        num_answers: After how many answers new people are scored.
        controls: Which of ``CONTROLS`` to run.
        questions: Rules by which new people are asked; ``random`` are the answers that were
            recorded, the others are for families with Gaussian beliefs over base rewards.
    """

    families: tuple[str, ...] = tuple(REGISTRY)
    datasets: tuple[str, ...] = ("attributes",)
    encoders: tuple[str, ...] = ("hashed",)
    seeds: tuple[int, ...] = tuple(range(10))
    num_answers: tuple[int, ...] = (0, 1, 3, 5, 10, 20, 40)
    controls: tuple[str, ...] = CONTROLS
    questions: tuple[str, ...] = (RECORDED,)


def check(plan: Plan, own: Collection[str] = ()) -> None:
    """Refuse a plan that cannot run.

    Args:
        plan: What is compared.
        own: Names of own sets.

    Raises:
        ValueError: A family, data set, encoder, control or rule is unknown, where the message lists
            the names; or ``random`` or the numbers of answers cannot be measured.
    """
    _families(plan)
    for kind, names, known in (
        ("data set", plan.datasets, (*SOURCES, *own)),
        ("control", plan.controls, CONTROLS),
        ("rule of questions", plan.questions, QUESTIONS),
    ):
        for name in names:
            if name not in known:
                raise ValueError(f"there is no {kind} {name!r}; there are {', '.join(known)}")
    for name in plan.datasets:
        check_name(name)
    if plan.questions[:1] != (RECORDED,):
        raise ValueError(f"questions must begin with {RECORDED!r}; got {plan.questions}")
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


Say: TypeAlias = Callable[[str], None]
Make: TypeAlias = Callable[[str, str, int], Source]


def run_cells(
    plan: Plan, folder: Path, *, say: Say = print, make: Make = make_source
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
    return [
        cell
        for dataset in plan.datasets
        for encoder in plan.encoders
        for cell in _table(plan, folder, dataset, encoder, say, make)
    ]


def with_earlier(
    cells: Sequence[Cell],
    plan: Plan,
    folder: Path,
    *,
    say: Say = print,
    make: Make = make_source,
) -> list[Cell]:
    """Cells of a plan and all others in its folder of the same settings, failed ones too.

    Args:
        cells: From `run_cells`.
        plan: What they were computed for.
        folder: Where finished cells lie.
        say: Told about every cell whose data are no longer what it was computed from.
        make: As in `run_cells`; the data of every other cell are compared with what it gives.

    Returns:
        By data set, encoder (those of the plan first), method and seed.
    """
    named = {cell_path(folder, c.dataset, c.encoder, c.seed, c.method): c for c in cells}
    methods = {**REGISTRY, **_families(plan)}
    names = [*methods, LENGTH_ONLY]
    datasets = list(dict.fromkeys([*SOURCES, *plan.datasets]))
    digests: dict[tuple[str, str, int], str] = {}
    for path in sorted((folder / "cells").glob("*.npz")):
        cell = None if path in named else load_cell(path)
        if cell is None or cell.dataset not in datasets or cell.method not in names:
            continue
        family = methods.get(cell.method) or _family(cell.method)
        if not _same_but_data(cell, _settings(plan, family, "")):
            continue
        place = cell.dataset, cell.encoder, cell.seed
        if place not in digests:
            digests[place] = _try_digest(make, place)
        if digests[place] == cell.about["settings"].get("data"):
            named[path] = cell
        else:
            say(f"{', '.join(map(str, place))}, {cell.method}: left out, of other data")

    def order(cell: Cell) -> tuple:
        encoder = cell.encoder not in plan.encoders, cell.encoder
        return datasets.index(cell.dataset), encoder, names.index(cell.method), cell.seed

    return sorted(named.values(), key=order)


def run_families(
    families: Sequence[str | Family],
    sources: Sequence[Source],
    seeds: Sequence[int],
    num_answers: tuple[int, ...],
    *,
    dataset: str,
    encoder: str = "",
    controls: tuple[str, ...] = (),
    questions: tuple[str, ...] = (RECORDED,),
) -> list[Cell]:
    """The same for sources at hand, without files; what fails is raised.

    Args:
        families: Names in ``REGISTRY``, or families.
        sources: One for each seed, of one shape but for the numbers of rows and people.
        seeds: Seeds of the draws.
        num_answers: After how many answers new people are scored.
        dataset: Name in results.
        encoder: Name in results.
        controls: Which of ``CONTROLS`` to run.
        questions: Rules by which new people are asked.
    """
    cases = make_cases(sources, seeds, controls)
    cells = []
    for family in map(_family, families):
        for seed, source, case in zip(seeds, sources, cases, strict=True):
            key, users = jax.random.key(seed), source.draw.split.new_users
            scores, about = measure(key, family, case, num_answers, controls, questions)
            about = {**about, **_ceiling(source)}
            cells.append(Cell(dataset, encoder, seed, family.name, users, scores, about))
    return cells


def _table(
    plan: Plan, folder: Path, dataset: str, encoder: str, say: Say, make: Make
) -> list[Cell]:
    """The cells of one data set and encoder."""
    commit = environment(Path(__file__).resolve().parent)["commit"]
    try:
        sources = [make(dataset, encoder, seed) for seed in plan.seeds]
        digests = [source_digest(source) for source in sources]
    except (OSError, ValueError, KeyError) as error:
        sources, digests = error, [""] * len(plan.seeds)
    found: list[Cell] = []
    cases: dict[bool, list[Cases]] = {}
    for method, family in {**_families(plan), LENGTH_ONLY: _family(LENGTH_ONLY)}.items():
        is_blind = method == LENGTH_ONLY
        for place, (seed, digest) in enumerate(zip(plan.seeds, digests, strict=True)):
            settings = _settings(plan, family, digest)
            cell = load_cell(cell_path(folder, dataset, encoder, seed, method))
            if cell and "error" not in cell.about and cell.about.get("settings") == settings:
                found.append(cell)
                continue
            if isinstance(sources, Exception):
                users, scores, about = np.zeros(0, int), {}, {"error": _reason(sources)}
            else:
                if is_blind not in cases:
                    views = [blind(source) if is_blind else source for source in sources]
                    cases[is_blind] = make_cases(views, plan.seeds, plan.controls)
                users = sources[place].draw.split.new_users
                scores, about = _attempt(plan, family, seed, cases[is_blind][place])
                about = {**about, **_ceiling(sources[place])}
            about = {"settings": settings, "commit": commit, **about}
            cell = Cell(dataset, encoder, seed, method, users, scores, about)
            save_cell(folder, cell)
            found.append(cell)
            what = about.get("error") or f"{about['seconds']:.1f} s"
            say(f"{dataset}, {encoder}, seed {seed}, {method}: {what}")
    return found


def _attempt(plan: Plan, family: Family, seed: int, cases: Cases) -> tuple[dict, dict[str, Any]]:
    """Scores, or the reason why there are none: one family must not stop the others."""
    began = time.perf_counter()
    try:
        key, numbers = jax.random.key(seed), plan.num_answers
        scores, about = measure(key, family, cases, numbers, plan.controls, plan.questions)
        if np.isnan(scores[plan.questions[0], ""].auc).all():
            return {}, {"error": "every AUC is NaN"}
    except Exception as error:
        return {}, {"error": _reason(error)}
    return scores, {"seconds": time.perf_counter() - began, **about}


def _ceiling(source: Source) -> dict[str, float]:
    """Accuracy of a perfect model; nothing where it is not known."""
    return {} if np.isnan(source.ceiling) else {"ceiling": source.ceiling}


def _reason(error: Any) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _family(method: str | Family) -> Family:
    if isinstance(method, Family):
        return method
    return with_factors("pref", 1) if method == LENGTH_ONLY else get_family(method)


def _families(plan: Plan) -> dict[str, Family]:
    """The families of a plan by the name that they have in results."""
    families = [get_family(name) for name in plan.families]
    return {family.name: family for family in families}


def _settings(plan: Plan, family: Family, data: str) -> dict[str, Any]:
    """What a cell depends on beside its name."""
    return {
        "num_answers": list(plan.num_answers),
        "controls": list(plan.controls),
        "questions": list(plan.questions),
        "config_grid": [repr(config) for config in family.config_grid(family.config)],
        "code": family_digest(family),
        "data": data,
    }


def _same_but_data(cell: Cell, settings: Mapping[str, Any]) -> bool:
    own = cell.about.get("settings")
    return isinstance(own, Mapping) and {**own, "data": ""} == settings


def _try_digest(make: Make, place: tuple[str, str, int]) -> str:
    """Digest of the data as they are now; empty, as in a failed cell, if there are none."""
    try:
        return source_digest(make(*place))
    except (OSError, ValueError, KeyError):
        return ""
