"""The contract of encoders, what the offline one captures, and the cache under faults."""

import itertools
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
from damage import damaged
from sklearn.linear_model import LogisticRegression, Ridge

from prefjax import encoders
from prefjax.data.dataset import Dataset
from prefjax.types import BASELINE, Comparisons

TOPICS = {
    "cooking": "simmer the onions garlic stock and butter in a heavy pan before the rice",
    "sailing": "trim the jib ease the mainsheet and watch the wind over the port bow",
    "gardens": "prune the roses mulch the soil and water seedlings early in the morning",
}
PLAIN = ["That works.", "The result is the same.", "One hour is enough.", "It was done by noon."]


def compose(rng, topic, style=""):
    words = TOPICS[topic].split()
    rng.shuffle(words)
    body = " ".join(words[: rng.randint(5, 13)]).capitalize() + "."
    return f"{body} {rng.choice(PLAIN)} {style}".strip()


@pytest.fixture(scope="module")
def texts():
    rng = random.Random(0)
    return [compose(rng, topic) for topic in TOPICS for _ in range(60)]


@pytest.fixture(scope="module", params=["fixed", "fitted"])
def encoder(request, texts):
    return encoders.make_hashed() if request.param == "fixed" else encoders.fit_hashed(texts)


def test_embedding_depends_on_its_own_text_only(encoder, texts):
    together = encoder.encode(texts[:20])
    alone = np.concatenate([encoder.encode([text]) for text in texts[:20]])
    np.testing.assert_array_equal(together, alone)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()


def test_content_is_linear_in_the_embedding(encoder, texts):
    label = np.repeat(np.arange(3), 60)
    train = np.tile(np.arange(60) < 30, 3)
    features = encoder.encode(texts)
    model = LogisticRegression(C=10.0).fit(features[train], label[train])
    assert model.score(features[~train], label[~train]) > 0.97


@pytest.mark.parametrize(
    ("seen", "unseen"),
    [
        (["Would you agree?", "Is that so?"], ["Does this help?", "Shall we go on?"]),
        (["Perhaps it is fine.", "It may be so."], ["Probably it could work.", "Maybe so."]),
        (["Great, I love it!", "Wow, fantastic!"], ["Amazing, wonderful!", "So exciting!"]),
        (["I'm sure it's ok.", "Don't wait."], ["You'll see, they're in.", "We can't stay."]),
    ],
    ids=["questions", "hedges", "enthusiasm", "contractions"],
)
def test_manner_in_unseen_words_and_topics_is_linear_in_the_embedding(encoder, seen, unseen):
    rng = random.Random(1)
    topics = list(TOPICS)

    def sample(names, styles):
        plain = [compose(rng, rng.choice(names), rng.choice(PLAIN)) for _ in range(150)]
        marked = [compose(rng, rng.choice(names), rng.choice(styles)) for _ in range(150)]
        return encoder.encode(plain + marked), np.repeat([0, 1], 150)

    model = LogisticRegression(C=1.0).fit(*sample(topics[:2], seen))
    assert model.score(*sample(topics[2:], unseen)) > 0.85


def test_length_is_linear_in_the_embedding_on_an_unseen_topic(encoder):
    rng = random.Random(2)

    def sample(names):
        parts = [rng.randint(1, 12) for _ in range(200)]
        rows = [" ".join(compose(rng, rng.choice(names)) for _ in range(n)) for n in parts]
        return encoder.encode(rows), np.log([len(row.split()) for row in rows])

    model = Ridge(1e-2).fit(*sample(["cooking", "sailing"]))
    features, length = sample(["gardens"])
    # A topic may shift all its texts alike, which cancels in comparisons.
    assert np.corrcoef(length, model.predict(features))[0, 1] > 0.98


def test_fingerprint_names_settings_and_fitted_state(texts):
    made = [
        encoders.make_hashed(),
        encoders.make_hashed(encoders.HashedConfig(seed=1)),
        encoders.make_hashed(encoders.HashedConfig(dimension=300)),
        encoders.fit_hashed(texts),
        encoders.fit_hashed(texts[1:]),
    ]
    assert len({encoder.fingerprint for encoder in made}) == len(made)
    assert made[2].encode(["one"]).shape == (1, 300)
    assert encoders.make_hashed().fingerprint == made[0].fingerprint
    assert encoders.fit_hashed(texts).fingerprint == made[3].fingerprint
    code = "from prefjax import encoders; print(encoders.make_hashed().fingerprint)"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == made[0].fingerprint


@pytest.mark.parametrize("text", ["", " \n", "?", "日本語のテキスト", "a" * 5000, "\x00", "🙂🙂"])
def test_any_text_has_a_finite_embedding(encoder, text):
    assert np.isfinite(encoder.encode([text])).all()


