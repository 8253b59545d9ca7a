"""Adds a column of rewards to a table of responses.

Examples:
  prefjax score model/ in.parquet out.parquet
  prefjax score model/ in.jsonl out.jsonl --person ann.json
  prefjax score model/ in.parquet out.parquet --user-column annotator

The table has a column response and, where there are prompts, prompt. With --user-column every row
is scored for its user: one of the training data, or somebody unknown, for whom it is scored as for
the population. The new columns are reward and reward_std, its standard deviation.
"""

import argparse
import sys

from prefjax.cli._reading import add_person, get_person

BATCH = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("model", help="folder of a fitted model")
    parser.add_argument("input", help=".parquet, .jsonl or .csv")
    parser.add_argument("output", help=".parquet, .jsonl or .csv")
    parser.add_argument("--prompt-column", default="prompt", metavar="COLUMN")
    parser.add_argument("--response-column", default="response", metavar="COLUMN")
    parser.add_argument("--user-column", metavar="COLUMN", help="whose reward each row has")
    add_person(parser)


def run(arguments: argparse.Namespace) -> None:
    """Reads, scores and writes, all of it or nothing."""
    import numpy as np
    import pyarrow as pa
    from tqdm import tqdm

    from prefjax.cli._tables import read_rows, write_rows
    from prefjax.model import load
    from prefjax.person.ranking import reward as rewards

    model = load(arguments.model)
    table = read_rows(arguments.input)
    texts = _texts(table, arguments.response_column, arguments.input)
    prompts = [""] * len(texts)
    if arguments.prompt_column in table.column_names:
        prompts = _texts(table, arguments.prompt_column, arguments.input)
    people = {"": get_person(model, arguments)}
    whose, unknown = [""] * len(texts), set()
    if arguments.user_column is not None:
        if arguments.person is not None or arguments.user is not None:
            raise ValueError("--user-column names people by itself: leave out --person and --user")
        if arguments.user_column not in table.column_names:
            raise ValueError(f"{arguments.input} has no column {arguments.user_column!r}")
        by_name = {str(user): user for user in model.users}
        whose = ["" if u is None else str(u) for u in table[arguments.user_column].to_pylist()]
        unknown = set(whose) - set(by_name)
        people |= {name: model.person(by_name[name]) for name in set(whose) - unknown}
    reward, deviation = np.zeros(len(texts)), np.zeros(len(texts))
    with tqdm(total=len(texts), unit="row", file=sys.stderr, delay=2) as bar:
        for start in range(0, len(texts), BATCH):
            stop = min(start + BATCH, len(texts))
            items = model.reader(texts[start:stop], prompts[start:stop])
            for name in set(whose[start:stop]):
                person = people.get(name, people[""])
                rows = [row for row in range(stop - start) if whose[start + row] == name]
                found = rewards(person.belief, items.at(rows))
                places = np.array(rows) + start
                reward[places], deviation[places] = found
            bar.update(stop - start)
    for name, column in (("reward", reward), ("reward_std", deviation)):
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, pa.array(column))
    write_rows(table, arguments.output)
    told = f"{len(texts)} rows in {arguments.output}"
    if arguments.user_column is not None:
        told += f"; {len(set(whose) - unknown)} users are known, {len(unknown)} are not"
    print(f"{told}.")


def _texts(table, column: str, name: str) -> list[str]:
    if column not in table.column_names:
        raise ValueError(
            f"{name} has no column {column!r}; it has {', '.join(table.column_names) or 'none'}"
        )
    values = table[column].to_pylist()
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise ValueError(f"{name}: column {column} of row {row} is no text but {value!r:.40}")
    return values
