"""All families on the two sets of PersonalRewardBench, beside the published accuracies.

    python -m experiments.personal_reward_bench planted   # a simulated copy in the same schema
    python -m experiments.personal_reward_bench smoke     # both sets, three families, one draw
    python -m experiments.personal_reward_bench paper     # both sets, all families, five draws

The sets are read below ``PREFJAX_DATA`` (`prefjax.data.sets.personal_reward_bench` says which
files, docs/howto/public_data.md where they are); ``planted`` writes simulated people and texts in
their schema into a folder of its own and reads these instead, so that what runs is what runs on the
sets. The published split is kept: people are asked in its training part and scored on its test
part. A part of the people is held out as new, which the publication does not do: its personal
models have seen everybody.

Controls: another person's answers, shuffled users, shuffled labels, reversed answers, length only.
Published accuracies (percent; models of 8 billion parameters, no intervals) stand beside: there
every personal family but P-GenRM is *below* Bradley–Terry. Embeddings here are frozen, so the
difference to each paper's own Bradley–Terry can be compared, the level cannot.

``planted`` shows that the way is open, not which family is better: with 16 new people an interval
of accuracy is ± .1 (Bradley–Terry .568, MRM .571 and P-TTT .552 after 20 answers). Of the sets
nothing is known yet: they have not been at hand.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from prefjax.data import SETS
from prefjax.data.attributes import World, WorldConfig, make_world
from prefjax.data.sets.personal_reward_bench import PUBLISHED
from prefjax.families import REGISTRY
from prefjax.lab import compare, plots, runs
from prefjax.lab import row as row_of
from prefjax.lab.compare import CONTROLS

METHODS: Mapping[str, str] = {"Bradley–Terry": "bradley-terry", "VPL": "vpl", "PAL": "pal-a"}
"""Published methods by the name of the family here that stands for them."""


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        families: Names for `get_family`, Bradley–Terry among them.
        datasets: Which of the two sets.
        encoder: Specification of the encoder.
        num_draws: Draws of the people who are new.
        num_answers: After how many answers.
        controls: Which of the controls.
        planted: Read a simulated copy in the same schema instead of the sets.
    """

    families: tuple[str, ...] = tuple(REGISTRY)
    datasets: tuple[str, ...] = tuple(PUBLISHED)
    encoder: str = "hashed"
    num_draws: int = 5
    num_answers: tuple[int, ...] = (0, 1, 3, 5, 10, 20)
    controls: tuple[str, ...] = CONTROLS
    planted: bool = False


FEW = ("bradley-terry", "pref", "p-ttt", "mrm", "temperature")
PRESETS = {
    "planted": Config(
        families=FEW,
        num_draws=1,
        num_answers=(0, 5, 20),
        controls=("wrong-user", "reversed-answers"),
        planted=True,
    ),
    "smoke": Config(families=FEW, num_draws=1),
    "paper": Config(),
}
WORLD = WorldConfig(num_users=80, pairs_per_user=60)


def write_copy(world: World, folder: Path) -> None:
    """Writes a simulated world as the sets are written: one JSON line for each choice.

    Args:
        world: Texts, people and choices; ties are left out, as the sets have none.
        folder: Where ``data.jsonl`` appears.
    """
    data = world.dataset
    rows, lines = data.comparisons, []
    for index in range(len(rows.user)):
        label = float(rows.label[index])
        if label == 0.5:
            continue
        pair = [int(rows.first[index]), int(rows.second[index])]
        chosen, rejected = pair if label > 0.5 else pair[::-1]
        prompt = int(data.prompt_index[pair[0]])
        said = [{"role": "model", "content": data.responses[one]} for one in (chosen, rejected)]
        lines.append(
            {
                "conversation_id": f"talk {prompt}",
                "user_id": data.users[int(rows.user[index])],
                "context": [{"role": "user", "content": data.prompts[prompt]}],
                "chosen": said[0],
                "rejected": said[1],
                "turns": 1,
                "split": "test" if world.test_prompt[prompt] else "train",
                "flip": bool(label < 0.5),
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def measured(config: Config, folder: Path | None) -> list[compare.Cell]:
    """The cells of all sets, read below a folder, or below ``PREFJAX_DATA``."""
    cells: list[compare.Cell] = []
    for name in config.datasets:
        seeds = range(config.num_draws)
        at = None if folder is None else folder / name
        sources = [compare.real(SETS[name], config.encoder, seed, at) for seed in seeds]
        cells += compare.run_families(
            config.families,
            sources,
            seeds,
            config.num_answers,
            dataset=name if folder is None else f"{name}-planted",
            encoder=config.encoder,
            controls=config.controls,
        )
    return cells


def published_rows(datasets: Sequence[str]) -> list[dict[str, Any]]:
    """The published accuracies as rows of the control ``published``."""
    return [
        row_of(method, name, "accuracy", percent / 100, control="published")
        for name in datasets
        for method, percent in PUBLISHED[name].items()
    ]


def beside(rows: Sequence[Mapping[str, Any]], config: Config, number: int) -> str:
    """Accuracy of every family beside the published one, each less its own Bradley–Terry."""
    lines = []
    for name in config.datasets:
        own = {
            row["method"]: row["value"]
            for row in rows
            if row["dataset"].removesuffix("-planted") == name
            and row["metric"] == "accuracy"
            and row["control"] is None
            and row["num_answers"] == number
        }
        theirs = {METHODS.get(method, method): value for method, value in PUBLISHED[name].items()}
        lines += [
            f"## {name}, accuracy after {number} answers, and less that of Bradley–Terry",
            "| method | here | less | published | less |",
            "|---|---|---|---|---|",
        ]
        base = own.get("bradley-terry", np.nan), theirs["bradley-terry"]
        for method in dict.fromkeys([*own, *theirs]):
            here, there = own.get(method), theirs.get(method)
            shown = ["–", "–"] if here is None else [f"{here:.3f}", f"{here - base[0]:+.3f}"]
            known = ["–", "–"]
            if there is not None:
                known = [f"{there / 100:.3f}", f"{(there - base[1]) / 100:+.3f}"]
            lines.append(f"| {method} | {' | '.join([*shown, *known])} |")
    return "\n".join(lines)


def run(config: Config) -> runs.Result:
    """The comparison, with the published numbers beside."""
    if config.planted:
        with TemporaryDirectory() as scratch:
            for seed, name in enumerate(config.datasets):
                write_copy(make_world(WORLD, seed), Path(scratch) / name)
            cells = measured(config, Path(scratch))
    else:
        missing = [
            name
            for name in config.datasets
            if not (Path(os.environ.get("PREFJAX_DATA", ".")) / name).is_dir()
        ]
        if missing:
            raise SystemExit(
                f"{', '.join(missing)}: not below PREFJAX_DATA; docs/howto/public_data.md says "
                "where to get them, `python -m prefjax.data prepare` where to put them; `planted` "
                "needs none"
            )
        cells = measured(config, None)
    rows = compare.tidy_rows(cells, config.num_answers)
    number = max(config.num_answers)
    words = "\n\n".join([beside(rows, config, number), compare.report(rows, cells, number)])
    if config.planted:
        words = (
            f"The people and the texts are simulated; what is published is of people.\n\n{words}"
        )
    return runs.Result(rows=[*rows, *published_rows(config.datasets)], summary=words)


def plot(result: runs.Result) -> Figure:
    """Accuracy against the number of answers, without controls."""
    table = result.table
    own = [control is None for control in table["control"].to_pylist()]
    return plots.learning_curves(table.filter(own), metric="accuracy")


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
