"""Writes the answers of a server's people as a table.

Examples:
  prefjax people people.sqlite answers.parquet
  prefjax people postgresql+psycopg://host/people answers.parquet
  prefjax fit answers.parquet --out model/

One row an answer, in the columns that prefjax fit and prefjax convert read, and when it was given.
Answers about embeddings have no texts and are left out; how many is said. The server may run
meanwhile. Needs the extra "serve".
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("people", help="file that keeps people, or a URL of SQLAlchemy")
    parser.add_argument("output", help=".parquet, .jsonl or .csv")


def run(arguments: argparse.Namespace) -> None:
    """Reads the store and writes the table."""
    import pyarrow as pa

    from prefjax.cli._tables import write_rows
    from prefjax.serve import PeopleStore

    if "://" not in arguments.people and not Path(arguments.people).is_file():
        raise FileNotFoundError(f"there is no file {arguments.people}")
    rows, num_embeddings = [], 0
    with PeopleStore(arguments.people) as store:
        for person, given, answer in store.answers():
            shown = answer["shown"]
            if shown is None or not isinstance(shown["first"], str):
                num_embeddings += 1
                continue
            rows.append(
                {
                    "user": person,
                    "prompt": shown["prompt"] or "",
                    "response_a": shown["first"],
                    "response_b": shown["second"],
                    "label": answer["label"],
                    "was_asked": answer["asked"] is not None,
                    "time": None if given is None else datetime.fromtimestamp(given, UTC),
                }
            )
    texts = ("user", "prompt", "response_a", "response_b")
    schema = pa.schema(
        [(name, pa.string()) for name in texts]
        + [("label", pa.float64()), ("was_asked", pa.bool_()), ("time", pa.timestamp("us", "UTC"))]
    )
    write_rows(pa.Table.from_pylist(rows, schema), arguments.output)
    told = f"{len(rows)} answers of {len({row['user'] for row in rows})} people"
    if num_embeddings:
        told += f"; {num_embeddings} about embeddings are left out"
    print(f"{told} in {arguments.output}.")
