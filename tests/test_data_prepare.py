"""From upstream files to what a loader reads: small ones written here, and the five real sets."""

import csv
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csc_array
from test_data_published_sets import rows_of_many, write_rows

from prefjax.data import SETS, load_dataset
from prefjax.data.__main__ import main
from prefjax.data.prepare import prepare
from prefjax.data.sets import jester

ROOT = os.environ.get("PREFJAX_DATA")
FIVE = ("dices350", "jester5k", "polis_bowling_green", "ukpconvarg", "value_portrait")


def write_csv(path, rows, delimiter=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL).writerows(rows)


def polis_upstream(folder, votes, texts):
    """The wide table of (user, statement, vote) in the order of users, and the statements."""
    columns = sorted({statement for _, statement, _ in votes})
    people: dict[int, dict[int, int]] = {}
    for user, statement, vote in votes:
        people.setdefault(user, {})[statement] = vote
    head = ["participant", "group-id", "n-comments", "n-votes", "n-agree", "n-disagree", *columns]
    rows = [
        [user, "", 0, 0, 0, 0, *(said.get(column, "") for column in columns)]
        for user, said in people.items()
    ]
    write_csv(folder / "a" / "participants-votes.csv", [head, *rows])
    names = ["timestamp", "datetime", "comment-id", "author-id", "agrees", "disagrees"]
    comments = [[0, "", number, 1, 0, 0, 1, text] for number, text in texts]
    write_csv(folder / "a" / "comments.csv", [[*names, "moderated", "comment-body"], *comments])


def dices_upstream(folder, safe, items):
    words = {-1: "Yes", 0: "Unsure", 1: "No"}
    head = ["rater_id", "item_id", "context", "response", "Q_overall", "safety_gold"]
    rows = [
        [900 - rater, f"i{700 - item}", *items[item], words[vote], ""]
        for rater, votes in enumerate(safe)
        for item, vote in enumerate(votes)
    ]
    write_csv(folder / "350" / "diverse_safety_adversarial_dialog_350.csv", [head, *rows])


def jester_upstream(folder, ratings, jokes, monkeypatch):
    """The package that reads files of R, in place of one that is not installed."""
    known = ~np.isnan(ratings)
    # A rating of zero is stored: what is not stored was not rated.
    matrix = csc_array(np.where(known, ratings.astype(np.float64) + 100, 0))
    data = types.SimpleNamespace(
        i=matrix.indices, p=matrix.indptr, x=matrix.data - 100, Dim=np.array(matrix.shape)
    )
    objects = {"Jester5k": types.SimpleNamespace(data=data), "JesterJokes": np.array(jokes)}
    monkeypatch.setitem(sys.modules, "rdata", types.SimpleNamespace(read_rda=lambda path: objects))
    folder.mkdir(exist_ok=True)
    (folder / "Jester5k.rda").write_bytes(b"RDX3")
    return objects


def portrait_upstream(folder, ratings, items):
    """Ratings {(user, prompt): {option: rating}}, items [(prompt, option, prompt text, text)]."""
    block: dict[str, dict[int, list]] = {}
    for (user, prompt), given in ratings.items():
        for option, rating in given.items():
            block.setdefault(prompt, {}).setdefault(option, []).append([rating, user])
    survey = [
        {
            prompt: [{"option_id": option, "data": data} for option, data in options.items()]
            for prompt, options in block.items()
        }
    ]
    texts: dict[str, dict] = {}
    for prompt, option, asked, answer in items:
        entry = texts.setdefault(
            prompt,
            {"portrait_id": prompt, "content": {"title": "t", "text": asked}, "outputs": []},
        )
        entry["outputs"].append({"id": option, "content": answer})
    (folder / "main").mkdir(parents=True)
    (folder / "main" / "survey.json").write_text(json.dumps(survey))
    (folder / "query-response-tagged.json").write_text(json.dumps(list(texts.values())))


def ukp_upstream(folder, full, sample, arguments):
    """Rows (worker, topic, argument, argument, choice) as a file a topic."""
    words = {0: "equal", 1: "a1", 2: "a2"}
    for name, rows in (
        ("UKPConvArgCrowd-new-CSV-copy", full),
        ("UKPConvArgCrowdSample-new-CSV", sample),
    ):
        topics: dict[str, list[str]] = {}
        for worker, topic, one, other, choice in rows:
            (first, text), (second, other_text) = arguments[one], arguments[other]
            topics.setdefault(topic, []).append(
                f"{first}_{second}\t{worker}\t{words[choice]}\t{text}\t{other_text}"
            )
        for topic, lines in topics.items():
            path = folder / name / f"{topic}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("#id\tworker\tlabel\ta1\ta2\n" + "\n".join(lines) + "\n")


