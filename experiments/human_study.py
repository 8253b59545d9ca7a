"""A study with people that was held, in the paper's numbers and beside them.

    python -m experiments.human_study paper --export OUT    # of `prefjax.study report FOLDER OUT`
    python -m experiments.human_study smoke                 # 6 simulated people, through the engine

Question: is what is chosen for a person preferred to the default, and how much of that is the
person? Win rate by arm over the default, no preference ½, with Student's t intervals over people;
the difference of the personal arm and somebody else's, paired by person, is the control: it is zero
if everybody likes the same. The paper's study has the personal arm alone: 28 people, 15 + 15
questions, 67 % [57.4, 76.6].

References:
    arXiv 2503.06358, section 5.2, appendix D and Fig. 10.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from prefjax.lab import runs
from prefjax.metrics import Interval
from prefjax.study import Materials, StudyEngine
from prefjax.study._export import StudyExport, config_of, export, read_export
from prefjax.study.analysis import Analysis, analyze
from prefjax.study.design import ARMS
from prefjax.study.example import ExampleConfig, make_example
from prefjax.study.materials import read_materials
from prefjax.study.simulation import make_people, take_part

PAPER = Interval(*(np.asarray(value) for value in (0.67, 0.574, 0.766, 28)))
"""Win rate of the paper's study with its interval and its number of people."""


@dataclass(frozen=True)
class Config:
    """What is read.

    Attributes:
        export: Folder of an export; empty to let simulated people take part in the example.
        num_people: Simulated people, where there is no export.
        seed: Of these.
    """

    export: str = ""
    num_people: int = 6
    seed: int = 0


PRESETS = {"smoke": Config(), "paper": Config(export="export", num_people=0)}


def simulate(config: Config) -> StudyExport:
    """Simulated people take part in the example study, without pages."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "study"
        make_example(folder, seed=config.seed, config=ExampleConfig())
        materials: Materials = read_materials(folder)
        rng = np.random.default_rng(config.seed)
        people = make_people(config.num_people, materials.responses, rng)
        engine = StudyEngine(materials, folder / "data")
        engine.warm()
        for user in range(config.num_people):
            take_part(engine, people, user, rng)
        export(materials, engine.store, Path(name) / "export")
        engine.close()
        return read_export(Path(name) / "export")


def run(config: Config) -> runs.Result:
    """Numbers of an export beside the paper's.

    Args:
        config: Which export.

    Raises:
        FileNotFoundError: There is no such export.
        ValueError: Nobody has finished.
    """
    is_simulated = not config.export
    study = simulate(config) if is_simulated else read_export(config.export)
    settings = config_of(study.study)
    is_simulated |= settings.simulated
    found = analyze(study, settings.power)
    name = "study (simulated)" if is_simulated else "study"
    answers = settings.phases.num_adaptive
    rows = [_row("paper", "people, arXiv 2503.06358", 15, "win_rate", PAPER)]
    rows += [
        _row(arm, name, answers, "win_rate", interval) for arm, interval in found.win_rate.items()
    ]
    rows += [
        _row(arms, name, answers, "win_rate_difference", interval)
        for arms, interval in found.difference.items()
    ]
    rows += [
        _row("belief", name, n, "choices_predicted", Interval(*(part[n] for part in curve)))
        for curve in [tuple(map(np.asarray, found.accuracy))]
        for n in range(len(curve[0]))
    ]
    return runs.Result(
        rows=rows, arrays={"by_person": found.by_person}, summary=_summary(found, is_simulated)
    )


def _row(method: str, dataset: str, answers: int, metric: str, interval: Interval) -> dict:
    value, low, high = (float(part) for part in interval[:3])
    return {
        "method": method,
        "dataset": dataset,
        "num_answers": answers,
        "metric": metric,
        "value": value,
        "low": low,
        "high": high,
    }


def _summary(found: Analysis, is_simulated: bool) -> str:
    def shown(interval: Interval) -> str:
        value, low, high = (100 * float(part) for part in interval[:3])
        return f"{value:.1f} % [{low:.1f}, {high:.1f}]"

    lines = [
        f"paper, personal arm: {shown(PAPER)}, {int(PAPER.num)} people",
        *(
            f"this study, {arm} arm: {shown(interval)}, {int(interval.num)} people"
            for arm, interval in found.win_rate.items()
        ),
        *(
            f"{arms}: {100 * float(value):+.1f} points [{100 * float(low):+.1f}, "
            f"{100 * float(high):+.1f}]"
            for arms, (value, low, high, _) in found.difference.items()
        ),
    ]
    if is_simulated:
        lines.append("No person took part: people and responses are simulated.")
    return "\n".join(lines)


def plot(result: runs.Result) -> Figure:
    """Histogram of people's win rates in the personal arm, as in the paper's Fig. 10."""
    rates = np.asarray(result.arrays["by_person"])[ARMS.index("personal")]
    figure = Figure(figsize=(3.9, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.hist(rates[~np.isnan(rates)], np.linspace(0, 1, 11).tolist(), rwidth=0.92)
    axes.axvline(0.5, color="#999999", lw=0.8)
    axes.axvline(float(PAPER.value), color="#D55E00", lw=1, ls="--", label="mean of the paper")
    axes.set_xlabel("win rate of a person over the default")
    axes.set_ylabel("people")
    axes.legend()
    return figure


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
