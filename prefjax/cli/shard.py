"""Partitions training rows of Parquet files by person, for runs larger than memory.

Examples:
  prefjax shard rows/ shards/ --num-users 1000000 --num-responses 500000
  prefjax shard rows/ shards/ --num-users 1000000 --num-responses 500000 --ray

The files have the columns user, first and second (numbers; -1 in second is the baseline of votes),
label and, where rows count differently, weight. With --ray the tasks of a Ray cluster do the work,
and write the same bytes. "data" of python -m prefjax.train takes the folder.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("input", help=".parquet, or a folder of such files, or its URL")
    parser.add_argument("output", type=Path, help="folder to make")
    parser.add_argument("--num-users", type=int, required=True, metavar="N")
    parser.add_argument("--num-responses", type=int, required=True, metavar="N")
    parser.add_argument("--num-partitions", type=int, default=16, metavar="P")
    parser.add_argument("--seed", type=int, default=0, help="of who is in which partition")
    parser.add_argument("--format", choices=("arrow", "parquet"), default="arrow")
    parser.add_argument("--ray", action="store_true", help="by tasks of a Ray cluster")


def run(arguments: argparse.Namespace) -> None:
    """Partitions and writes, all of it or nothing."""
    from prefjax.io.buckets import as_source
    from prefjax.train import (
        ShardSource,
        UserLayout,
        read_parquet_rows,
        write_shards,
        write_shards_on_ray,
    )

    settings = {
        "layout": UserLayout((arguments.num_users,), arguments.num_partitions, arguments.seed),
        "num_responses": arguments.num_responses,
        "format": arguments.format,
    }
    source = as_source(arguments.input)
    if arguments.ray:
        write_shards_on_ray(source, arguments.output, **settings)
    else:
        write_shards(read_parquet_rows(source), arguments.output, **settings)
    written = ShardSource(arguments.output, verify=False)
    print(
        f"{written.num_comparisons} comparisons of {arguments.num_users} people in "
        f"{arguments.num_partitions} partitions: {arguments.output}."
    )
