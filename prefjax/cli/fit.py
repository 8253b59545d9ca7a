"""Fits a model to many people's choices.

Examples:
  prefjax fit choices.jsonl --out model/
  prefjax fit rows.parquet --user annotator --encoder minilm --out model/
  prefjax fit choices.csv --encoder hashed+smollm2 --num-components 128 --out model/

choices may be rows of TRL, of our own columns, alpaca_eval, Label Studio, Potato, Argilla, … as
JSONL, JSON, CSV or Parquet; how they were read is said in one line.
"""

import argparse

from prefjax.cli._reading import add_reading, read_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("choices", help="file or folder of preferences")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the model is written")
    parser.add_argument("--encoder", default="hashed", help="how texts are read (default: hashed)")
    parser.add_argument(
        "--num-factors",
        type=_count,
        metavar="J",
        help="J, at most; too many do no harm. auto: as many as are told from noise",
    )
    parser.add_argument(
        "--population",
        choices=("gaussian", "mixture"),
        default="gaussian",
        help="how people differ: one Gaussian (default), or a mixture of up to eight",
    )
    parser.add_argument("--num-components", type=int, help="principal components of embeddings")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split of people")
    add_reading(parser)


def _count(value: str) -> int | str:
    """A number of factors, or ``auto``."""
    if value == "auto":
        return value
    try:
        return int(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is neither a number nor auto") from None


def run(arguments: argparse.Namespace) -> None:
    """Fits and saves."""
    from prefjax.basis import EMConfig
    from prefjax.model import fit

    data = read_data(arguments.choices, arguments)
    model = fit(
        data,
        encoder=arguments.encoder,
        num_components=arguments.num_components,
        seed=arguments.seed,
        num_factors=arguments.num_factors,
        config=EMConfig(population=arguments.population),
        progress=True,
    )
    model.save(arguments.out)
    report = model.report
    print(
        f"{report['num_rows']} comparisons of {report['num_users']} people, "
        f"{report['effective_factors']:.1f} effective factors of {report['num_factors']}.\n"
        f"On held-out people the personal prediction loses {report['held_out_nll']:.4f} nats, the "
        f"population's {report['population_nll']:.4f}: a gain of {report['gain']:.4f} "
        f"[{report['gain_low']:.4f}, {report['gain_high']:.4f}].\n"
        f"The model is in {arguments.out}."
    )
