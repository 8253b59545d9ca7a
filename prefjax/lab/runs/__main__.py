"""``python -m prefjax.lab.runs plot <dir> …`` draws figures again from saved results."""

from pathlib import Path

import tyro

from prefjax.lab.runs.command import draw


def plot(folders: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Draw the figure of each finished run again, without computing anything.

    Args:
        folders: Run folders.
    """
    for folder in folders:
        print(draw(folder))


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"plot": plot}, prog="python -m prefjax.lab.runs")