def test_what_is_not_text_is_refused_in_words(texts):
    encoder = encoders.make_hashed()
    with pytest.raises(TypeError, match="Text 1 is NoneType"):
        encoders.check_texts(["a", None])
    with pytest.raises(ValueError, match="Text 1 has a lone surrogate at character 2"):
        encoder.encode(["a", "ab\ud800"])
    with pytest.raises(TypeError, match="not one string"):
        encoder.encode("text")
    with pytest.raises(ValueError, match="No texts to fit"):
        encoders.fit_hashed([])
    with pytest.raises(ValueError, match="style features"):
        encoders.HashedConfig(dimension=10)
    assert not encoder.encode([""]).any()


class Counting:
    """Encodes a text as its length and first character; counts, and fails on demand."""

    fingerprint = "counting/1 dim=2"

    def __init__(self, fail_after=10**9, value=0.0):
        self.encoded, self.fail_after, self.value = [], fail_after, value

    def encode(self, texts):
        if len(self.encoded) + len(texts) > self.fail_after:
            raise KeyboardInterrupt
        self.encoded += texts
        return np.array([[len(t), ord(t[0])] for t in texts], np.float32) + np.float32(self.value)


WORDS = ["".join(pair) * (1 + i % 3) for i, pair in enumerate(itertools.product("abcde", repeat=2))]
WANT = np.array([[len(w), ord(w[0])] for w in WORDS], np.float32)


def test_cache_encodes_each_text_once(tmp_path):
    encoder = Counting()
    twice = WORDS + WORDS[::-1]
    got = encoders.encode_cached(encoder, twice, folder=tmp_path, batch_size=4)
    np.testing.assert_array_equal(got, np.concatenate([WANT, WANT[::-1]]))
    assert encoder.encoded == WORDS
    more = encoders.encode_cached(encoder, ["new", *WORDS[5:9]], folder=tmp_path, progress=True)
    np.testing.assert_array_equal(more[1:], WANT[5:9])
    assert encoder.encoded == [*WORDS, "new"]

    other = Counting(value=1.0)
    other.fingerprint = "counting/2"
    np.testing.assert_array_equal(
        encoders.encode_cached(other, WORDS, folder=tmp_path), WANT + np.float32(1)
    )


def test_killed_run_is_taken_up_where_it_stopped(tmp_path):
    killed = Counting(fail_after=14)
    with pytest.raises(KeyboardInterrupt):
        encoders.encode_cached(killed, WORDS, folder=tmp_path, batch_size=4)
    assert len(killed.encoded) == 12
    resumed = Counting()
    got = encoders.encode_cached(resumed, WORDS, folder=tmp_path, batch_size=4)
    assert resumed.encoded == WORDS[12:]
    np.testing.assert_array_equal(got, WANT)


