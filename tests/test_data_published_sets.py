"""Sets of the hub that know their people, from files in their real schema, written here."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_data_layouts import MORE_THAN_TWO, assistant, said, user

from prefjax.data import SETS, load_split
from prefjax.data.audit import audit_split
from prefjax.data.published import PublishedConfig, split_published
from prefjax.data.sets import (
    chatbot_arena,
    collective_alignment,
    community_alignment,
    multipref,
    personalllm,
    wimhf,
)

NEW = (
    "arena_personalized",
    "chatbot_arena",
    "collective_alignment",
    "community_alignment",
    "multipref",
    "personalllm",
    "prism_personalized",
    "wimhf",
)


def write_rows(folder, name, rows):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize("name", NEW)
def test_without_files_a_sentence_says_what_to_put_where(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFJAX_DATA", str(tmp_path))
    record = SETS[name]
    with pytest.raises(FileNotFoundError, match=rf"{name} lacks .*\.parquet or .*put.*{name}.*hub"):
        record.load()
    monkeypatch.delenv("PREFJAX_DATA")
    with pytest.raises(FileNotFoundError, match=f"Set PREFJAX_DATA to a folder.*{name}/ with"):
        record.load()
    with pytest.raises(ValueError, match="40 hexadecimal digits"):
        record.load(revision="main")


@pytest.mark.parametrize("name", NEW)
def test_files_of_another_schema_are_named(name, tmp_path):
    stem = "prism" if name == "wimhf" else "rows"
    write_rows(tmp_path, f"{stem}.jsonl", [{"text": "x"}])
    with pytest.raises(ValueError, match=rf"({stem}\.jsonl: expected columns|no file has)"):
        SETS[name].load(tmp_path)


def personal(person, talk, split, *, turns=1, flip=False, better="good", worse="bad"):
    context = [user(f"Question of talk {talk}?")]
    for turn in range(1, turns):
        context += [{"role": "model", "content": "so far"}, user(f"Turn {turn}?")]
    return {
        "conversation_id": f"c{talk}",
        "user_id": f"user{person}",
        "context": context,
        "chosen": {"role": "model", "content": f"{better} {talk}"},
        "rejected": {"role": "model", "content": f"{worse} {talk}"},
        "turns": turns,
        "split": split,
        "flip": flip,
    }


@pytest.mark.parametrize("name", ["prism_personalized", "arena_personalized"])
def test_personal_reward_bench_keeps_its_split_and_its_order(name, tmp_path):
    rows = [
        personal(0, 0, "train"),
        personal(0, 0, "train", turns=2, flip=True),
        personal(0, 1, "test", flip=True),
        personal(1, 2, "val"),
    ]
    data = SETS[name].load(write_rows(tmp_path, "data/train-00000.parquet", rows))
    assert said(data) == [
        ("user0", "Question of talk 0?", "good 0", "bad 0", 1, 1),
        (
            "user0",
            "User: Question of talk 0?\n\nAssistant: so far\n\nUser: Turn 1?",
            "good 0",
            "bad 0",
            1,
            1,
        ),
        ("user0", "Question of talk 1?", "good 1", "bad 1", 1, 1),
        ("user1", "Question of talk 2?", "good 2", "bad 2", 1, 1),
    ]
    np.testing.assert_array_equal(data.comparisons.label, [1, 0, 0, 1])
    assert data.meta["split"] == ["train", "train", "test", "val"]
    assert data.select(np.array([2, 0])).meta["split"] == ["test", "train"]
    first, later, other, _ = data.group[data.comparisons.first]
    assert first == later != other
    assert data.meta["simulated"] is False


def test_files_named_after_parts_are_the_split_where_no_column_says_it(tmp_path):
    for part, talk in (("train", 0), ("test", 1)):
        row = personal(0, talk, "")
        del row["split"], row["flip"]
        write_rows(tmp_path, f"{part}-0.jsonl", [row])
    data = SETS["prism_personalized"].load(tmp_path)
    assert data.meta["split"] == ["test", "train"]
    row["user_id"] = None
    write_rows(tmp_path, "train-0.jsonl", [row])
    with pytest.raises(ValueError, match=r"user has no value in train-0\.jsonl line 1"):
        SETS["prism_personalized"].load(tmp_path)


def rows_of_many(by_people):
    rows = []
    for person in range(20):
        for talk in range(4):
            part = "test" if (person >= 15 if by_people else talk == 3) else "train"
            rows.append(personal(person, 10 * person + talk, part))
    return rows


@pytest.mark.parametrize("by_people", [False, True])
def test_a_published_split_is_kept(by_people, tmp_path):
    write_rows(tmp_path, "rows.jsonl", rows_of_many(by_people))
    data, split = load_split("prism_personalized", folder=tmp_path)
    audit_split(data, split)
    if by_people:
        assert [data.users[index] for index in split.new_users] == [
            f"user{person}" for person in range(15, 20)
        ]
        assert len(split.train.user) == 60
        assert len(split.calibration.user) == len(split.test.user) == 10
    else:
        assert len(split.new_users) == 4
        assert len(split.train.user) == 3 * 16
        assert len(split.calibration.user) == 3 * len(split.test.user) == 12
        talks = {data.prompts[data.prompt_index[first]][-2] for first in split.test.first}
        assert talks == {"3"}
    assert split.num_mixed == 0
    other = load_split("prism_personalized", folder=tmp_path, seed=1)[1]
    assert (len(other.test.user), by_people) == (len(split.test.user), by_people)


def test_rows_whose_conversation_is_tested_leave_a_published_split(tmp_path):
    rows = rows_of_many(False)
    rows[0]["conversation_id"] = rows[3]["conversation_id"]
    data = SETS["prism_personalized"].load(write_rows(tmp_path, "rows.jsonl", rows))
    split = split_published(data, PublishedConfig())
    assert split.num_mixed == 1
    assert len(split.test.user) == 4
    everything = {**data.meta, "split": ["train"] * len(data.meta["split"])}
    with pytest.raises(ValueError, match="0 test rows of 80; the parts are train"):
        split_published(replace(data, meta=everything), PublishedConfig())


def aligned(talk, person, preferred, turns=1, first_prompt=None):
    row = {
        "conversation_id": talk,
        "annotator_id": person,
        "assigned_lang": "en",
        "annotator_age": "30-40",
        "is_pregenerated_first_prompt": first_prompt is not None,
    }
    for number, turn in enumerate(community_alignment.TURNS):
        for letter in "abcd":
            row[f"{turn}_turn_response_{letter}"] = (
                f" {turn} {letter} {talk}<|end_of_text|>" if number < turns else None
            )
        row[f"{turn}_turn_prompt"] = (
            first_prompt if first_prompt and number == 0 else f"{turn} of {talk}?"
        )
        if number >= turns:
            row[f"{turn}_turn_prompt"] = None
        row[f"{turn}_turn_preferred_response"] = preferred if number < turns else None
    return row


@MORE_THAN_TWO
@pytest.mark.filterwarnings("ignore:Up to 4 responses")
def test_choices_among_four_are_pairs_with_the_chosen_and_turns_go_on_with_it(tmp_path):
    rows = [
        aligned(1, 7, "response_b", turns=2),
        aligned(2, 8, "response_a", first_prompt="shared?"),
        aligned(3, 9, "response_c", first_prompt="shared?"),
        aligned(4, 9, None),
    ]
    names = list(rows[0])
    text = ",".join(names) + "\n"
    for row in rows:
        cells = ("" if row[name] is None else f'"{row[name]}"' for name in names)
        text += ",".join(cells) + "\n"
    (tmp_path / "community_alignment.csv").write_text(text)
    data = community_alignment.load(tmp_path)
    rows = said(data)
    assert [row[:4] for row in rows[:3]] == [
        ("7", "first of 1?", "first b 1", f"first {letter} 1") for letter in "acd"
    ]
    assert rows[3][1] == "User: first of 1?\n\nAssistant: first b 1\n\nUser: second of 1?"
    assert len(rows) == 12
    assert data.meta["num_without_judgment"] == 1
    assert data.meta["profiles"]["7"] == {"age": "30-40"}
    assert "too narrow" in data.meta["caveat"]
    group = data.group[data.comparisons.first]
    assert len(np.unique(group[:6])) == 1
    assert group[6] == group[9] != group[0]
    assert len(community_alignment.load(tmp_path, turns="first").comparisons.user) == 9
    with pytest.raises(ValueError, match="no comparisons"):
        community_alignment.load(tmp_path, language="fr")


def annotation(who, level):
    return {"evaluator": who, "overall_pref": level, "overall_confidence": "absolutely-confident"}


def test_five_levels_become_soft_labels(tmp_path):
    row = {
        "comparison_id": "1",
        "prompt_id": "p",
        "text": "Tea?",
        "completion_a": "yes",
        "completion_b": "no",
        "normal_worker_annotations": [
            annotation("w1", "A-is-clearly-better"),
            annotation("w2", "Tie"),
        ],
        "expert_worker_annotations": [
            annotation("e1", "B-is-slightly-better"),
            annotation("e2", "B-is-clearly-better"),
        ],
    }
    write_rows(tmp_path, "train.parquet", [row])
    data = multipref.load(tmp_path)
    np.testing.assert_array_equal(data.comparisons.label, [1, 0.25, 0])
    assert data.users == ("w1", "e1", "e2")
    assert data.responses == ("yes", "no")
    assert data.meta["num_ties"] == 1
    assert multipref.load(tmp_path, annotators="normal", ties="half").users == ("w1", "w2")
    row["expert_worker_annotations"][0]["overall_pref"] = "A"
    with pytest.raises(ValueError, match="overall_pref must be one of a-is-clearly"):
        multipref.load(write_rows(tmp_path, "train.parquet", [row]))


def arena(judge, winner, answers=("yes", "no"), more=()):
    sides = [[user("Tea?"), assistant(answer), *more] for answer in answers]
    return {
        "question_id": f"{judge}{winner}{answers}",
        "model_a": "x",
        "model_b": "y",
        "winner": winner,
        "judge": judge,
        "conversation_a": sides[0],
        "conversation_b": sides[1],
        "turn": 1,
        "language": "English",
    }


def test_votes_of_judges_who_voted_often_enough(tmp_path):
    more = (user("More?"), assistant("Sure."))
    rows = [
        arena("a", "model_a"),
        arena("a", "tie (bothbad)"),
        arena("a", "model_b", more=more),
        arena("a", "model_b", answers=("a cup", "a pot")),
        arena("b", "model_a"),
    ]
    data = chatbot_arena.load(write_rows(tmp_path, "rows.parquet", rows))
    assert data.users == ("a",)
    np.testing.assert_array_equal(data.comparisons.label, [1, 0, 0])
    assert data.responses[data.comparisons.first[1]] == (
        "Assistant: yes\n\nUser: More?\n\nAssistant: Sure."
    )
    assert data.meta["num_ties"] == 1
    assert len(chatbot_arena.load(tmp_path, ties="half", min_rows=1).comparisons.user) == 5
    assert len(chatbot_arena.load(tmp_path, turns="first").comparisons.user) == 2
    rows[0]["conversation_b"] = [user("Milk?"), assistant("no")]
    assert chatbot_arena.load(write_rows(tmp_path, "rows.parquet", rows)).meta["num_unequal"] == 1


@pytest.mark.filterwarnings("ignore:Up to 4 responses")
@pytest.mark.parametrize("by_person", [True, False])
def test_rankings_of_two_kinds_become_pairs(by_person, tmp_path):
    def assessment(person, personal, world):
        blocks = {
            "personal": [{"ranking": personal, "rationale": "it is mine"}] if personal else [],
            "world": [{"ranking": world, "rationale": "it is ours"}],
            "unacceptable": [],
        }
        return {"annotator_id": person, "prompt_id": "p", "ranking_blocks": blocks}

    said_of = [assessment("ann", "B>A=C>D", "D>C>B>A"), assessment("bob", None, "A>B>C>D")]
    prompt = {
        "prompt_id": "p",
        "prompt": {"id": "p", "messages": [user("Tea?")]},
        "responses": [
            {"response_index": letter, "messages": [assistant(f"answer {letter}")]}
            for letter in "ABCD"
        ],
    }
    if by_person:
        people = [{"annotator_id": one["annotator_id"], "assessments": [one]} for one in said_of]
        write_rows(tmp_path, "annotators.jsonl", people)
    else:
        prompt["metadata"] = {"assessments": said_of}
    write_rows(tmp_path, "comparisons.jsonl", [prompt])
    data = collective_alignment.load(tmp_path)
    assert {(better[-1], worse[-1]) for _, _, better, worse, *_ in said(data)} == set(
        zip("BBBAC", "ACDDD", strict=True)
    )
    assert data.meta["num_without_judgment"] == 1
    assert data.meta["num_ties"] == 1
    assert data.responses == tuple(f"answer {letter}" for letter in "ABCD")
    assert len(collective_alignment.load(tmp_path, ties="half").comparisons.user) == 6
    assert len(collective_alignment.load(tmp_path, block="world").comparisons.user) == 12
    said_of[0]["ranking_blocks"]["personal"][0]["ranking"] = "E>A"
    write_rows(
        tmp_path,
        "annotators.jsonl" if by_person else "comparisons.jsonl",
        (people if by_person else [prompt]),
    )
    with pytest.raises(ValueError, match=r"jsonl line 1: the ranking 'E>A' names 'E'"):
        collective_alignment.load(tmp_path)


def test_one_schema_for_seven_sets(tmp_path):
    rows = [
        {
            "prompt": "Tea?",
            "response_A": "yes",
            "response_B": "no",
            "label": label,
            "length_delta": 1,
            "user_id": person,
            "conversation_id": f"c{person}",
        }
        for person, label in ((1, 1), (2, 0))
    ]
    write_rows(tmp_path, "data/prism.json", rows)
    data = wimhf.load(tmp_path)
    assert said(data) == [("1", "Tea?", "yes", "no", 1, 1), ("2", "Tea?", "no", "yes", 1, 1)]
    del rows[0]["user_id"], rows[1]["user_id"]
    write_rows(tmp_path, "data/hh_rlhf.json", rows)
    with pytest.raises(ValueError, match=r"hh_rlhf names no people .*user= "):
        wimhf.load(tmp_path, part="hh_rlhf")
    with pytest.raises(FileNotFoundError, match=r"lacks tulu\.parquet or tulu\.jsonl"):
        wimhf.load(tmp_path, part="tulu")


def test_simulated_people_follow_their_mixture_of_reward_models(tmp_path):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(30, 8, 2)) * [1.0, 100.0]
    rows = [
        {
            "prompt": f"prompt {number}",
            **{f"response_{i}": f"answer {i} of {number}" for i in range(1, 9)},
            **{
                f"response_{i}_{model}": scores[number, i - 1, m]
                for i in range(1, 9)
                for m, model in enumerate(("gemma", "llama3"))
            },
        }
        for number in range(30)
    ]
    data = personalllm.load(
        write_rows(tmp_path, "train.parquet", rows), num_users=40, rows_per_user=20
    )
    assert data.meta["simulated"] is True
    assert data.meta["reward_models"] == ["gemma", "llama3"]
    weights = np.array(data.meta["weights"])
    flat = ((scores - scores.mean((0, 1))) / scores.std((0, 1))).reshape(240, 2)
    rows = data.comparisons
    value = ((flat[rows.first] - flat[rows.second]) * weights[rows.user]).sum(1)
    np.testing.assert_array_equal(rows.label, value > 0)
    assert (np.bincount(rows.user) == 20).all()
    assert (np.abs(weights[:, 0] - 0.5) > 0.4).mean() > 0.5  # small α: one model each
    assert 0.4 < rows.label.mean() < 0.6


@pytest.mark.parametrize("name", NEW)
def test_a_record_says_how_it_is_divided_and_is_in_the_readme(name):
    from test_readme import PAGES

    record = SETS[name]
    assert record.on_hub
    assert record.source.startswith("Hugging Face hub ")
    assert f"| `{name}` |" in PAGES["howto/public_data.md"]
