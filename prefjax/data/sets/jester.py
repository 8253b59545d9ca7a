"""Jester: ratings from −10 to 10 of a hundred jokes (some crude) by 5,000 people.

For research use; cite K. Goldberg, T. Roeder, D. Gupta, C. Perkins, "Eigentaste: a constant time
collaborative filtering algorithm", Information Retrieval 4 (2001).
"""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from prefjax.data.dataset import Dataset
from prefjax.data.files import naming, read_npz, read_parquet, source_folder, texts
from prefjax.data.sets._prepare import find_file, write_columns
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.shared_items import RatingsConfig
from prefjax.data.votes import check_scale, ratings_table, ratings_to_comparisons

NAME = "jester5k"
SOURCE = "R package recommenderlab, data set Jester5k"
LICENSE = "research use, cite Goldberg et al. 2001 (Eigentaste)"
LABEL = (
    "1: the person rated the first joke higher. Person 0 gave 3.30 to joke 7 and −5.00 to joke 6: "
    "the row (7, 6) has label 1, the row (6, 7) label 0."
)
SCALE = (-10.0, 10.0)
"""Lowest and highest rating; the published files write 99 for "not rated"."""
_FILES = ("ratings.npz", "jokes.parquet")


def load_ratings(folder: Path | None = None) -> Float32[np.ndarray, "user response"]:
    """Load the matrix of ratings.

    Args:
        folder: Holds ``ratings.npz`` with the array ``ratings``; ``PREFJAX_DATA/jester5k`` if None.

    Returns:
        Ratings from −10 to 10, NaN where a joke was not rated: 5,000 × 100 with 363,209 ratings.

    Raises:
        FileNotFoundError: If the files are not there.
        ValueError: If a file is damaged or of another schema, or a rating is not on the scale, such
            as the 99 that the published files write for "not rated".
    """
    folder = source_folder(NAME, folder, _FILES, SOURCE)
    ratings = read_npz(folder / "ratings.npz", "ratings", num_axes=2)
    with naming(folder / "ratings.npz"):
        if ratings.dtype.kind not in "iuf":
            raise ValueError(f"ratings must be numbers, got dtype {ratings.dtype}.")
        check_scale(ratings[~np.isnan(ratings)], SCALE)
    return ratings.astype(np.float32)


def load(
    folder: Path | None = None,
    *,
    pairs_per_user: int | None = 40,
    min_gap: float = 0.5,
    seed: int = 0,
) -> Dataset:
    """Load pairs of jokes that one person rated far enough apart.

    Args:
        folder: Holds ``ratings.npz`` and ``jokes.parquet(item_id, text)``;
            ``PREFJAX_DATA/jester5k`` if None.
        pairs_per_user: Largest number of pairs of one person, drawn at random; None keeps all
            (12.6 million at the default gap).
        min_gap: Smallest difference of two ratings that makes a pair.
        seed: Seed of the draw and of the orientation.

    Returns:
        5,000 people, 100 jokes, one empty prompt.

    Raises:
        FileNotFoundError: If the files are not there.
        ValueError: If a file is damaged or of another schema.
    """
    ratings = load_ratings(folder)
    folder = source_folder(NAME, folder, _FILES, SOURCE)
    jokes = read_parquet(folder / "jokes.parquet", {"item_id": "integer", "text": "text"})
    with naming(folder):
        if not np.array_equal(jokes["item_id"].to_numpy(), np.arange(ratings.shape[1])):
            raise ValueError(
                f"jokes.parquet must list item_id 0 to {ratings.shape[1] - 1} in order, found "
                f"{jokes.num_rows} rows."
            )
        return Dataset(
            name=NAME,
            comparisons=ratings_to_comparisons(
                *ratings_table(ratings), min_gap=min_gap, max_pairs=pairs_per_user, seed=seed
            ),
            responses=texts(jokes, "text"),
            prompt_index=np.zeros(ratings.shape[1], dtype=np.int32),
            prompts=("",),
            users=tuple(str(user) for user in range(len(ratings))),
            meta=describe(LICENSE, SOURCE, LABEL),
        )


def prepare(upstream: Path, folder: Path) -> None:
    """Make the files that `load` reads from ``Jester5k.rda``, with the package ``rdata``.

    Args:
        upstream: Holds the file, at any depth: the sparse matrix ``Jester5k``, whose entries that
            are not stored were not rated, and the texts ``JesterJokes``.
        folder: Where to write.

    Raises:
        FileNotFoundError: If the file is not there.
        ModuleNotFoundError: If ``rdata`` is not installed.
        ValueError: If the file is of another schema.
    """
    path = find_file(upstream, "Jester5k.rda", SOURCE)
    try:
        import rdata
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Files of R need the extra: pip install 'prefjax[prepare]'."
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes of R that it does not know
        objects = rdata.read_rda(str(path))
    with naming(path):
        if not {"Jester5k", "JesterJokes"} <= set(objects):
            raise ValueError(f"expected Jester5k and JesterJokes, found {', '.join(objects)}.")
        stored = objects["Jester5k"].data
        shape = tuple(int(size) for size in stored.Dim)
        rows, starts = np.asarray(stored.i, np.int64), np.asarray(stored.p, np.int64)
        jokes = [str(text) for text in np.asarray(objects["JesterJokes"]).tolist()]
        if len(starts) != shape[1] + 1 or len(jokes) != shape[1]:
            raise ValueError(f"a matrix of shape {shape} does not fit {len(jokes)} jokes.")
        ratings = np.full(shape, np.nan, np.float32)
        ratings[rows, np.repeat(np.arange(shape[1]), np.diff(starts))] = stored.x
        check_scale(ratings[~np.isnan(ratings)], SCALE)
    np.savez_compressed(folder / _FILES[0], ratings=ratings)
    write_columns(folder / _FILES[1], item_id=np.arange(len(jokes)), text=jokes)


SET = NamedSet(
    name=NAME,
    load=load,
    protocol=RatingsConfig(scale=SCALE),
    label=LABEL,
    license=LICENSE,
    source=SOURCE,
    load_ratings=load_ratings,
    prepare=prepare,
    upstream="data/Jester5k.rda",
    digest="eef766b5a5ad8c21960ff784bafa552cd9ffa0549cbf1890fb3684ec23d46631",
)
