"""Says what the axes of a model mean, with tests, and where people stand on them.

Examples:
  prefjax explain model/ choices.jsonl report/
  prefjax explain model/ choices.jsonl report/ --card w12 --card w13
  prefjax explain model/ choices/ report/ --embeddings embeddings.npy

The report folder has report.md, figures, a page an axis, and for every --card a person's card as
PNG and HTML. Axes whose label fails a test are called unnamed. Texts go through the encoder of the
model; a model without one needs --embeddings, in the order of the responses.
"""

import argparse

from prefjax.cli._reading import add_reading, read_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("model", help="folder of a fitted model")
    parser.add_argument("data", help="choices and texts: a file, or a folder of prefjax.data")
    parser.add_argument("output", help="folder of the report")
    parser.add_argument("--card", action="append", default=[], metavar="NAME", help="of a person")
    parser.add_argument("--embeddings", metavar="FILE", help=".npy with a row a response")
    parser.add_argument("--rotation", choices=("varimax", "canonical"), default="varimax")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn")
    add_reading(parser)


def run(arguments: argparse.Namespace) -> None:
    """Explains and writes."""
    import numpy as np

    from prefjax.interpret import NamingConfig, explain
    from prefjax.model import load

    model, data = load(arguments.model), read_data(arguments.data, arguments)
    if arguments.embeddings is not None:
        embeddings = np.load(arguments.embeddings, allow_pickle=False)
    elif model.encoder is not None:
        prompts = [data.prompts[index] for index in data.prompt_index]
        embeddings = model.encoder.read(list(data.responses), prompts)
    else:
        raise ValueError(f"{arguments.model} knows no encoder: name the file with --embeddings")
    by_name = {str(user): user for user in model.users}
    unknown = [name for name in arguments.card if name not in by_name]
    if unknown:
        raise ValueError(f"the model has no person {unknown[0]!r}")
    _, naming = explain(
        model,
        data,
        embeddings,
        arguments.output,
        persons=[by_name[name] for name in arguments.card],
        rotation=arguments.rotation,
        config=NamingConfig(seed=arguments.seed),
    )
    for axis, name in enumerate(naming.names, start=1):
        print(f"axis {axis}: {name}")
    print(arguments.output)