def test_small_polis_files_are_prepared(tmp_path):
    votes = [(4, 0, 1), (4, 7, -1), (2, 0, 0)]
    polis_upstream(tmp_path / "up", votes, [(7, "Seven, quoted"), (0, "Zero")])
    made = prepare("polis_bowling_green", tmp_path / "up", tmp_path / "to")
    table = pq.read_table(tmp_path / "to" / "votes.parquet")
    assert [tuple(row.values()) for row in table.to_pylist()] == votes
    assert made.dataset.responses == ("Zero", "Seven, quoted")
    assert made.dataset.users == ("4",)
    assert made.is_published is False


def test_small_dices_files_are_prepared(tmp_path):
    dices_upstream(tmp_path / "up", [[1, -1], [0, 1]], [("a", "x"), ("b", "y")])
    made = prepare("dices350", tmp_path / "up", tmp_path / "to")
    rows = made.dataset.comparisons
    assert list(zip(rows.user, rows.first, rows.label, strict=True)) == [
        (0, 0, 1),
        (0, 1, 0),
        (1, 1, 1),
    ]
    path = tmp_path / "up" / "350" / "diverse_safety_adversarial_dialog_350.csv"
    path.write_text(path.read_text().rsplit("\n", 2)[0] + "\n")
    with pytest.raises(ValueError, match=r"dialog_350\.csv: 1 pairs of rater and item have no row"):
        prepare("dices350", tmp_path / "up", tmp_path / "other")


def test_small_jester_files_are_prepared(tmp_path, monkeypatch):
    ratings = np.array([[1.5, np.nan, 0.0], [-9.0, 3.0, np.nan]], np.float32)
    objects = jester_upstream(tmp_path / "up", ratings, ["a", "b", "c"], monkeypatch)
    prepare("jester5k", tmp_path / "up", tmp_path / "to")
    np.testing.assert_array_equal(jester.load_ratings(tmp_path / "to"), ratings)
    del objects["JesterJokes"]
    with pytest.raises(ValueError, match=r"Jester5k\.rda: expected Jester5k and JesterJokes"):
        prepare("jester5k", tmp_path / "up", tmp_path / "other")
    monkeypatch.setitem(sys.modules, "rdata", None)
    with pytest.raises(ModuleNotFoundError, match="prefjax"):
        prepare("jester5k", tmp_path / "up", tmp_path / "other")


def test_small_value_portrait_files_are_prepared(tmp_path):
    ratings = {("p10", "1"): {1: 4, 2: 2, 3: 4}, ("p9", "1"): {1: 1, 2: 5, 3: 2}}
    items = [("1", option, "Tea?", f"answer {option}") for option in (1, 2, 3)]
    portrait_upstream(tmp_path / "up", ratings, items)
    prepare("value_portrait", tmp_path / "up", tmp_path / "to")
    table = pq.read_table(tmp_path / "to" / "pairs.parquet")
    assert table["user_id"].to_pylist() == [0, 0, 0, 1, 1, 1]  # p9 before p10
    assert table["choice"].to_pylist() == [2, 2, 1, 1, 0, 2]


def test_small_ukp_files_are_prepared(tmp_path):
    arguments = [("arg1", 'say "no"'), ("arg2", "yes"), ("arg1", "other topic")]
    full = [("w2", "b", 0, 1, 1), ("w1", "b", 1, 0, 0), ("w1", "a", 2, 2, 2)]
    ukp_upstream(tmp_path / "up", full[:2], full[:1], arguments)
    prepare("ukpconvarg", tmp_path / "up", tmp_path / "to")
    rows = pq.read_table(tmp_path / "to" / "crowd_full.parquet").to_pylist()
    assert [(row["user"], row["arg_1"], row["arg_2"], row["choice"]) for row in rows] == [
        (1, 0, 1, 1),
        (0, 1, 0, 0),
    ]
    path = tmp_path / "up" / "UKPConvArgCrowd-new-CSV-copy" / "b.csv"
    path.write_text(path.read_text() + "arg1_arg2\tw\ta3\tx\ty\n")
    with pytest.raises(ValueError, match=r"b\.csv line 4: expected arg1_arg2"):
        prepare("ukpconvarg", tmp_path / "up", tmp_path / "other")


