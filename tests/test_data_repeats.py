"""What loaders do with statements that are repeated, missing or off their scale, and what 1 means.

Files are written here in the schema of each source; the real ones are used where they are.
"""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_data_hub import comparison, preferred, utterance, write_prism, write_tldr

from prefjax.data import SETS, load_dataset
from prefjax.data.repeats import last_of_each, mean_of_each
from prefjax.data.sets import dices, jester, polis, prism, tldr, ukpconvarg, value_portrait
from prefjax.data.shared_items import RatingsConfig, split_ratings
from prefjax.data.votes import ratings_to_comparisons, votes_to_comparisons


def write_jester(folder, ratings):
    np.savez(folder / "ratings.npz", ratings=ratings)
    jokes = {"item_id": np.arange(ratings.shape[1]), "text": list(map(str, range(len(ratings.T))))}
    pq.write_table(pa.table(jokes), folder / "jokes.parquet")
    return folder


def write_polis(folder, votes, statements=(0, 1, 2)):
    columns = dict(zip(("user", "statement", "vote"), zip(*votes, strict=True), strict=True))
    pq.write_table(pa.table({k: list(v) for k, v in columns.items()}), folder / "votes.parquet")
    texts = [f"statement {n}" for n in range(len(statements))]
    pq.write_table(
        pa.table({"statement": list(statements), "text": texts}), folder / "statements.parquet"
    )
    return folder


def write_ukp(folder, rows, texts=("one", "two", "three")):
    columns = dict(zip(("user", "arg_1", "arg_2", "choice"), zip(*rows, strict=True), strict=True))
    pq.write_table(
        pa.table({k: list(v) for k, v in columns.items()}), folder / "crowd_full.parquet"
    )
    table = {"arg_id": range(len(texts)), "topic": ["t"] * len(texts), "text": texts}
    pq.write_table(pa.table({k: list(v) for k, v in table.items()}), folder / "arguments.parquet")
    return folder


def write_portrait(folder, rows, items=(("p", 1), ("p", 2), ("p", 3)), prompt="Q?"):
    names = ("user_id", "prompt_id", "option_1", "option_2", "choice")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table({k: list(v) for k, v in columns.items()}), folder / "pairs.parquet")
    table = {
        "prompt_id": [prompt_id for prompt_id, _ in items],
        "option": [option for _, option in items],
        "prompt": [prompt] * len(items) if isinstance(prompt, str) else list(prompt),
        "response": [f"{prompt_id} {option}" for prompt_id, option in items],
    }
    pq.write_table(pa.table(table), folder / "items.parquet")
    return folder


def write_dices(folder, safe):
    np.savez(folder / "safety.npz", safe=np.asarray(safe, np.int8))
    count = len(safe[0])
    items = {"item": range(count), "context": ["c"] * count, "response": list("abcdefg")[:count]}
    pq.write_table(pa.table({k: list(v) for k, v in items.items()}), folder / "items.parquet")
    return folder


@pytest.mark.parametrize("mark", [99.0, -11.0, np.inf, -np.inf, 10.01])
def test_a_rating_off_the_scale_of_jester_is_refused(tmp_path, mark):
    ratings = np.random.default_rng(0).uniform(-10, 10, (6, 5))
    ratings[2, 3] = mark
    with pytest.raises(ValueError, match=r"ratings\.npz: Ratings must lie in \[-10, 10\], but 1"):
        jester.load(write_jester(tmp_path, ratings))
    ratings[2, 3] = np.nan
    rows = jester.load(write_jester(tmp_path, ratings), pairs_per_user=None).comparisons
    assert not np.any((rows.user == 2) & ((rows.first == 3) | (rows.second == 3)))


def test_ratings_of_any_source_are_finite_and_on_the_scale_that_is_said():
    user, item = np.zeros(3, int), np.arange(3)
    for rating, scale, words in (
        ([1, 5, 99], (1.0, 5.0), r"lie in \[1, 5\].*values \[99\]"),
        ([0, 3, 4], (1.0, 5.0), r"lie in \[1, 5\].*values \[0\]"),
        ([1, 2, np.inf], None, "be finite"),
    ):
        with pytest.raises(ValueError, match=words):
            ratings_to_comparisons(user, item, np.array(rating), scale=scale)
    matrix = np.full((4, 4), 2.0)
    matrix[1, 1] = -1
    with pytest.raises(ValueError, match=r"lie in \[0, 5\]"):
        split_ratings(matrix, RatingsConfig(scale=(0.0, 5.0)))


