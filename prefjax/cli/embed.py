"""Embeds the texts of Parquet files, in shards that are each made once.

Examples:
  prefjax embed responses.parquet embeddings/ --encoder lm:models/qwen
  prefjax embed responses/ embeddings/ --encoder smollm2 --ray --actors 8 --gpus-per-actor 1

One embedding a row, in the order of the files' names and their rows. Language models read a
response after its prompt, where there is a column of prompts. A run that was stopped at any moment
goes on where it was. With --ray the shards are dealt out to actors of a Ray cluster: that of
RAY_ADDRESS, or one that is started on this machine. python -m prefjax.train takes the folder for
its embeddings.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("input", help=".parquet, or a folder of such files, or its URL")
    parser.add_argument("output", help="folder of the embeddings")
    parser.add_argument("--encoder", default="hashed", help="how texts are read (default: hashed)")
    parser.add_argument("--prompt-column", default="prompt", metavar="COLUMN")
    parser.add_argument("--response-column", default="response", metavar="COLUMN")
    parser.add_argument("--rows-a-shard", type=int, default=65_536, metavar="N")
    parser.add_argument("--ray", action="store_true", help="by actors of a Ray cluster")
    parser.add_argument("--actors", type=int, default=1, metavar="N", help="of the cluster")
    parser.add_argument("--gpus-per-actor", type=float, default=0, metavar="N")


def run(arguments: argparse.Namespace) -> None:
    """Makes the shards that are missing."""
    from pathlib import Path

    from prefjax.encoders import ParquetTexts, encode_corpus, encode_on_ray, get_encoder
    from prefjax.encoders.sums import own_texts
    from prefjax.io.buckets import as_source

    source = as_source(arguments.input)
    encoder = get_encoder(arguments.encoder)
    texts = ParquetTexts(source, arguments.response_column)
    prompts = arguments.prompt_column
    if own_texts(encoder, [("", "")]) == [("", "")] and prompts in texts.names:
        texts = ParquetTexts(source, arguments.response_column, prompts)
    settings = {"rows_a_shard": arguments.rows_a_shard, "progress": True}
    if arguments.ray:
        settings |= {"num_actors": arguments.actors, "gpus_per_actor": arguments.gpus_per_actor}
        output = Path(arguments.output)
        encode_on_ray(arguments.encoder, texts, output, encoder=encoder, **settings)
    else:
        encode_corpus(encoder, texts, Path(arguments.output), **settings)
    print(f"{len(texts)} embeddings in {arguments.output}.")
