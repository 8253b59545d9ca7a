"""What lies in object stores is read through fsspec; what must be renamed there is refused."""

import importlib.util
import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
from test_encoders_ray import write_texts
from test_train_shards_ray import NUM_RESPONSES, NUM_USERS, files_of, write_rows

from prefjax.cli import main
from prefjax.encoders import ParquetTexts, read_corpus
from prefjax.io import digest_file
from prefjax.io.buckets import as_source, check_local, list_files
from prefjax.train import read_parquet_rows
from prefjax.train.config import read_config


@pytest.fixture
def bucket():
    """The URL of a folder in a store that is in memory, and a function that copies files there."""
    system, url = fsspec.filesystem("memory"), "memory://bucket/rows"

    def put(folder):
        for path in folder.iterdir():
            system.pipe_file(f"/bucket/rows/{path.name}", path.read_bytes())

    yield url, put
    system.rm("/bucket", recursive=True)


def test_texts_of_a_store_are_those_of_its_files(tmp_path, bucket, capsys):
    url, put = bucket
    write_texts(tmp_path / "in", 100)
    put(tmp_path / "in")
    ours = ParquetTexts(url, "response", "prompt")
    theirs = ParquetTexts(tmp_path / "in", "response", "prompt")
    assert ours[:] == theirs[:]
    assert ours[13:60] == theirs[13:60]
    assert ours.digest == theirs.digest
    assert len(ParquetTexts(f"{url}/1.parquet", "response")) == 33
    for source, name in ((url, "a"), (str(tmp_path / "in"), "b")):
        assert main(["embed", source, str(tmp_path / name), "--rows-a-shard", "40"]) == 0
    np.testing.assert_array_equal(read_corpus(tmp_path / "a"), read_corpus(tmp_path / "b"))


def test_rows_of_a_store_become_the_same_shards(tmp_path, bucket, capsys):
    url, put = bucket
    write_rows(tmp_path / "in", 5_000)
    put(tmp_path / "in")
    assert sum(len(rows.user) for rows in read_parquet_rows(url)) == 5_000
    settings = ["--num-users", str(NUM_USERS), "--num-responses", str(NUM_RESPONSES)]
    sources = {"a": url, "b": (tmp_path / "in").as_uri(), "c": str(tmp_path / "in")}
    for name, source in sources.items():
        assert main(["shard", source, str(tmp_path / name), *settings]) == 0
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b") == files_of(tmp_path / "c")


def test_files_are_listed_by_name(tmp_path, bucket):
    url, put = bucket
    for name in ("b.parquet", "a.parquet", "note.txt"):
        (tmp_path / name).write_text(name)
    put(tmp_path)
    assert [str(one).rsplit("/", 1)[1] for one in list_files(url, ".parquet")] == [
        "a.parquet",
        "b.parquet",
    ]
    assert list_files(f"{url}/absent", ".parquet") == []
    assert digest_file(f"{url}/note.txt") == digest_file(tmp_path / "note.txt")
    with pytest.raises(FileNotFoundError, match=r"no Parquet file memory://bucket/rows/absent"):
        ParquetTexts(f"{url}/absent", "response")


@pytest.mark.parametrize("place", ["s3://bucket/x", "gs://bucket/x", "abfs://box@account/x"])
def test_what_needs_a_file_system_is_refused(tmp_path, place, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path / "in", 10)
    write_rows(tmp_path / "rows", 100)
    settings = ["--num-users", str(NUM_USERS), "--num-responses", str(NUM_RESPONSES)]
    for command in (["embed", "in", place], ["shard", "rows", place, *settings]):
        assert main(command) == 1
        assert "Name a folder of a file system that all machines mount" in capsys.readouterr().err
    run = {"data": "data", "embeddings": "e.npy", "folder": "out"}
    for field in (*run, "validation"):
        (tmp_path / "run.json").write_text(json.dumps(run | {field: place}))
        with pytest.raises(ValueError, match=rf"run.json: {field} cannot be"):
            read_config(tmp_path / "run.json")
    with pytest.raises(ValueError, match="the configuration cannot be"):
        read_config(Path(place))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "rows", "run.json"]


@pytest.mark.parametrize("place", ["C:/data", "/data/s3:/x", "data", "./a:b/c"])
def test_paths_are_no_urls(place):
    check_local(place, "it")
    assert not isinstance(as_source(place), str)


def test_a_store_without_its_package_is_explained():
    with pytest.raises(ValueError, match="teleport://x/y cannot be read"):
        ParquetTexts("teleport://x/y", "response")
    if importlib.util.find_spec("s3fs") is None:
        with pytest.raises(ValueError, match=r"s3fs.*are the packages of s3://"):
            ParquetTexts("s3://bucket/x", "response")
