"""Round trips through disk are exact, damage is named, a failed write leaves the old state."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefjax.data import io, read, write
from prefjax.data.dataset import Dataset
from prefjax.io import atomic
from prefjax.types import BASELINE, Comparisons

TEXTS = ('She said "yes",\nthen left.', "", "ünï, 2020-01-01", "NA", "null", " space ")


def toy():
    return Dataset(
        name="toy",
        comparisons=Comparisons(
            user=np.array([1, 0, 1, 0]),
            first=np.array([0, 2, 3, 5]),
            second=np.array([1, BASELINE, 4, 3]),
            label=np.array([1.0, 0.0, 0.1, 0.5]),
            sample_weight=np.array([1.0, 2.0, 1 / 3, 1.0]),
        ),
        responses=TEXTS,
        prompt_index=np.array([0, 0, 0, 1, 1, 1], dtype=np.int32),
        prompts=("", "7"),
        users=("07", "b,c"),
        meta={"license": "none", "simulated": True},
    )


def sentences(data):
    """What a data set says, without ids."""
    columns = [column.tolist() for column in data.comparisons]
    texts = (*data.responses, None)
    prompts = [data.prompts[data.prompt_index[first]] for first in columns[1]]
    return [
        (data.users[user], prompt, texts[first], texts[second], label, weight)
        for (user, first, second, label, weight), prompt in zip(
            zip(*columns, strict=True), prompts, strict=True
        )
    ]


def test_folder_round_trip_is_exact(tmp_path):
    data = toy()
    io.write_folder(data, tmp_path / "toy")
    back = io.read_folder(tmp_path / "toy")
    for name in ("name", "responses", "prompts", "users", "meta"):
        assert getattr(back, name) == getattr(data, name)
    for column, expected in zip(back.comparisons, data.comparisons, strict=True):
        assert column.dtype == expected.dtype
        np.testing.assert_array_equal(column, expected)
    np.testing.assert_array_equal(back.prompt_index, data.prompt_index)
    with pytest.raises(FileExistsError, match="overwrite"):
        io.write_folder(data, tmp_path / "toy")
    io.write_folder(data, tmp_path / "toy", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_a_failed_write_leaves_the_old_folder(tmp_path):
    io.write_folder(toy(), tmp_path / "toy")
    before = (tmp_path / "toy" / "meta.json").read_bytes()

    def fail():
        with atomic.atomic_folder(tmp_path / "toy", overwrite=True) as target:
            (target / "meta.json").write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert (tmp_path / "toy" / "meta.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_meta_that_json_would_change_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON types"):
        io.write_folder(replace(toy(), meta={"pair": (1, 2)}), tmp_path / "toy")
    assert not (tmp_path / "toy").exists()


def _damage_truncate(folder):
    path = folder / "comparisons.parquet"
    path.write_bytes(path.read_bytes()[:-40])


def _damage_schema(folder):
    pq.write_table(pa.table({"user": [0], "text": ["a"]}), folder / "comparisons.parquet")


def _damage_short(folder):
    path = folder / "responses.parquet"
    pq.write_table(pq.read_table(path).slice(0, 3), path)


def _damage_null(folder):
    pq.write_table(pa.table({"text": ["a", None]}), folder / "prompts.parquet")


def _damage_id(folder):
    table = pq.read_table(folder / "comparisons.parquet")
    table = table.set_column(1, "first", pa.array([0, 1, 2, 99], pa.int32()))
    pq.write_table(table, folder / "comparisons.parquet")


def _damage_json(folder):
    (folder / "meta.json").write_text("{")


def _damage_version(folder):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "version": 9}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_damage_truncate, r"comparisons\.parquet cannot be read.*expected columns user"),
        (_damage_schema, r"comparisons\.parquet: expected columns user.*found user.*text"),
        (_damage_short, r"responses\.parquet has 3 rows.*says 6"),
        (_damage_null, r"prompts\.parquet: column text has no value in row 1"),
        (_damage_id, r"toy: comparisons\.first must lie"),
        (_damage_json, r"meta\.json cannot be read"),
        (_damage_version, r"meta\.json: written in version 9"),
    ],
)
def test_damage_is_named(tmp_path, damage, words):
    io.write_folder(toy(), tmp_path / "toy")
    damage(tmp_path / "toy")
    with pytest.raises(ValueError, match=words):
        io.read_folder(tmp_path / "toy")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_flat_file_round_trip_says_the_same(tmp_path, suffix):
    path = tmp_path / f"toy{suffix}"
    write(toy(), path)
    back = read(path, votes=True)
    assert sentences(back) == sentences(toy())
    assert sorted(back.responses) == sorted(TEXTS)


def test_flat_file_joins_equal_texts_under_one_prompt_only(tmp_path):
    lines = [
        {"user": 7, "prompt": "p", "response_a": "x", "response_b": "y", "label": 1},
        {"user": 7, "prompt": "p", "response_a": "y", "response_b": "x", "label": 0.5},
        {"user": 8, "prompt": "q", "response_a": "x", "response_b": None, "label": 0},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    data = read(path, votes=True)
    assert data.users == ("7", "8")
    assert [
        (data.prompts[p], text) for p, text in zip(data.prompt_index, data.responses, strict=True)
    ] == [
        ("p", "x"),
        ("p", "y"),
        ("q", "x"),
    ]
    np.testing.assert_array_equal(data.comparisons.first, [0, 1, 2])
    np.testing.assert_array_equal(data.comparisons.second, [1, 0, BASELINE])
    np.testing.assert_array_equal(data.comparisons.sample_weight, [1, 1, 1])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "", "suffix must be"),
        ("a.jsonl", '{"user": 1}\n{"user"', "line 2 is not JSON"),
        ("a.jsonl", '{"user": 1}', r"(?s)fits the columns user.*missing prompt"),
        ("a.csv", "user,prompt,response_a,response_b,label\n1,p,x,y,good", "label .text"),
        ("a.csv", "user,prompt,response_a,response_b,label\n1,p,x,y,2", "a.csv: .*label must lie"),
        ("a.parquet", "no", "cannot be read as Parquet"),
    ],
)
def test_bad_flat_files_are_named(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words):
        read(tmp_path / name)


def _foreign_file(folder):
    (folder / "thesis.tex").write_text("years of work")


def _foreign_folder(folder):
    (folder / "photos").mkdir()


def _other_meta(folder):
    (folder / "meta.json").write_text('{"version": 1}')


def _no_meta(folder):
    (folder / "meta.json").unlink()


@pytest.mark.parametrize("change", [_foreign_file, _foreign_folder, _other_meta, _no_meta])
def test_only_a_data_set_is_ever_replaced(tmp_path, change):
    io.write_folder(toy(), tmp_path / "toy")
    change(tmp_path / "toy")
    before = {path.name for path in (tmp_path / "toy").iterdir()}
    with pytest.raises(FileExistsError, match="did not write and is not replaced"):
        io.write_folder(toy(), tmp_path / "toy", overwrite=True)
    assert {path.name for path in (tmp_path / "toy").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_a_file_is_not_replaced_and_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "note").write_text("mine")
    with pytest.raises(FileExistsError):
        io.write_folder(toy(), tmp_path / "note", overwrite=True)
    assert (tmp_path / "note").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    io.write_folder(toy(), tmp_path / "empty", overwrite=True)
    assert io.read_folder(tmp_path / "empty").users == toy().users


def test_a_folder_of_the_first_version_is_read(tmp_path):
    io.write_folder(toy(), tmp_path / "toy")
    path = tmp_path / "toy" / "comparisons.parquet"
    table = pq.read_table(path)
    names = ["weight" if name == "sample_weight" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), path)
    meta = json.loads((tmp_path / "toy" / "meta.json").read_text())
    (tmp_path / "toy" / "meta.json").write_text(json.dumps({**meta, "version": 1}))
    for column, expected in zip(
        io.read_folder(tmp_path / "toy").comparisons, toy().comparisons, strict=True
    ):
        np.testing.assert_array_equal(column, expected)


@pytest.mark.parametrize(
    ("field", "value"), [("users", 7), ("users", [1, 2]), ("name", None), ("meta", [])]
)
def test_meta_of_another_kind_is_named(tmp_path, field, value):
    io.write_folder(toy(), tmp_path / "toy")
    meta = json.loads((tmp_path / "toy" / "meta.json").read_text())
    (tmp_path / "toy" / "meta.json").write_text(json.dumps({**meta, field: value}))
    with pytest.raises(ValueError, match=r"meta\.json"):
        io.read_folder(tmp_path / "toy")
