"""PRISM and TL;DR from files in their real schema, written here; and a hub out of reach."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefjax.data.sets import prism, tldr
from prefjax.data.split import four_cells

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def utterance(user, talk, turn, place, response, score, chosen):
    return {
        "utterance_id": f"ut-{talk}-{turn}-{place}",
        "interaction_id": f"int-{talk}-{turn}",
        "conversation_id": f"c{talk}",
        "user_id": f"user{user}",
        "turn": turn,
        "within_turn_id": place,
        "conversation_type": "unguided",
        "user_prompt": f"Question {turn} of talk {talk}?",
        "model_response": response,
        "model_name": "some-model",
        "model_provider": "somebody",
        "score": score,
        "if_chosen": chosen,
        "included_in_balanced_subset": True,
    }


def write_prism(folder, rows):
    folder.mkdir(exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / prism.FILE).write_text(lines)
    return folder


ROWS = [
    utterance(0, 0, 0, 0, "good", 90, True),
    utterance(0, 0, 0, 1, "bad", 10, False),
    utterance(0, 0, 0, 2, "also bad", 10, False),
    utterance(0, 0, 1, 0, "later good", 60, True),
    utterance(0, 0, 1, 1, "later bad", 50, False),
    utterance(1, 1, 0, 1, "right", 100, True),
    utterance(1, 1, 0, 0, "wrong", 1, False),
    utterance(1, 1, 0, 2, "wrong", 2, False),
]


def preferred(dataset):
    """(user, winner, loser) of every row."""
    rows = dataset.comparisons
    return {
        (dataset.users[user], *(dataset.responses[i] for i in ((a, b) if y > 0.5 else (b, a))))
        for user, a, b, y, _ in zip(*(column.tolist() for column in rows), strict=True)
    }


def test_prism_pairs_are_the_ratings_of_one_turn(tmp_path):
    dataset = prism.load(write_prism(tmp_path / "prism", ROWS))
    expected = {
        ("user0", "good", "bad"),
        ("user0", "good", "also bad"),
        ("user1", "right", "wrong"),
    }
    assert preferred(dataset) == expected
    assert dataset.prompts == ("Question 0 of talk 0?", "Question 0 of talk 1?")
    assert len(dataset.meta["conversation"]) == dataset.num_responses


def test_later_turns_know_what_was_said_and_stay_with_their_conversation(tmp_path):
    more = [
        utterance(2, n, 0, p, f"answer {n} {p}", 10 * p + 1, p == 1) for n in (2, 3) for p in (0, 1)
    ]
    dataset = prism.load(write_prism(tmp_path / "prism", ROWS + more), turns="all")
    assert ("user0", "later good", "later bad") in preferred(dataset)
    assert "Question 0 of talk 0?\n\ngood\n\nQuestion 1 of talk 0?" in dataset.prompts
    groups = np.array(dataset.meta["conversation"])
    split = four_cells(dataset, group=groups, new_users=0.4, new_groups=0.5, tolerance=0.2, seed=3)
    assert len(np.unique(split.is_new_response[groups == 0])) == 1


def test_a_larger_gap_leaves_fewer_pairs(tmp_path):
    folder = write_prism(tmp_path / "prism", ROWS)
    assert preferred(prism.load(folder, min_gap=85.0)) == {("user1", "right", "wrong")}


def test_rejected_answers_as_lists_are_refused(tmp_path):
    folder = write_prism(tmp_path / "prism", [{**ROWS[0]}, {**ROWS[1], "model_response": ["bad"]}])
    with pytest.raises(ValueError, match=r"utterances\.jsonl.*model_response"):
        prism.load(folder)
    missing = {name: value for name, value in ROWS[0].items() if name != "score"}
    with pytest.raises(ValueError, match="score has no value in row 0"):
        prism.load(write_prism(tmp_path / "other", [missing]))


def comparison(worker, texts, choice, title="A title", post="A post"):
    return {
        "info": {
            "id": "t3_1",
            "post": post,
            "title": title,
            "subreddit": "test",
            "site": None,
            "article": None if post else "An article",
        },
        "summaries": [{"text": text, "policy": "sup1", "note": ""} for text in texts],
        "choice": choice,
        "worker": worker,
        "batch": "batch3",
        "split": "train",
        "extra": {"confidence": None},
    }


def write_tldr(folder, rows, part="train"):
    path = folder / "comparisons" / part / "0000.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return folder


JUDGED = [
    comparison("w0", (" one", "two"), 0),
    comparison("w0", ("two", "three"), 1),
    comparison("w1", ("one", "three"), 1),
    comparison("w1", ("same", "same "), 1),
    comparison("w2", ("one", "other"), 0, title=None, post=None),
]


def test_tldr_names_workers_and_shares_summaries_of_one_post(tmp_path):
    dataset = tldr.load(write_tldr(tmp_path / "tldr", JUDGED))
    assert preferred(dataset) == {
        ("w0", "one", "two"),
        ("w0", "three", "two"),
        ("w1", "three", "one"),
        ("w2", "one", "other"),
    }
    assert dataset.prompts == ("A title\n\nA post", "An article")
    assert dataset.responses == ("one", "two", "three", "one", "other")
    assert tldr.load(tmp_path / "tldr", min_rows=2).users == ("w0",)


def test_tldr_of_another_schema_is_refused(tmp_path):
    with pytest.raises(ValueError, match="choice of 0 or 1"):
        tldr.load(write_tldr(tmp_path / "a", [{**JUDGED[0], "choice": 2}]))
    with pytest.raises(ValueError, match=r"expected columns info.*found.*text"):
        tldr.load(write_tldr(tmp_path / "b", [{"text": "x"}]))


@pytest.mark.parametrize(("source", "file"), [(prism, "utterances.jsonl"), (tldr, "0000.parquet")])
def test_without_files_a_sentence_says_what_to_put_where(source, file, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFJAX_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{file}.*{source.REPOSITORY}"):
        source.load()
    with pytest.raises(ValueError, match="40 hexadecimal digits"):
        source.load(revision="main")


@pytest.mark.parametrize("source", [prism, tldr])
def test_a_hub_out_of_reach_says_what_to_download(source, tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    asked = {}

    def unreachable(repository, **settings):
        asked.update(settings, repository=repository)
        raise ConnectionError("no network")

    monkeypatch.setattr(hub, "snapshot_download", unreachable)
    with pytest.raises(OSError, match=r"put them into .* PREFJAX_DATA"):
        source.load(revision=COMMIT)
    assert asked["revision"] == COMMIT
    assert asked["repo_type"] == "dataset"


def test_a_snapshot_of_the_hub_is_read_like_a_folder(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    folder = write_prism(tmp_path / "snapshot", ROWS)
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(folder))
    assert prism.load(revision=COMMIT).meta["revision"] == COMMIT
