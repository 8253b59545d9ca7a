"""Texts of Parquet files, embedded in one process and by actors of a Ray cluster that are killed.

``PREFJAX_EMBED_TEXTS`` and ``PREFJAX_EMBED_KILLS`` set how many texts there are and how often an
actor is killed.
"""

import os
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray_cluster
from train_process import Run, until

from prefjax.cli import main
from prefjax.encoders import ParquetTexts, encode_corpus, get_encoder, read_corpus

NUM_TEXTS = int(os.environ.get("PREFJAX_EMBED_TEXTS", "20000"))
NUM_KILLS = int(os.environ.get("PREFJAX_EMBED_KILLS", "1"))
WORDS = np.array(["the", "sea", "is", "blue", "and", "mountains", "are", "high", "why", "not"])


def write_texts(folder, count, num_files=3, seed=0):
    """Files of prompts and responses of several lengths, in small row groups; all responses."""
    rng = np.random.default_rng(seed)
    texts = [
        f"{' '.join(rng.choice(WORDS, rng.integers(1, 12)))} {number}" for number in range(count)
    ]
    prompts = [f"prompt {number // 4}" if number % 5 else "" for number in range(count)]
    folder.mkdir()
    for part, rows in enumerate(np.array_split(np.arange(count), num_files)):
        columns = {
            "prompt": [prompts[row] for row in rows],
            "response": [texts[row] for row in rows],
        }
        pq.write_table(pa.table(columns), folder / f"{part}.parquet", row_group_size=count // 7)
    return prompts, texts


def test_ranges_are_read_across_files_and_row_groups(tmp_path):
    prompts, texts = write_texts(tmp_path / "in", 100)
    alone = ParquetTexts(tmp_path / "in", "response")
    assert len(alone) == 100
    for start, stop in ((0, 100), (0, 1), (13, 15), (33, 35), (99, 120), (50, 50), (-3, None)):
        assert alone[start:stop] == texts[start:stop]
    assert (alone[0], alone[-1]) == (texts[0], texts[-1])
    pairs = ParquetTexts(tmp_path / "in", "response", "prompt")
    expected = [pair if pair[0] else pair[1] for pair in zip(prompts, texts, strict=True)]
    assert pairs[:] == expected
    assert pairs.digest != alone.digest
    with pytest.raises(IndexError):
        alone[100]
    with pytest.raises(ValueError, match="without a step"):
        alone[::2]


def test_files_that_are_not_of_texts_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no Parquet file .*absent"):
        ParquetTexts(tmp_path / "absent", "response")
    (tmp_path / "text.parquet").write_text("none")
    with pytest.raises(ValueError, match=r"text.parquet cannot be read as Parquet"):
        ParquetTexts(tmp_path / "text.parquet", "response")
    pq.write_table(pa.table({"response": [1, 2]}), tmp_path / "numbers.parquet")
    with pytest.raises(ValueError, match=r"no column 'response' of strings; it has response \(int"):
        ParquetTexts(tmp_path / "numbers.parquet", "response")
    pq.write_table(pa.table({"response": ["a", None]}), tmp_path / "null.parquet")
    with pytest.raises(ValueError, match=r"column response of row group 0 row 1 is null"):
        ParquetTexts(tmp_path / "null.parquet", "response")[:]


def test_the_command_embeds_as_the_library_does_and_goes_on(tmp_path, capsys):
    _, texts = write_texts(tmp_path / "in", 100)
    command = ["embed", str(tmp_path / "in"), str(tmp_path / "out"), "--rows-a-shard", "16"]
    assert main(command) == 0
    assert "100 embeddings" in capsys.readouterr().out
    np.testing.assert_array_equal(
        read_corpus(tmp_path / "out"), get_encoder("hashed").encode(texts)
    )
    made = (tmp_path / "out" / "part-00000.npy").stat().st_mtime_ns
    (tmp_path / "out" / "part-00003.json").unlink()
    assert main(command) == 0
    assert (tmp_path / "out" / "part-00000.npy").stat().st_mtime_ns == made
    np.testing.assert_array_equal(
        read_corpus(tmp_path / "out"), get_encoder("hashed").encode(texts)
    )
    assert main([*command, "--encoder", "hashed#dimension=128"]) == 1
    assert "holds another corpus: encoder" in capsys.readouterr().err


def test_pairs_are_read_where_the_encoder_reads_them(tmp_path):
    prompts, texts = write_texts(tmp_path / "in", 40)
    assert (
        main(["embed", str(tmp_path / "in"), str(tmp_path / "o"), "--encoder", "offline-lm"]) == 0
    )
    pairs = [pair if pair[0] else pair[1] for pair in zip(prompts, texts, strict=True)]
    encode_corpus(get_encoder("offline-lm"), pairs, tmp_path / "whole")
    np.testing.assert_array_equal(read_corpus(tmp_path / "o"), read_corpus(tmp_path / "whole"))


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore")  # what Ray's own modules warn of
def test_actors_that_are_killed_embed_every_text_once(tmp_path):
    """Two actors; the shards have the bits of one process, and none is made twice."""
    _, texts = write_texts(tmp_path / "in", NUM_TEXTS)
    rows = str(-(-NUM_TEXTS // 40))
    command = [sys.executable, "-m", "prefjax.cli", "embed", str(tmp_path / "in")]
    settings = ["--encoder", "hashed", "--rows-a-shard", rows]
    with ray_cluster.running(num_nodes=2, cpus=1):  # the actors have every core
        on_ray = [*command, str(tmp_path / "out"), *settings, "--ray", "--actors", "2"]
        with Run(on_ray, tmp_path) as run:
            for kill in range(NUM_KILLS):
                wanted = 40 * (kill + 1) // (NUM_KILLS + 2)
                until(lambda: len(shards(tmp_path / "out")) >= wanted, run=run)  # noqa: B023
                ray_cluster.actors("_Embedder")[kill % 2].kill()
            assert run.wait() == 0, run.log.read_text()[-3000:]
        times = {path: path.stat().st_mtime_ns for path in shards(tmp_path / "out")}
        assert subprocess.run(on_ray, timeout=120).returncode == 0
        assert {path: path.stat().st_mtime_ns for path in shards(tmp_path / "out")} == times
    assert len(times) == 40
    start = time.monotonic()
    assert subprocess.run([*command, str(tmp_path / "one"), *settings]).returncode == 0
    print(f"one process: {NUM_TEXTS / (time.monotonic() - start):.0f} texts/s")
    for path in shards(tmp_path / "one"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    np.testing.assert_array_equal(
        read_corpus(tmp_path / "out")[:50], get_encoder("hashed").encode(texts[:50])
    )


def shards(folder):
    """Shards that are whole."""
    return [path.with_suffix(".npy") for path in sorted(folder.glob("part-*.json"))]