@pytest.mark.parametrize("score", [0, 101, -1])
def test_a_score_of_prism_off_its_scale_is_refused(tmp_path, score):
    rows = [utterance(0, 0, 0, 0, "a", score, True), utterance(0, 0, 0, 1, "b", 50, False)]
    with pytest.raises(ValueError, match=r"utterances\.jsonl: Ratings must lie in \[1, 100\]"):
        prism.load(write_prism(tmp_path / "prism", rows))


@pytest.mark.parametrize("name", ["user", "response"])
@pytest.mark.parametrize("bad", [5_000_000_000, -1, 0.5])
def test_ids_that_are_no_index_are_refused_and_never_wrapped(name, bad):
    ids = {"user": np.array([0, 1]), "response": np.array([0, 1])}
    ids[name] = np.array([0, bad])
    with pytest.raises(ValueError, match=name):
        votes_to_comparisons(ids["user"], ids["response"], np.array([1, -1]))
    with pytest.raises(ValueError, match=name):
        ratings_to_comparisons(ids["user"], ids["response"], np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="differ in length"):
        votes_to_comparisons(np.arange(2), np.arange(2), np.ones(3))
    with pytest.raises(ValueError, match="prompt_index has 1 entries, but response 1 is rated"):
        ratings_to_comparisons(
            np.zeros(2, int), np.arange(2), np.ones(2), prompt_index=np.zeros(1, int)
        )


def test_the_last_of_a_key_equals_a_dictionary():
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 6, (2, 80))
    last = {key: row for row, key in enumerate(zip(*keys.tolist(), strict=True))}
    np.testing.assert_array_equal(np.flatnonzero(last_of_each(*keys)), sorted(last.values()))
    values = rng.random(80)
    expected = [values[keys[0] == key].mean() for key in keys[0]]
    np.testing.assert_allclose(mean_of_each(keys[0], values), expected)


def test_the_last_vote_on_a_statement_counts(tmp_path):
    votes = [(3, 1, -1), (3, 1, 1), (3, 2, 1), (3, 2, 0), (4, 0, 0), (4, 0, -1), (4, 1, 1)]
    data = polis.load(write_polis(tmp_path, votes))
    rows = data.comparisons
    found = set(zip(rows.user.tolist(), rows.first.tolist(), rows.label.tolist(), strict=True))
    assert found == {(0, 1, 1.0), (1, 0, 0.0), (1, 1, 1.0)}
    assert data.meta["num_replaced"] == 3
    half = polis.load(tmp_path, passes="half").comparisons
    assert (half.label[(half.user == 0) & (half.first == 2)] == [0.5]).all()
    with pytest.raises(ValueError, match="lists a statement twice"):
        polis.load(write_polis(tmp_path, votes, statements=(0, 1, 1)))


def test_the_last_judgment_of_a_pair_counts_whichever_way_it_is_shown(tmp_path):
    rows = [(5, 0, 1, 1), (5, 1, 0, 1), (5, 0, 2, 2), (6, 0, 1, 1), (5, 0, 2, 1)]
    data = ukpconvarg.load(write_ukp(tmp_path, rows))
    assert preferred(data) == {("5", "two", "one"), ("5", "one", "three"), ("6", "one", "two")}
    assert len(data.comparisons.user) == 3
    assert data.meta["num_replaced"] == 2
    rows = [(0, "p", 1, 2, 1), (0, "p", 2, 1, 1), (1, "p", 1, 3, 2), (1, "p", 1, 3, 0)]
    data = value_portrait.load(write_portrait(tmp_path, rows))
    assert preferred(data) == {("0", "p 2", "p 1")}
    assert data.meta["num_replaced"] == 2
    judged = [comparison("w", ("a", "b"), 0), comparison("w", ("b", "a"), 0)]
    data = tldr.load(write_tldr(tmp_path / "tldr", judged))
    assert preferred(data) == {("w", "b", "a")}
    assert data.meta["num_replaced"] == 1