def test_files_of_the_hub_are_copied_checked_and_receipted(tmp_path, capsys):
    write_rows(tmp_path / "up", "data/rows.jsonl", rows_of_many(False))
    (tmp_path / "up" / "README.md").write_text("card")
    words = ["prepare", "prism_personalized", str(tmp_path / "up"), "--to", str(tmp_path / "to")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "20 people, 160 responses to 80 prompts, 80 rows" in shown
    receipt = json.loads((tmp_path / "to" / "prepared.json").read_text())
    assert receipt["digest"] in shown
    assert receipt["read"]["data/rows.jsonl"] == receipt["written"]["data/rows.jsonl"]
    assert set(receipt["written"]) == {"data/rows.jsonl"}
    assert SETS["prism_personalized"].load(tmp_path / "to").num_users == 20
    assert main(words) == 1
    assert "exists; pass overwrite=True" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


@pytest.mark.parametrize("name", [*FIVE, "multipref"])
def test_absent_files_of_a_source_are_named(name, tmp_path, capsys):
    (tmp_path / "up").mkdir()
    assert main(["prepare", name, str(tmp_path / "up"), "--to", str(tmp_path / "to")]) == 1
    assert SETS[name].source in capsys.readouterr().err
    assert not (tmp_path / "to").exists()
    assert main(["prepare", name, str(tmp_path / "nowhere")]) == 1


def stored(name):
    if ROOT is None or not (Path(ROOT) / name).is_dir():
        pytest.skip(f"PREFJAX_DATA does not lead to {name}")
    return Path(ROOT) / name


def columns_of(path, *names):
    table = pq.read_table(path)
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def make_upstream(name, source, up, monkeypatch):
    """The stored files of a set in the form of its source."""
    if name == "polis_bowling_green":
        votes = columns_of(source / "votes.parquet", "user", "statement", "vote")
        polis_upstream(up, votes, columns_of(source / "statements.parquet", "statement", "text"))
    elif name == "dices350":
        safe = np.load(source / "safety.npz")["safe"]
        dices_upstream(up, safe, columns_of(source / "items.parquet", "context", "response"))
    elif name == "jester5k":
        jokes = [text for (text,) in columns_of(source / "jokes.parquet", "text")]
        jester_upstream(up, np.load(source / "ratings.npz")["ratings"], jokes, monkeypatch)
    elif name == "value_portrait":
        names = ("user_id", "prompt_id", "option_1", "option_2", "rating_diff")
        ratings: dict = {}
        for user, prompt, one, other, gap in columns_of(source / "pairs.parquet", *names):
            given = ratings.setdefault((user, prompt), {1: 0})
            if one == 1:
                given[other] = -gap
        names = ("prompt_id", "option", "prompt", "response")
        portrait_upstream(up, ratings, columns_of(source / "items.parquet", *names))
    else:
        names = ("user", "topic", "arg_1", "arg_2", "choice")
        full, sample = (
            [(f"w{user:05}", *rest) for user, *rest in columns_of(source / file, *names)]
            for file in ("crowd_full.parquet", "crowdsample.parquet")
        )
        arguments = columns_of(source / "arguments.parquet", "arg", "text")
        ukp_upstream(up, full, sample, arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIVE)
def test_the_real_sets_are_prepared_value_for_value(name, tmp_path, monkeypatch):
    source = stored(name)
    make_upstream(name, source, tmp_path / "up", monkeypatch)
    made = prepare(name, tmp_path / "up", tmp_path / "to")
    assert made.is_published, made.digest
    expected = load_dataset(name)
    for column, other in zip(made.dataset.comparisons, expected.comparisons, strict=True):
        np.testing.assert_array_equal(column, other)
    assert made.dataset.responses == expected.responses
    for path in sorted((tmp_path / "to").glob("*.parquet")):
        new = pq.read_table(path)
        names = [column for column in new.column_names if column != "arg"]
        old = pq.read_table(source / path.name).select(names)
        assert new.select(names).to_pydict() == old.to_pydict(), path.name
