"""``python -m prefjax.interpret MODEL DATA FOLDER``: a report of what the axes of a model mean.

MODEL is a folder that `PreferenceModel.save` or ``python -m prefjax.train`` wrote, DATA a table
(JSONL, CSV, Parquet) or a folder of `prefjax.data.io`. ``--person NAME`` adds that person's card.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from prefjax.data.io import read_folder
from prefjax.data.table import read_table
from prefjax.encoders import encode_responses, get_encoder
from prefjax.interpret._explain import explain
from prefjax.interpret._name_axes import NamingConfig
from prefjax.interpret.axes import Rotation
from prefjax.model import load


@dataclass(frozen=True)
class Arguments:
    """What is explained.

    Attributes:
        model: Folder of the model.
        data: Table or folder of the choices and texts.
        folder: Where the report is written.
        encoder: Name of the encoder that the model was fitted with.
        embeddings: File of embeddings (.npy) in the order of the responses, in place of an encoder.
        person: Training people who get a card.
        rotation: varimax, or the canonical axes as they are.
        seed: Of everything drawn.
    """

    model: Annotated[Path, tyro.conf.Positional]
    data: Annotated[Path, tyro.conf.Positional]
    folder: Annotated[Path, tyro.conf.Positional]
    encoder: str = "hashed"
    embeddings: Path | None = None
    person: tuple[str, ...] = ()
    rotation: Rotation = "varimax"
    seed: int = 0


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command.

    Args:
        argv: Arguments; those of the process by default.

    Raises:
        SystemExit: The arguments, a file or a person is not right; the message says which.
    """
    arguments = tyro.cli(Arguments, args=argv, prog="python -m prefjax.interpret")
    try:
        model = load(arguments.model)
        is_folder = arguments.data.is_dir()
        dataset = read_folder(arguments.data) if is_folder else read_table(arguments.data)
        if arguments.embeddings is None:
            embeddings = encode_responses(get_encoder(arguments.encoder), dataset)
        else:
            embeddings = np.load(arguments.embeddings, allow_pickle=False)
        names = {str(user): user for user in model.users}
        missing = [name for name in arguments.person if name not in names]
        if missing:
            raise ValueError(f"the model has no person {missing[0]!r}")
        _, naming = explain(
            model,
            dataset,
            embeddings,
            arguments.folder,
            persons=[names[name] for name in arguments.person],
            rotation=arguments.rotation,
            config=NamingConfig(seed=arguments.seed),
        )
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    for axis, name in enumerate(naming.names, start=1):
        print(f"axis {axis}: {name}")
    print(arguments.folder)


if __name__ == "__main__":
    main(sys.argv[1:])
