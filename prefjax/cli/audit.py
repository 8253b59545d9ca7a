"""Shows whose answers tell little, and what in a file gives labels away; removes nothing.

Examples:
  prefjax audit choices.jsonl
  prefjax audit choices.jsonl --encoder hashed
  prefjax audit choices/ --seed 1
  prefjax audit shards/ --ray

Without an encoder: people who always take one side or follow a pattern, repeats that disagree, what
is preferred for its place, marks that tell the label. With one, models that are fitted to other
people also find who answers at random, and answers that a person's other answers contradict; this
takes minutes. Shards of prefjax shard hold no texts: what the rows alone say is counted, with --ray
by tasks of a Ray cluster, one for each partition.
"""

import argparse
from pathlib import Path

from prefjax.cli._reading import add_reading, read_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("data", help="choices: a file, or a folder of prefjax.data or of shards")
    parser.add_argument("--encoder", help="what reads the texts, as in prefjax fit")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn")
    parser.add_argument("--ray", action="store_true", help="of shards, by tasks of a Ray cluster")
    add_reading(parser)


def run(arguments: argparse.Namespace) -> None:
    """Audits and prints."""
    from prefjax.data.answers import describe_answers, inspect_answers

    folder = Path(arguments.data)
    if arguments.ray or (folder / "shards.json").is_file():
        from prefjax.train import inspect_shards

        if arguments.encoder is not None:
            raise ValueError(f"{folder} holds shards, which have no texts: leave out --encoder")
        print(describe_answers(inspect_shards(folder, on_ray=arguments.ray)))
        return
    data = read_data(arguments.data, arguments)
    print(describe_answers(inspect_answers(data)))
    if arguments.encoder is None:
        return
    import jax

    from prefjax.data import weigh_choices
    from prefjax.encoders import encode_responses, fit_encoder, get_encoder
    from prefjax.person.answer_audit import audit_answers, describe_audit

    encoder = fit_encoder(get_encoder(arguments.encoder), data.responses)
    found = audit_answers(
        jax.random.key(arguments.seed),
        weigh_choices(data),
        encode_responses(encoder, data, progress=True),
        num_users=data.num_users,
    )
    print()
    print(describe_audit(found, data.users))
