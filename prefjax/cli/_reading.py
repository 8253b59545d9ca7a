"""What several subcommands take: how preferences are read, and who is meant."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Options that say how a file of preferences is read."""
    group = parser.add_argument_group("how the file is read")
    group.add_argument("--user", metavar="COLUMN", help="column that names people")
    group.add_argument("--one-user", metavar="NAME", help="everything was said by this person")
    group.add_argument("--group", metavar="COLUMN", help="column that names conversations")
    group.add_argument("--layout", help="name of the layout; told from the columns by default")
    group.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="NAME=COLUMN",
        help="where a column of the layout lies, such as prompt=question; may be repeated",
    )
    group.add_argument(
        "--votes", action="store_true", default=None, help="rows without a second text are votes"
    )


def read_data(source: str, arguments: argparse.Namespace) -> Any:
    """The data set of a file.

    Args:
        source: The file, or a folder.
        arguments: With what `add_reading` declared.

    Raises:
        ValueError: A column is not written as NAME=COLUMN, or the file cannot be read.
    """
    from prefjax.data import read

    pairs = [text.partition("=") for text in arguments.column]
    if not all(mark and name and column for name, mark, column in pairs):
        raise ValueError("--column takes NAME=COLUMN, such as prompt=question")
    return read(
        source,
        user=arguments.user,
        one_user=arguments.one_user,
        group=arguments.group,
        layout=arguments.layout,
        columns={name: column for name, _, column in pairs},
        votes=arguments.votes,
    )


def add_person(parser: argparse.ArgumentParser) -> None:
    """Options that say for whom."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--person", metavar="FILE", help="a person whom prefjax ask wrote")
    group.add_argument("--user", metavar="NAME", help="somebody of the training data")


def get_person(model: Any, arguments: argparse.Namespace) -> Any:
    """The person who is meant; somebody of whom nothing is known if nobody is.

    Args:
        model: A `prefjax.PreferenceModel`.
        arguments: With what `add_person` declared.
    """
    if arguments.person is not None:
        return model.load_person(arguments.person)
    if arguments.user is not None:
        return model.person(user_of(model, arguments.user))
    return model.new_person()


def user_of(model: Any, name: str) -> Any:
    """The training user of a name as it is written in a terminal.

    Raises:
        KeyError: There is none.
    """
    by_text = {str(user): user for user in model.users}
    if name not in by_text:
        raise KeyError(f"there is no user {name!r} in the training data of the model")
    return by_text[name]


def read_pool(source: str) -> list[tuple[str, list[str]]]:
    """Prompts with their responses.

    Args:
        source: JSONL with ``prompt`` and ``responses``, or a plain text file with one response a
            line, or ``-`` for such lines on standard input; or any file of preferences, whose
            prompts and responses are taken.

    Raises:
        ValueError: It holds no prompt with responses.
    """
    if source == "-":
        lines = [line.strip() for line in sys.stdin]
        return [("", [line for line in lines if line])]
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix == ".txt":
        lines = [line.strip() for line in path.read_text(encoding="utf-8").split("\n")]
        return [("", [line for line in lines if line])]
    if path.suffix == ".jsonl":
        lines = path.read_text(encoding="utf-8").split("\n")  # texts may hold other line breaks
        rows = [json.loads(line) for line in lines if line.strip()]
        if rows and all(isinstance(row, dict) and "responses" in row for row in rows):
            return [
                (str(row.get("prompt") or ""), list(map(str, row["responses"]))) for row in rows
            ]
    from prefjax.data import read

    dataset = read(path, one_user="nobody") if path.is_file() else read(path)
    pool: dict[str, list[str]] = {}
    for prompt, response in zip(dataset.prompt_index, dataset.responses, strict=True):
        pool.setdefault(dataset.prompts[prompt], []).append(response)
    return list(pool.items())
