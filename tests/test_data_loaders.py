"""The five real sets: facts of their source, and files that are missing or damaged."""

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from prefjax.data import DATASETS, SETS, four_cells, load_dataset, load_split, sets
from prefjax.data.audit import audit, audit_split
from prefjax.data.sets import jester, polis
from prefjax.types import BASELINE

ROOT = os.environ.get("PREFJAX_DATA")
FACTS = {
    "jester5k": (5000, 100, 1, 199920),
    "polis_bowling_green": (1943, 896, 1, 148399),
    "dices350": (123, 350, 271, 40356),
    "value_portrait": (559, 520, 104, 34261),
    "ukpconvarg": (3801, 1052, 32, 65340),
}
PEOPLE = {
    "jester5k": (2500, 600),
    "polis_bowling_green": (1327, 213),
    "dices350": (93, 30),
    "value_portrait": (409, 150),
    "ukpconvarg": (3651, 150),
}


def folder_of(name):
    if ROOT is None or not (Path(ROOT) / name).is_dir():
        pytest.skip(f"PREFJAX_DATA does not lead to {name}")
    return Path(ROOT) / name


@pytest.mark.parametrize("name", FACTS)
def test_real_sets_have_the_facts_of_their_source_and_no_leak(name):
    folder_of(name)
    data = load_dataset(name)
    facts = (data.num_users, data.num_responses, data.num_prompts, len(data.comparisons.user))
    assert facts == FACTS[name]
    assert data.meta["simulated"] is False
    assert data.meta["license"]
    audit(data, four_cells(data, group="response" if data.num_prompts == 1 else "prompt"))


@pytest.mark.parametrize("name", PEOPLE)
def test_protocols_of_real_sets(name):
    folder_of(name)
    data, split = load_split(name)
    audit_split(data, split)
    assert (len(split.known_users), len(split.new_users)) == PEOPLE[name]
    assert split.by_user("calibration").mask.shape[1] == 40


def test_jester_labels_are_its_ratings():
    folder_of("jester5k")
    ratings, rows = jester.load_ratings(), jester.load(pairs_per_user=3).comparisons
    assert (~np.isnan(ratings)).sum() == 363209
    gap = ratings[rows.user, rows.first] - ratings[rows.user, rows.second]
    np.testing.assert_array_equal(rows.label, gap > 0)
    assert np.abs(gap).min() >= 0.5


def test_polis_statement_counts_match_the_published_ones():
    folder = folder_of("polis_bowling_green")
    statements = pq.read_table(folder / "statements.parquet").sort_by("statement")
    rows = polis.load().comparisons
    agrees = np.bincount(rows.first[rows.label == 1], minlength=statements.num_rows)
    published = statements["agrees"].to_numpy()
    assert (rows.second == BASELINE).all()
    assert np.corrcoef(agrees, published)[0, 1] > 0.999


def test_polis_passes_can_be_ties():
    folder_of("polis_bowling_green")
    rows = polis.load(passes="half").comparisons
    assert len(rows.label) == 225524
    assert (rows.label == 0.5).sum() == 77125


@pytest.mark.parametrize("name", DATASETS)
def test_missing_files_say_what_to_put_where(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFJAX_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"{name} lacks .*\.parquet.*put .* \(from "):
        load_dataset(name)
    monkeypatch.delenv("PREFJAX_DATA")
    with pytest.raises(FileNotFoundError, match=f"Set PREFJAX_DATA.*{name}/"):
        load_dataset(name)


def test_an_unknown_name_lists_the_names():
    for load in (load_dataset, load_split):
        with pytest.raises(KeyError, match="no data set 'jester'") as error:
            load("jester")
        assert all(name in str(error.value) for name in SETS)


@pytest.mark.parametrize("name", DATASETS)
def test_truncated_and_foreign_files_are_named(name, tmp_path, monkeypatch):
    shutil.copytree(folder_of(name), tmp_path / name, copy_function=shutil.copyfile)
    (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PREFJAX_DATA", str(tmp_path))
    for path in sorted((tmp_path / name).iterdir()):
        if path.name in ("users.parquet", "crowdsample.parquet"):
            continue
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=rf"{path.name} cannot be read.*expected"):
            load_dataset(name)
        if path.suffix == ".parquet":
            path.write_bytes(whole)
            table = pq.read_table(path)
            pq.write_table(table.rename_columns([f"x{i}" for i in range(table.num_columns)]), path)
            with pytest.raises(ValueError, match=rf"{path.name}: expected columns .*found x0"):
                load_dataset(name)
            pq.write_table(table.slice(0, max(table.num_rows // 2, 1)), path)
            if path.name in ("items.parquet", "jokes.parquet", "arguments.parquet"):
                with pytest.raises(ValueError, match=name):
                    load_dataset(name)
        path.write_bytes(whole)
    load_dataset(name)


def test_a_foreign_numpy_file_is_named(tmp_path):
    np.save(tmp_path / "ratings.npy", np.zeros((2, 2), np.float32))
    (tmp_path / "ratings.npy").rename(tmp_path / "ratings.npz")
    (tmp_path / "jokes.parquet").touch()
    with pytest.raises(ValueError, match=r"ratings\.npz cannot be read as npz"):
        jester.load_ratings(tmp_path)
    np.savez(tmp_path / "ratings.npz", other=np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match=r"expected array 'ratings', found \['other'\]"):
        jester.load_ratings(tmp_path)
    np.savez(tmp_path / "ratings.npz", ratings=np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="with 2 axes, found shape"):
        jester.load_ratings(tmp_path)


def test_a_module_with_a_record_is_a_named_set(tmp_path, monkeypatch):
    (tmp_path / "coffee.py").write_text(
        "from prefjax.data.sets import polis\n"
        "from prefjax.data.sets._record import NamedSet\n"
        "from prefjax.data.shared_items import SharedItemsConfig\n"
        "SET = NamedSet('coffee', polis.load, SharedItemsConfig(), '1: likes it', 'MIT', 'here')\n"
    )
    monkeypatch.setattr(sets, "__path__", [*sets.__path__, str(tmp_path)])
    found = sets._find_sets()
    assert set(found) == {*SETS, "coffee"}
    assert found["coffee"].label == "1: likes it"