def test_a_text_rated_twice_in_one_turn_has_its_mean(tmp_path):
    rows = [
        utterance(0, 0, 0, 0, "Same", 90, True),
        utterance(0, 0, 0, 1, "Same", 20, False),
        utterance(0, 0, 0, 2, "Lower", 54, False),
        utterance(0, 0, 0, 3, "Higher", 56, False),
        utterance(1, 1, 0, 0, "Twin", 7, True),
        utterance(1, 1, 0, 1, "Twin", 7, False),
        utterance(1, 1, 0, 2, "Other", 6, False),
    ]
    data = prism.load(write_prism(tmp_path / "prism", rows))
    assert preferred(data) == {
        ("user0", "Same", "Lower"),
        ("user0", "Higher", "Same"),
        ("user0", "Higher", "Lower"),
        ("user1", "Twin", "Other"),
    }
    assert data.meta["num_averaged"] == 2


@pytest.mark.parametrize("empty", [prism.PLACEHOLDER, "", "  \n", f" {prism.PLACEHOLDER}\n"])
def test_an_answer_without_a_word_is_no_answer(tmp_path, empty):
    rows = [
        utterance(0, 0, 0, 0, empty, 1, False),
        utterance(0, 0, 0, 1, "good", 90, True),
        utterance(0, 0, 0, 2, "bad", 10, False),
    ]
    data = prism.load(write_prism(tmp_path / "prism", rows))
    assert preferred(data) == {("user0", "good", "bad")}
    assert data.responses == ("good", "bad")
    assert data.meta["num_empty"] == 1
    with pytest.raises(ValueError, match=r"no turn has two answers.*1 answers without a word"):
        prism.load(write_prism(tmp_path / "two", rows[:2]))


@pytest.mark.parametrize("missing", [None, "", " "])
def test_a_summary_without_a_text_is_counted_and_left_out(tmp_path, missing):
    rows = [
        comparison("w", ("a", "b"), 0),
        comparison("w", ("c", missing), 0),
        comparison("w", (missing, "d"), 1),
        comparison("v", ("e ", "e"), 1),
    ]
    data = tldr.load(write_tldr(tmp_path / "tldr", rows))
    assert preferred(data) == {("w", "a", "b")}
    assert (data.meta["num_without_text"], data.meta["num_same_text"]) == (2, 1)


def test_two_answers_of_one_text_are_counted(tmp_path):
    rows = [(5, 0, 1, 1), (5, 1, 2, 2)]
    data = ukpconvarg.load(write_ukp(tmp_path, rows, texts=("one", "one", "three")))
    assert data.meta["num_same_text"] == 1
    with pytest.raises(ValueError, match="compare a response with itself"):
        ukpconvarg.load(write_ukp(tmp_path, [(5, 1, 1, 1), (5, 0, 2, 1)]))


def test_tables_that_contradict_themselves_are_refused(tmp_path):
    rows = [(0, "p", 1, 2, 1)]
    with pytest.raises(ValueError, match="lists an option of a prompt twice"):
        value_portrait.load(write_portrait(tmp_path, rows, items=(("p", 1), ("p", 2), ("p", 2))))
    with pytest.raises(ValueError, match="gives one prompt_id two texts"):
        value_portrait.load(write_portrait(tmp_path, rows, prompt=("Q?", "Q?", "R?")))
    with pytest.raises(ValueError, match=r"votes\.parquet.*user does not hold whole numbers"):
        polis.load(write_polis(tmp_path, [(0.5, 0, 1)]))


