"""A corpus is embedded once, by any number of workers, whatever happens on the way."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from prefjax.encoders import HashedConfig, Lengths, make_hashed
from prefjax.encoders.contract import joined
from prefjax.encoders.corpus import encode_corpus, read_corpus
from prefjax.io import FolderLock, digest_file

ENCODER = make_hashed(HashedConfig(dimension=128))
TEXTS = [f"answer number {i} of somebody" for i in range(50)]


class Counting:
    """The same encoder; counts its texts, and dies or fails when told to."""

    fingerprint = ENCODER.fingerprint

    def __init__(self, dies_after=None, breaks=None):
        self.count, self.dies_after, self.breaks = 0, dies_after, breaks

    def encode(self, texts):
        if self.dies_after is not None and self.count >= self.dies_after:
            raise KeyboardInterrupt
        self.count += len(texts)
        vectors = np.array(ENCODER.encode(texts))
        if self.breaks in texts:
            vectors[texts.index(self.breaks), 3] = np.inf
        return vectors


def embed(folder, encoder=None, **settings):
    encode_corpus(
        encoder or Counting(), TEXTS, folder, **{"rows_a_shard": 8, "batch_size": 3, **settings}
    )


def test_workers_together_give_every_text_once_in_order(tmp_path):
    workers = [Counting() for _ in range(3)]
    for place, worker in enumerate(workers):
        if place == 2:
            with pytest.raises(FileNotFoundError, match="lacks 2 of 7 shards"):
                read_corpus(tmp_path)
        embed(tmp_path, worker, worker=place, num_workers=3)
    assert sum(worker.count for worker in workers) == len(TEXTS)
    np.testing.assert_array_equal(read_corpus(tmp_path), ENCODER.encode(TEXTS))
    idle = Counting()
    embed(tmp_path, idle)
    assert idle.count == 0


def test_a_run_that_was_killed_goes_on_where_it_stopped(tmp_path):
    dying = Counting(dies_after=20)
    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path, dying)
    later = Counting()
    embed(tmp_path, later)
    assert later.count == len(TEXTS) - 16  # two shards of eight were whole
    np.testing.assert_array_equal(read_corpus(tmp_path), ENCODER.encode(TEXTS))


def test_damage_is_noticed_moved_away_and_made_again(tmp_path):
    embed(tmp_path)
    names = sorted(path.name for path in tmp_path.glob("part-0000[0-2].*"))
    for name, how in itertools.product(names, ("flip", "cut", "remove")):
        path = tmp_path / name
        whole = path.read_bytes()
        if how == "flip":
            path.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
        elif how == "cut":
            path.write_bytes(whole[: len(whole) // 2])
        else:
            path.unlink()
        with pytest.raises((ValueError, FileNotFoundError), match=path.stem):
            read_corpus(tmp_path)
        again = Counting()
        if name.endswith(".json") and how == "remove":
            embed(tmp_path, again)
        else:
            with pytest.warns(RuntimeWarning, match=f"{path.stem}.npy is damaged"):
                embed(tmp_path, again)
        assert again.count == 8
        np.testing.assert_array_equal(read_corpus(tmp_path), ENCODER.encode(TEXTS))


def test_a_shard_that_lies_is_not_believed(tmp_path):
    """Vectors and what is said of them agree, but no encoder returned them."""
    embed(tmp_path)
    path = tmp_path / "part-00001.npy"
    vectors = np.load(path)
    nan = vectors.copy()
    nan[2, 3] = np.nan
    for wrong, sentence in (
        (nan, "numbers that are not finite"),
        (vectors.astype(np.float64), "holds float64"),
        (vectors[:-1], "it has 7 rows, not 8"),
    ):
        np.save(path, wrong)
        about = {"shape": list(wrong.shape), "sha256": digest_file(path)}
        path.with_suffix(".json").write_text(json.dumps(about))
        with pytest.warns(RuntimeWarning, match=f"part-00001.npy is damaged .*{sentence}"):
            embed(tmp_path)
        np.testing.assert_array_equal(read_corpus(tmp_path), ENCODER.encode(TEXTS))
    np.save(path, vectors[:, :1])
    about = {"shape": [8, 1], "sha256": digest_file(path)}
    path.with_suffix(".json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"part-00001.npy has 1 features, part-00000.npy has 128"):
        read_corpus(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"num_shards": 3}', "\xff", "[" * 100_000])
def test_a_damaged_description_is_named(tmp_path, text):
    embed(tmp_path)
    (tmp_path / "corpus.json").write_bytes(text.encode("latin-1"))
    for call in (embed, read_corpus):
        with pytest.raises(ValueError, match=r"corpus.json"):
            call(tmp_path)


def test_two_workers_that_begin_at_once_do_not_mix_two_corpora(tmp_path):
    with ThreadPoolExecutor(2) as pool, FolderLock(tmp_path):
        texts = [TEXTS, [*TEXTS[:-1], "other"]]
        runs = [pool.submit(encode_corpus, ENCODER, some, tmp_path) for some in texts]
        assert not any(run.done() for run in runs)
    failures = [run.exception() for run in runs]
    assert sum(failure is None for failure in failures) == 1
    (failure,) = filter(None, failures)
    assert "holds another corpus: texts: saved" in str(failure)


class Reading(Counting):
    """An encoder with a window of three tokens."""

    def lengths(self, texts):
        count = np.array([len(joined(text).split()) for text in texts])
        return Lengths(np.minimum(count, 3), count > 3)


def test_pairs_are_embedded_as_pairs_and_cut_texts_are_counted(tmp_path):
    pairs = [(f"prompt {i // 2}", "yes" if i % 2 else "yes indeed") for i in range(9)]
    for encoder in (Reading(), Reading(dies_after=0)):  # encoded, then all from the disk
        with pytest.warns(RuntimeWarning, match="5 texts are longer than the window"):
            encode_corpus(encoder, pairs, tmp_path, rows_a_shard=4)
    np.testing.assert_array_equal(read_corpus(tmp_path), ENCODER.encode(pairs))
    with pytest.raises(ValueError, match="another corpus: texts: saved"):
        encode_corpus(ENCODER, [joined(pair) for pair in pairs], tmp_path, rows_a_shard=4)


def test_what_cannot_be_embedded_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"1 embeddings are not finite, first of texts \[13\]"):
        embed(tmp_path, Counting(breaks=TEXTS[13]))
    assert [path.name for path in sorted(tmp_path.glob("*.npy"))] == ["part-00000.npy"]
    with pytest.raises(ValueError, match="another corpus: texts: saved"):
        encode_corpus(ENCODER, [*TEXTS[:-1], "other"], tmp_path, rows_a_shard=8)
    with pytest.raises(ValueError, match="Nothing to do"):
        encode_corpus(ENCODER, [], tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder of a corpus"):
        read_corpus(tmp_path / "other")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Cannot write embeddings"):
        encode_corpus(ENCODER, TEXTS, tmp_path / "file" / "corpus")
