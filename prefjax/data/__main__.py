"""Commands for data: ``python -m prefjax.data prepare NAME FOLDER``."""

import argparse
import sys
from pathlib import Path

from prefjax.data.prepare import prepare
from prefjax.data.sets import SETS


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Words of the command line; those of the process if None.

    Returns:
        0, or 1 with a sentence on the error stream.
    """
    parser = argparse.ArgumentParser(prog="python -m prefjax.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser(
        "prepare",
        help="make what a named set's loader reads from the files of its source",
        epilog="example: python -m prefjax.data prepare ukpconvarg ~/preference-convincing",
    )
    making.add_argument("name", choices=sorted(SETS), metavar="NAME", help=", ".join(sorted(SETS)))
    making.add_argument("upstream", type=Path, metavar="FOLDER", help="with the source's files")
    making.add_argument(
        "--to", type=Path, default=None, help="where; PREFJAX_DATA/NAME if left out"
    )
    making.add_argument("--overwrite", action="store_true", help="replace what was prepared before")
    options = parser.parse_args(arguments)
    try:
        made = prepare(options.name, options.upstream, options.to, overwrite=options.overwrite)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    data = made.dataset
    print(
        f"{made.folder}: {data.num_users:,} people, {data.num_responses:,} responses to "
        f"{data.num_prompts:,} prompts, {len(data.comparisons.user):,} rows"
    )
    print(f"license: {SETS[options.name].license}")
    print(f"digest of the data: {made.digest}")
    if made.is_published is not None:
        says = "equal to" if made.is_published else "NOT the"
        print(f"{says} data behind the published figures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
