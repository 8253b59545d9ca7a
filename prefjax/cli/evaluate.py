"""Tells whether personalization pays on your preferences, and how many answers it takes.

Examples:
  prefjax evaluate choices.jsonl
  prefjax evaluate rows.parquet --user annotator --encoder minilm --out evaluation/
  prefjax evaluate choices.jsonl --families pref,bradley-terry,my_package.my_family:FAMILY
  prefjax evaluate polis_bowling_green        (a set of the package, below PREFJAX_DATA)

People are held out, asked about a part of what they judged and scored on the rest. Stopped, it goes
on with the same command. The folder has summary.md, results.parquet and the learning curve,
figure.png.
"""

import argparse
import os
import sys
from pathlib import Path

from prefjax.cli._reading import add_reading, read_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("choices", help="file or folder of preferences, or a set of the package")
    parser.add_argument("--out", metavar="FOLDER", help="results (default: NAME-evaluation)")
    parser.add_argument("--encoder", default="hashed", help="how texts are read (default: hashed)")
    parser.add_argument(
        "--families",
        default="pref,bradley-terry",
        help="the first one decides (default: pref,bradley-terry)",
    )
    parser.add_argument("--draws", type=int, default=5, help="draws of people and items (5)")
    add_reading(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluates and says what was found."""
    from tqdm import tqdm

    from prefjax.data import SETS
    from prefjax.lab.evaluation import describe, evaluate

    sys.path.insert(0, os.getcwd())  # own families lie where the command is called
    if arguments.draws < 1:
        raise ValueError("--draws must be at least 1")
    known = arguments.choices in SETS
    data = arguments.choices if known else read_data(arguments.choices, arguments)
    families = tuple(name for name in arguments.families.split(",") if name)
    folder = Path(arguments.out or f"{data if known else data.name}-evaluation")
    folder.mkdir(parents=True, exist_ok=True)
    total = (len(families) + 1) * arguments.draws  # one control is a family of its own
    with tqdm(total=total, unit="fit", desc="evaluating", file=sys.stderr) as bar:

        def say(line: str) -> None:
            bar.update()
            bar.set_postfix_str(line.rpartition(", ")[2], refresh=False)

        found = evaluate(
            data,
            encoder=arguments.encoder,
            families=families,
            seeds=tuple(range(arguments.draws)),
            folder=folder,
            say=say,
        )
        bar.update(total - bar.n)
    print(describe(found))
    print(f"{folder / 'summary.md'} has the tables, {folder / 'figure.png'} the learning curve.")
