"""The splits that a seed draws are those that published figures rest on, to the bit."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from test_data_split import prompted, voted

from prefjax.data import (
    RatingsConfig,
    SharedItemsConfig,
    four_cells,
    load_split,
    split_ratings,
    split_shared_items,
)
from prefjax.data.attributes import WorldConfig, make_world, split_world
from prefjax.data.group import ungroup

REAL = {
    ("jester5k", 0): "957904192c59",
    ("jester5k", 1): "14c2db9bbfde",
    ("polis_bowling_green", 0): "7b19b6b66742",
    ("polis_bowling_green", 1): "c2de88f47ec3",
    ("dices350", 0): "6e7f5a155fff",
    ("dices350", 1): "c295b3aa9565",
    ("value_portrait", 0): "99a22c7983dc",
    ("value_portrait", 1): "2dc8c473d93d",
    ("ukpconvarg", 0): "e5decd642f09",
    ("ukpconvarg", 1): "f82763464faf",
}


def digest(*arrays):
    """Shapes and values, whatever the width of the type."""
    total = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        total.update(str((array.dtype.kind, array.shape)).encode())
        total.update(array.astype(np.float64 if array.dtype.kind == "f" else np.int64).tobytes())
    return total.hexdigest()[:12]


def digest_of(split, *more):
    answers, tests = (ungroup(split.by_user(cell)) for cell in ("calibration", "test"))
    return digest(*split.train, split.known_users, *answers, *tests, split.new_users, *more)


@pytest.mark.parametrize(
    ("kind", "seed", "expected"),
    [
        ("prompt", 0, ("ae4996c954a4", "9f30d583427c")),
        ("prompt", 3, ("8edfa6f3b2ff", "b08bad2a2001")),
        ("response", 0, ("35e5b49722c5", "0476e6cb34a6")),
        ("response", 3, ("699c21a143c5", "77183ba8074d")),
    ],
)
def test_both_cutters_draw_what_they_drew(kind, seed, expected):
    data = prompted()
    cells = four_cells(data, group=kind, seed=seed)
    rows = (cells.train, cells.validation, cells.calibration, cells.test)
    found = digest(
        *(column for cell in rows for column in cell), cells.new_users, cells.is_new_response
    )
    config = SharedItemsConfig(group=kind, num_new_users=8, max_answers=200)
    assert (found, digest_of(split_shared_items(data, config, seed=seed))) == expected


def test_votes_ratings_and_worlds_are_cut_as_they_were():
    config = SharedItemsConfig(group="response", by_label=True, num_new_users=9, min_each_label=5)
    assert digest_of(split_shared_items(voted(), config, seed=2)) == "a91f374ff0ec"
    rng = np.random.default_rng(0)
    ratings = rng.normal(size=(40, 30)).astype(np.float32)
    ratings[rng.random(ratings.shape) < 0.2] = np.nan
    sizes = RatingsConfig(20, 10, train_pairs=15, num_answers=12, num_tests=20, min_gap=0.1)
    assert digest_of(split_ratings(ratings, sizes)) == "4aaa7daa5d09"
    world = make_world(
        WorldConfig(num_prompts=12, responses_per_prompt=6, pairs_per_user=30, num_users=30), 5
    )
    split = split_world(world, new_users=0.2, seed=5)
    batches = (split.by_user(cell, world.config.test_length) for cell in ("validation", "test"))
    padded = (column for batch in batches for column in batch)
    pools = (world.seen, world.unseen, split.known_users, split.new_users)
    assert digest(*split.train, *padded, *pools) == "e57dfa759de6"


@pytest.mark.parametrize(("name", "seed"), REAL)
def test_real_sets_are_cut_as_they_were(name, seed):
    if not (Path(os.environ.get("PREFJAX_DATA", "")) / name).is_dir():
        pytest.skip(f"PREFJAX_DATA does not lead to {name}")
    split = load_split(name, seed=seed)[1]
    assert digest_of(split, split.group) == REAL[name, seed]
