"""Which personal reward model is best, on whom, after how many answers?

    python -m experiments.compare --list
    python -m experiments.compare smoke                       # three families, two seeds
    python -m experiments.compare paper                       # Attributes, ten seeds
    python -m experiments.compare real                        # five sets of real people
    python -m experiments.compare paper --families pref vpl --seeds 0 1 2 --folder runs/compare/mine
    python -m experiments.compare --data my.jsonl --encoder minilm \
        --families pref,bradley-terry,my_package.my_family:FAMILY

``--data`` compares on preferences of your own, whatever `prefjax.data.read` reads, and
``package.module:ATTRIBUTE`` is a family of your own (`prefjax.families.contract` says what it has
to do; ``prefjax.lab.check_family(FAMILY)`` whether it does).

Any families × data sets × encoders × seeds × numbers of answers. New people answer about one part
of the questions and are scored on another; settings are chosen among at most eight on held-out
training people, the strongest that cannot be told from the best; the controls (another's answers,
shuffled users, shuffled labels, length only) run by default. The folder holds one file for each
finished cell, so a comparison that was stopped goes on with the same command, and more families or
seeds cost only themselves and are reported beside what is there. It is a run folder as well:
``results.parquet``, ``manifest.json``, ``summary.md``, ``figure.png``.

Expected of ``paper`` (11 minutes of one core, 1.6 GB), AUC after 20 answers, ± .02: PReF .749, GPM
.738, PReF as published .747, LoRe .719, P-RLHF .708, PAL-A .705, per-user .689, clusters .646,
PAL-B .643, VPL .621, MiCRo .522, Bradley–Terry .518; PReF's gain over its own population is +.218
[+.193, +.243], and with shuffled users every family's gain has an interval that covers 0.

Several encoders are compared with the first of them, person by person. A language model reads a few
hundred tokens a second, so there is a smaller world for it:

    python -m experiments.compare paper --families pref --datasets attributes-small \
        --encoders hashed hashed+smollm2 --seeds 0 1 2 --num-answers 0 20 --controls

The model then reads 130,000 tokens once, some ten minutes of a free core. Expected after 20 answers
(51 people): .726 ± .033 with both, +.029 [+.013, +.045] over hashed alone; +.204 [+.162, +.247]
over the population.

Expected of ``real`` (some three hours of one core, 6 GB): PReF's gain over its own population
after 20 answers is +.065 [+.059, +.072] on Polis (to .813), +.006 [+.005, +.008] on Jester (.691),
+.006 [+.002, +.009] on DICES-350 (.825), and on Value Portrait (.684) and UKPConvArg (.869) 0 to
three digits; slopes of calibration after 5 and 20 answers are 1.06 and 1.06 on Polis, .98 and .95
on Jester, 1.05 and 1.07 on DICES-350. Of the other families, no one is above .696 on Jester or
above PReF on another set by more than .001; PAL-A and GPM lose to Bradley–Terry on Jester, Value
Portrait and UKPConvArg, PAL-B on all but Polis. Shuffled users gain nothing with any family but
per-user, whose own population is constant, and, by .0007, with PReF as published on Value Portrait;
those of PReF lose .003 [.001, .004] on Polis. These numbers are without the options p-ttt, mrm,
temperature and flip-noise: on three draws p-ttt gains +.050 [+.042, +.058] on Polis, mrm +.033
[+.027, +.038], and on the others at most .003 (docs/explanation/families.md).
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pyarrow.compute as pc
import tyro
from matplotlib.figure import Figure

from prefjax.data import DATASETS, NamedSet
from prefjax.encoders.named import NAMES
from prefjax.families import REGISTRY
from prefjax.lab import plots, runs
from prefjax.lab.compare import (
    CONTROLS,
    LENGTH_ONLY,
    SOURCES,
    Plan,
    check,
    make_own,
    manifest,
    own_set,
    report,
    run_cells,
    tidy_rows,
    with_earlier,
)
from prefjax.parallel import use_compilation_cache


@dataclass(frozen=True)
class Config:
    """What is compared, and where it is kept.

    Attributes:
        plan: Families, data sets, encoders, seeds, numbers of answers, controls.
        folder: Where cells and results lie; ``runs/compare/<preset>`` if None.
        number: The number of answers at which differences are shown, or the nearest below it that
            is measured.
        data: Files of your own, compared on instead of the data sets of the plan.
    """

    plan: tyro.conf.OmitArgPrefixes[Plan] = field(default_factory=Plan)
    folder: Path | None = None
    number: int = 20
    data: tuple[Path, ...] = ()


OWN = "own"
"""The preset that ``--data`` alone means."""
PRESETS = {
    "smoke": Config(
        Plan(families=("bradley-terry", "pref-map", "lore"), seeds=(0, 1), num_answers=(0, 5, 20))
    ),
    "paper": Config(Plan()),
    "real": Config(Plan(datasets=tuple(DATASETS), seeds=(0, 1, 2, 3, 4))),
    OWN: Config(Plan(families=("bradley-terry", "pref"), datasets=(), seeds=(0, 1, 2))),
}


def listing() -> str:
    """What can be compared; length only is a control that always runs."""
    kinds = {
        "families": REGISTRY,
        "data sets": SOURCES,
        "encoders": NAMES,
        "controls": (*CONTROLS, LENGTH_ONLY),
    }
    return "\n".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())


def with_own(config: Config) -> tuple[Config, Mapping[str, NamedSet]]:
    """The configuration with the sets of ``data`` in its plan, and those sets by name.

    Raises:
        ValueError: A file cannot be read, or does not say enough of enough people.
    """
    own = {record.name: record for record in map(own_set, config.data)}
    families = tuple(name for names in config.plan.families for name in names.split(",") if name)
    datasets = tuple(own) or config.plan.datasets
    plan = replace(config.plan, families=families, datasets=datasets)
    return replace(config, plan=plan), own


def compare(
    config: Config, folder: Path, own: Mapping[str, NamedSet] = MappingProxyType({})
) -> runs.Result:
    """Computes what is missing and sums everything up."""
    began = time.perf_counter()
    make = partial(make_own, own)
    cells = run_cells(config.plan, folder, say=lambda line: print(line, flush=True), make=make)
    cells = with_earlier(cells, config.plan, folder, make=make)
    rows = tidy_rows(cells, config.plan.num_answers)
    runs.write_json(folder / "manifest.json", manifest(cells))
    cost = {
        "event": "finished",
        "seconds": round(time.perf_counter() - began, 1),
        "cell_seconds": round(sum(cell.about.get("seconds", 0.0) for cell in cells), 1),
        "peak_memory_mib": runs.peak_memory_mib(),
    }
    number = max(n for n in config.plan.num_answers if n <= config.number)
    return runs.Result(rows=rows, summary=report(rows, cells, number), metrics=[cost])


def plot(result: runs.Result) -> Figure:
    """AUC against the number of answers, one panel a set; the first encoder, without controls."""
    table = result.table
    first = table["encoder"][0].as_py()
    chosen = (pc.field("encoder") == first) & pc.field("control").is_null()
    return plots.learning_curves(table.filter(chosen))


def main(argv: Sequence[str] | None = None) -> Path | None:
    """Command line; the last line printed is the folder."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if "--list" in argv:
        print(listing())
        return None
    argv = ["--encoders" if word == "--encoder" else word for word in argv]
    if "--data" in argv and not set(argv) & set(PRESETS):
        argv.insert(0, OWN)
    config = tyro.extras.overridable_config_cli(
        {name: (f"The {name} preset.", preset) for name, preset in PRESETS.items()},
        args=argv,
        prog="python -m experiments.compare",
    )
    preset = next(name for name in argv if name in PRESETS)
    use_compilation_cache()
    try:
        config, own = with_own(config)
        check(config.plan, own)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise SystemExit(str(error)) from error
    folder = config.folder or Path("runs") / "compare" / preset
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"experiment": "experiments.compare", "preset": preset, "config": config}
    runs.write_json(folder / "config.json", settings)
    runs.write_json(folder / "env.json", runs.environment(Path(__file__).resolve().parent))
    result = compare(config, folder, own)
    runs.save(folder, result)
    print(result.summary)
    if not result.rows:
        raise SystemExit(f"No cell could be computed; {folder / 'summary.md'} has the reasons.")
    runs.draw(folder, plot)
    print(folder)
    return folder


if __name__ == "__main__":
    main()