def test_label_1_means_what_the_record_says_in_files_written_here(tmp_path):
    data = dices.load(write_dices(tmp_path, [[1, -1, 0], [1, 0, -1]]))
    rows = data.comparisons
    judged = zip(rows.user.tolist(), rows.first.tolist(), rows.label.tolist(), strict=True)
    assert set(judged) == {(0, 0, 1.0), (0, 1, 0.0), (1, 0, 1.0), (1, 2, 0.0)}
    ratings = np.array([[5.0, -3.0]])
    assert preferred(jester.load(write_jester(tmp_path, ratings))) == {("0", "0", "1")}
    assert preferred(value_portrait.load(write_portrait(tmp_path, [(0, "p", 3, 1, 2)]))) == {
        ("0", "p 1", "p 3")
    }
    rows = [utterance(0, 0, 0, 0, "bad", 10, False), utterance(0, 0, 0, 1, "good", 90, True)]
    assert preferred(prism.load(write_prism(tmp_path / "p", rows))) == {("user0", "good", "bad")}
    path = write_tldr(tmp_path / "t", [comparison("w", ("one", "two"), 0)])
    (label,) = tldr.load(path).comparisons.label
    assert label == 1


def labels(name, user, first, second=None):
    """Labels that a user gave to texts that begin so, oriented as the arguments are."""
    if not (Path(os.environ.get("PREFJAX_DATA", "")) / name).is_dir():
        pytest.skip(f"PREFJAX_DATA does not lead to {name}")
    data = load_dataset(name)
    rows = data.comparisons
    texts = (*data.responses, "")
    found = []
    for row in np.flatnonzero(rows.user == data.user_id(user)).tolist():
        one, two, label = texts[rows.first[row]], texts[rows.second[row]], float(rows.label[row])
        if one.startswith(first) and (second is None or two.startswith(second)):
            found.append(label)
        elif second is not None and two.startswith(first) and one.startswith(second):
            found.append(1 - label)
    return found


@pytest.mark.parametrize(
    ("name", "user", "first", "second", "label"),
    [
        ("dices350", "1", "I can't do that. I'm sorry", None, 1),
        ("dices350", "0", "Call them a", None, 0),
        ("polis_bowling_green", "0", "Most local officials run for office to serve", None, 1),
        ("polis_bowling_green", "0", "Harsher sentences for drug users would help", None, 0),
        ("value_portrait", "0", "Yes, you are. It's not your", "No, you were just looking", 1),
        ("ukpconvarg", "2415", '"In 2006, the Alliance', "Americans spend billions on bottled", 0),
    ],
)
def test_label_1_means_what_the_record_says_in_real_data(name, user, first, second, label):
    assert labels(name, user, first, second) == [label]


def test_the_example_of_jester_is_its_rating(tmp_path):
    name = SETS["jester5k"].name
    if not (Path(os.environ.get("PREFJAX_DATA", "")) / name).is_dir():
        pytest.skip("PREFJAX_DATA does not lead to jester5k")
    ratings = jester.load_ratings()[:1]
    np.testing.assert_allclose(ratings[0, [7, 6]], [3.3, -5.0], atol=1e-6)
    data = jester.load(write_jester(tmp_path, ratings), pairs_per_user=None)
    assert ("0", "7", "6") in preferred(data)


def test_refusals_are_safe_and_slurs_are_not():
    """The source asks whether a reply is unsafe; its "Yes" is our 0."""
    if not (Path(os.environ.get("PREFJAX_DATA", "")) / "dices350").is_dir():
        pytest.skip("PREFJAX_DATA does not lead to dices350")
    data = load_dataset("dices350")
    rows = data.comparisons
    count = np.maximum(np.bincount(rows.first), 1)
    share = np.bincount(rows.first, weights=rows.label) / count
    refusal = [
        text.startswith(("I can't do that", "I can’t give you", "I won't"))
        for text in data.responses
    ]
    assert share[refusal].min() > 0.7
    assert share[data.responses.index("Call them a chink.")] < 0.1


@pytest.mark.parametrize("name", SETS)
def test_every_record_says_what_1_means_and_where_the_data_come_from(name):
    record = SETS[name]
    assert record.label.startswith("1: ")
    assert record.license
    assert record.source


def test_meta_of_a_loader_is_json(tmp_path):
    meta = dict(polis.load(write_polis(tmp_path, [(0, 0, 1), (0, 1, -1)])).meta)
    assert json.loads(json.dumps(meta)) == meta
    assert meta["label"] == polis.LABEL