def test_damage_is_detected_and_repaired(tmp_path):
    encoders.encode_cached(Counting(), WORDS, folder=tmp_path, batch_size=100)
    (shard,) = tmp_path.glob("*/*.npz")
    whole = shard.read_bytes()
    rng = np.random.default_rng(0)
    noticed = 0
    for place in rng.choice(len(whole), 60, replace=False):
        broken = bytearray(whole)
        broken[place] ^= 0x40
        shard.write_bytes(broken)
        encoder = Counting()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = encoders.encode_cached(encoder, WORDS, folder=tmp_path, batch_size=100)
        np.testing.assert_array_equal(got, WANT)
        noticed += any("is damaged" in str(w.message) for w in caught)
    assert noticed > 40

    shard.write_bytes(whole[: len(whole) // 2])
    encoder = Counting()
    with pytest.warns(RuntimeWarning, match=rf"{shard.name} is damaged .* encoded again"):
        got = encoders.encode_cached(encoder, WORDS, folder=tmp_path)
    np.testing.assert_array_equal(got, WANT)
    assert encoder.encoded == WORDS
    assert (shard.parent / "quarantine" / shard.name).exists()


def store(path, keys, vectors, **others):
    """A shard as another program, or another version, would write it."""
    with path.open("wb") as file:
        np.savez(file, keys=keys, vectors=vectors, **others)


def rewritten(shard, how):
    """A shard that is a whole archive and lies."""
    with np.load(shard) as archive:
        content = dict(archive)
    keys, vectors = content["keys"], content["vectors"]
    changes = {
        "not a number": {"vectors": np.where(vectors == vectors[3], np.nan, vectors)},
        "infinite": {"vectors": np.where(vectors == vectors[3], np.inf, vectors)},
        "one column": {"vectors": vectors[:, :1]},
        "no column": {"vectors": vectors[:, :0]},
        "a column more": {"vectors": np.pad(vectors, [(0, 0), (0, 1)])},
        "one axis": {"vectors": vectors.ravel()},
        "a row less": {"vectors": vectors[:-1]},
        "other numbers": {"vectors": vectors + 1},
        "other order": {"vectors": vectors[::-1]},
        "double": {"vectors": vectors.astype(np.float64)},
        "objects": {"vectors": vectors.astype(object)},
        "words": {"vectors": vectors.astype(str)},
        "other texts": {"keys": np.roll(keys, 1)},
        "keys of numbers": {"keys": np.arange(len(keys))},
        "keys in a square": {"keys": keys.reshape(5, 5)},
        "no digest": {"digest": None},
        "a digest that is a number": {"digest": np.zeros(3)},
        "cuts of numbers": {"cut": np.zeros(len(keys))},
        "cuts of others": {"cut": ~content["cut"]},
    }
    content |= changes[how]
    store(shard, **{name: value for name, value in content.items() if value is not None})
    return changes


LIES = [
    *("not a number", "infinite", "one column", "no column", "a column more", "one axis"),
    *("a row less", "other numbers", "other order", "double", "objects", "words", "other texts"),
    *("keys of numbers", "keys in a square", "no digest", "a digest that is a number"),
    *("cuts of numbers", "cuts of others"),
]


@pytest.mark.parametrize("how", LIES)
def test_a_shard_that_lies_is_not_believed(tmp_path, how):
    encoders.encode_cached(Counting(), WORDS, folder=tmp_path, batch_size=100)
    (shard,) = tmp_path.glob("*/*.npz")
    assert set(rewritten(shard, how)) == set(LIES)
    encoder = Counting()
    with pytest.warns(RuntimeWarning, match=rf"{shard.name} is damaged .*quarantine/{shard.name}"):
        got = encoders.encode_cached(encoder, WORDS, folder=tmp_path)
    np.testing.assert_array_equal(got, WANT)
    assert encoder.encoded == WORDS
    again = encoders.encode_cached(Counting(fail_after=0), WORDS, folder=tmp_path)
    np.testing.assert_array_equal(again, WANT)


def test_a_shard_of_another_encoder_is_not_believed(tmp_path):
    other = Counting(value=1.0)
    other.fingerprint = "counting-2"
    encoders.encode_cached(Counting(), WORDS, folder=tmp_path, batch_size=100)
    encoders.encode_cached(other, WORDS, folder=tmp_path, batch_size=100)
    (mine,) = (path for path in tmp_path.glob("*/*.npz") if path.parent.name != "counting-2")
    mine.write_bytes(next((tmp_path / "counting-2").glob("*.npz")).read_bytes())
    with pytest.warns(RuntimeWarning, match="its digest differs"):
        got = encoders.encode_cached(Counting(), WORDS, folder=tmp_path)
    np.testing.assert_array_equal(got, WANT)


def test_any_damage_to_the_cache_gives_right_vectors_or_a_named_error(tmp_path):
    """400 damaged shards: bits, cuts, losses, insertions, headers, and files of another kind."""
    rng = np.random.default_rng(0)
    encoders.encode_cached(Counting(), WORDS, folder=tmp_path, batch_size=100)
    (shard,) = tmp_path.glob("*/*.npz")
    whole = shard.read_bytes()
    strange = [b"", b"\0", b"PK\5\6" + bytes(18), b"\x80\4.", b"text", whole * 2, whole[::-1]]
    noticed = 0
    for content in strange + [damaged(rng, whole) for _ in range(400 - len(strange))]:
        shard.write_bytes(content)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = encoders.encode_cached(Counting(), WORDS, folder=tmp_path, batch_size=100)
        np.testing.assert_array_equal(got, WANT)
        messages = [str(warning.message) for warning in caught]
        assert all("is damaged" in message for message in messages)
        noticed += len(messages)
    assert noticed > 350
    assert len(list((shard.parent / "quarantine").iterdir())) == noticed


def test_a_shard_that_another_process_moves_away_is_no_damage(tmp_path, monkeypatch):
    encoders.encode_cached(Counting(), WORDS, folder=tmp_path, batch_size=10)
    load, shards = np.load, sorted(tmp_path.glob("*/*.npz"))

    def slow_load(file, **settings):
        for path in shards:
            path.unlink(missing_ok=True)
        return load(file, **settings)

    monkeypatch.setattr(np, "load", slow_load)
    got = encoders.encode_cached(Counting(), WORDS, folder=tmp_path)
    np.testing.assert_array_equal(got, WANT)


class Window(Counting):
    """Reads three characters."""

    fingerprint = "window-3"

    def lengths(self, texts):
        count = np.array([len(text) for text in texts])
        return encoders.Lengths(np.minimum(count, 3), count > 3)


def test_what_was_cut_is_said_at_every_run(tmp_path):
    num_cut = sum(len(word) > 3 for word in WORDS)
    for repeats in (1, 1, 2):  # encoded, from the cache, some twice
        texts = WORDS * repeats
        message = f"{num_cut * repeats} of {len(texts)} texts are longer than the window"
        with pytest.warns(RuntimeWarning, match=message):
            encoders.encode_cached(Window(), texts, folder=tmp_path, batch_size=7)
    short = [word for word in WORDS if len(word) <= 3]
    encoders.encode_cached(Window(fail_after=0), short, folder=tmp_path)
    with pytest.warns(RuntimeWarning, match=f"{num_cut + 1} of {len(WORDS) + 2} texts"):
        encoders.encode_cached(Window(), [*WORDS, "ab", "abcdef"], folder=tmp_path)


class Beginning:
    """Reads the first three characters only."""

    fingerprint = "beginning"

    def encode(self, texts):
        return np.array([[ord(c) for c in f"{text:<3}"[:3]] for text in texts], np.float32)


@pytest.mark.parametrize("cuts", [False, True])
def test_pairs_that_an_encoder_cannot_tell_apart_are_counted(tmp_path, monkeypatch, cuts):
    monkeypatch.setenv("PREFJAX_CACHE", str(tmp_path))
    texts = ("yes indeed", "yes, no", "no", "no", "yes")
    first, second = [0, 0, 2, 1, 4, 4], [1, 2, 3, 2, 0, BASELINE]
    rows = Comparisons(np.zeros(6, int), first, second, np.ones(6), np.ones(6))
    data = Dataset("pairs", rows, texts, np.zeros(5, int), ("",), ("u",), {})
    encoder = Beginning()
    if cuts:
        encoder.lengths = Window().lengths
    for _ in range(2):
        with pytest.warns(RuntimeWarning) as caught:
            encoders.encode_responses(encoder, data)
        said = " ".join(str(warning.message) for warning in caught)
        assert "2 of 6 comparisons are between responses that differ but have one embedding" in said
        assert "first row 0" in said
        assert ("2 of 5 texts are longer than the window" in said) == cuts


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["a", "b\ud83d"], "Text 1 has a lone surrogate at character 1"),
        (["a", ("b", "\udfff c")], "response of text 1 has a lone surrogate at character 0"),
        ([("\ud800", "b")], "prompt of text 0 has a lone surrogate"),
    ],
)
def test_half_a_character_is_named_and_nothing_is_written(tmp_path, texts, sentence):
    for call in (
        lambda: encoders.encode_cached(Counting(), texts, folder=tmp_path / "cache"),
        lambda: encoders.encode_corpus(Counting(), texts, tmp_path / "corpus"),
        lambda: encoders.make_hashed().encode(texts),
        lambda: encoders.fit_hashed(texts),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["a", None], "Text 1 is NoneType"),
        (["a", float("nan")], "Text 1 is float"),
        ([("a", None)], "response of text 0 is NoneType"),
        ([["a", "b"]], "Text 0 is list"),
        ([b"a"], "Text 0 is bytes"),
    ],
)
def test_a_null_inside_is_named(texts, sentence):
    with pytest.raises(TypeError, match=sentence):
        encoders.check_texts(texts)


