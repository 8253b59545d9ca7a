"""Converts preferences from any layout that is known to another.

Examples:
  prefjax convert annotations.json choices.jsonl
  prefjax convert choices.jsonl rows.parquet --to trl
  prefjax convert rows.parquet choices.csv --user annotator --column prompt=question

The suffixes say which kind of file is read and written; what becomes of ties and soft labels is
said.
"""

import argparse

from prefjax.cli._reading import add_reading, read_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("input", help="file or folder of preferences")
    parser.add_argument("output", help=".jsonl, .json, .csv or .parquet")
    parser.add_argument("--to", default="columns", metavar="LAYOUT", help="layout to write")
    parser.add_argument(
        "--soft-labels",
        default="threshold",
        choices=("drop", "threshold", "weights"),
        help="what becomes of labels between 0 and 1 where the layout has no word for them",
    )
    add_reading(parser)


def run(arguments: argparse.Namespace) -> None:
    """Reads and writes."""
    from prefjax.data import write

    data = read_data(arguments.input, arguments)
    done = write(data, arguments.output, arguments.to, soft_labels=arguments.soft_labels)
    print(f"{arguments.output}: {done.line}")