def test_nul_is_a_character_and_two_texts_that_differ_in_it_are_two(tmp_path):
    texts = ["a", "a\0", "a\0b", "\0"]
    got = encoders.encode_cached(Counting(), texts, folder=tmp_path)
    again = encoders.encode_cached(Counting(fail_after=0), texts[::-1], folder=tmp_path)
    np.testing.assert_array_equal(again[::-1], got)
    assert len(np.unique(got, axis=0)) == 4


def test_pairs_may_fit_the_hashed_encoder():
    pairs = [("Why?", f"Because of {word}.") for word in WORDS]
    fitted = encoders.fit_hashed(pairs)
    assert fitted.fingerprint == encoders.fit_hashed(["\n\n".join(p) for p in pairs]).fingerprint


def test_bad_encoders_and_folders_are_named(tmp_path, monkeypatch):
    bad = Counting(value=np.nan)
    with pytest.raises(ValueError, match=r"25 embeddings are not finite, first of texts \[0, 1"):
        encoders.encode_cached(bad, WORDS, folder=tmp_path)
    assert not list(tmp_path.glob("*/*.npz"))
    with pytest.raises(ValueError, match="No texts to encode"):
        encoders.encode_cached(Counting(), [], folder=tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("PREFJAX_CACHE", str(tmp_path / "file"))
    assert encoders.default_folder() == tmp_path / "file"
    with pytest.raises(OSError, match="PREFJAX_CACHE"):
        encoders.encode_cached(Counting(), WORDS)
    monkeypatch.delenv("PREFJAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert encoders.default_folder() == tmp_path / "prefjax" / "embeddings"
