"""Rows as the field's tools write them: a fixture of each, read, written back, value for value."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefjax.data import read, to_rows, to_table, write
from prefjax.data.audit import LeakError
from prefjax.data.layouts import LAYOUTS
from prefjax.types import BASELINE


def said(data):
    """What a data set says, without ids and positions: person, prompt, better, worse, label."""
    texts = (*data.responses, None)
    rows = []
    for user, first, second, label, weight in zip(
        *(column.tolist() for column in data.comparisons), strict=True
    ):
        better, worse = texts[first], texts[second]
        if label < 0.5 and second != BASELINE:
            better, worse, label = worse, better, 1.0 - label
        prompt = data.prompts[data.prompt_index[first]]
        rows.append((data.users[user], prompt, better, worse, label, weight))
    return rows


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


TURNS = [user("Tea?"), assistant("Gladly."), user("Milk?")]
ANN, BOB = {"user": "ann"}, {"user": "bob"}
FIXTURES = {
    "columns": [
        {
            **ANN,
            "prompt": "Tea?",
            "response_a": "yes",
            "response_b": "no",
            "label": 1.0,
            "weight": 1.0,
        },
        {
            **BOB,
            "prompt": "Tea?",
            "response_a": "no",
            "response_b": "yes",
            "label": 0.25,
            "weight": 2.0,
        },
    ],
    "trl": [
        {"prompt": "Tea?", "chosen": "yes", "rejected": "no", **ANN},
        {"prompt": "Tea?", "chosen": "no", "rejected": "yes", **BOB},
        {"prompt": "Milk?", "chosen": "a lot", "rejected": "", **BOB},
    ],
    "trl conversational": [
        {
            "prompt": [user("Tea?")],
            "chosen": [assistant("yes")],
            "rejected": [assistant("no")],
            **ANN,
        },
        {
            "prompt": [{"role": "system", "content": "Be brief."}, user("Tea?")],
            "chosen": [assistant("no")],
            "rejected": [assistant("yes")],
            **BOB,
        },
    ],
    "trl-implicit": [
        {"chosen": "Q: Tea?\nA: yes", "rejected": "Q: Tea?\nA: no", **ANN},
        {"chosen": "Q: Milk?\nA: nope", "rejected": "Q: Milk?\nA: nooo", **BOB},
        {
            "chosen": "\n\nHuman: Tea?\n\nAssistant: One\ncup",
            "rejected": "\n\nHuman: Tea?\n\nAssistant: One\npot",
            **BOB,
        },
    ],
    "trl-implicit conversational": [
        {
            "chosen": [user("Tea?"), assistant("yes")],
            "rejected": [user("Tea?"), assistant("no")],
            **ANN,
        },
    ],
    "unpaired": [
        {"prompt": "Tea?", "completion": "yes", "label": True, **ANN},
        {"prompt": "Tea?", "completion": "no", "label": False, **BOB},
    ],
    "unpaired conversational": [
        {"prompt": [user("Tea?")], "completion": [assistant("yes")], "label": False, **ANN},
    ],
    "alpaca_eval": [
        {
            "instruction": "Tea?",
            "output_1": "yes",
            "output_2": "no",
            "annotator": "ann",
            "preference": preference,
        }
        for preference in (1.0, 2.0, 1.5, 1.25)
    ],
    "label_studio": [
        {
            "id": 1,
            "data": {"prompt": "Tea?", "answer1": "yes", "answer2": "no"},
            "annotations": [
                {
                    "completed_by": {"email": email},
                    "was_cancelled": False,
                    "result": [
                        {
                            "from_name": "comparison",
                            "to_name": "answer1,answer2",
                            "type": "pairwise",
                            "value": {"selected": side},
                        }
                    ],
                }
                for email, side in (("ann@x.org", "left"), ("bob@x.org", "right"))
            ],
        }
    ],
    "potato": [
        {
            "instance_id": "0",
            "user_id": name,
            "prompt": "Tea?",
            "text": ["yes", "no"],
            "label_annotations": {"preference": {"selection": choice}},
        }
        for name, choice in (("ann", "A"), ("bob", "B"), ("carol", "tie"))
    ],
    "argilla": [
        {
            "instruction": "Tea?",
            "response-1": "yes",
            "response-2": "no",
            "preference": [
                {"user_id": name, "value": value, "status": "submitted"}
                for name, value in (("ann", "response-1"), ("bob", "response-2"), ("c", "tie"))
            ],
        }
    ],
    "annotated_pairs": [
        {
            "metadata": {"version": "2.0"},
            "annotators": {
                name: {"name": name, "description": "", "type": "human"} for name in ("ann", "bob")
            },
            "comparisons": [
                {
                    "id": "0",
                    "prompt": "Tea?",
                    "response_a": {"text": "yes"},
                    "response_b": {"text": "no"},
                    "annotations": {"ann": {"pref": "a"}, "bob": {"pref": "b"}},
                    "metadata": {},
                },
                {
                    "id": "1",
                    "prompt": "Milk?",
                    "response_a": {"text": "yes"},
                    "response_b": {"text": "no"},
                    "annotations": {"bob": {"pref": "tie"}},
                    "metadata": {},
                },
            ],
        }
    ],
    "best-of-k": [
        {**ANN, "prompt": "Drink?", "responses": ["water", "tea", "milk"], "choice": 1},
        {**BOB, "prompt": "Drink?", "responses": ["water", "tea", "milk"], "choice": 2},
    ],
    "ranking": [
        {**ANN, "prompt": "Drink?", "responses": ["water", "tea", "milk"], "rank": [2, 1, 3]},
        {**BOB, "prompt": "Drink?", "responses": ["water", "tea", "milk"], "rank": [1, 3, 1]},
    ],
}
WINS = [("ann", "Tea?", "yes", "no", 1, 1), ("bob", "Tea?", "no", "yes", 1, 1)]
SAID = {
    "columns": [WINS[0], ("bob", "Tea?", "yes", "no", 0.75, 2)],
    "trl": [*WINS, ("bob", "Milk?", "a lot", "", 1, 1)],
    "trl conversational": [
        WINS[0],
        ("bob", "System: Be brief.\n\nUser: Tea?", "no", "yes", 1, 1),
    ],
    "trl-implicit": [
        ("ann", "Q: Tea?\n", "A: yes", "A: no", 1, 1),
        ("bob", "Q: Milk?\n", "A: nope", "A: nooo", 1, 1),
        ("bob", "\n\nHuman: Tea?\n\nAssistant:", " One\ncup", " One\npot", 1, 1),
    ],
    "trl-implicit conversational": WINS[:1],
    "unpaired": [("ann", "Tea?", "yes", None, 1, 1), ("bob", "Tea?", "no", None, 0, 1)],
    "unpaired conversational": [("ann", "Tea?", "yes", None, 0, 1)],
    "alpaca_eval": [
        WINS[0],
        ("ann", "Tea?", "no", "yes", 1, 1),
        ("ann", "Tea?", "yes", "no", 0.5, 1),
        ("ann", "Tea?", "yes", "no", 0.75, 1),
    ],
    "label_studio": [
        ("ann@x.org", "Tea?", "yes", "no", 1, 1),
        ("bob@x.org", "Tea?", "no", "yes", 1, 1),
    ],
    "potato": [*WINS, ("carol", "Tea?", "yes", "no", 0.5, 1)],
    "argilla": [*WINS, ("c", "Tea?", "yes", "no", 0.5, 1)],
    "annotated_pairs": [*WINS, ("bob", "Milk?", "yes", "no", 0.5, 1)],
    "best-of-k": [
        ("ann", "Drink?", "tea", "water", 1, 1),
        ("ann", "Drink?", "tea", "milk", 1, 1),
        ("bob", "Drink?", "milk", "water", 1, 1),
        ("bob", "Drink?", "milk", "tea", 1, 1),
    ],
}
MORE_THAN_TWO = pytest.mark.filterwarnings("ignore:Up to 3 responses")


@MORE_THAN_TWO
@pytest.mark.parametrize("name", FIXTURES)
def test_a_fixture_of_each_layout_is_read_and_written_back(name, tmp_path):
    rows, layout = FIXTURES[name], name.split()[0]
    document = rows[0] if layout == "annotated_pairs" else rows
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(document))
    data = read(path)
    assert data.meta["layout"] == layout
    if name in SAID:
        assert said(data) == SAID[name]
    back, written = to_rows(data, layout)
    assert back == rows
    assert written.num_judgments == len(data.comparisons.user)
    for suffix in (".json", ".jsonl", ".parquet", ".csv"):
        if LAYOUTS[layout].needs_json and suffix in (".parquet", ".csv"):
            continue
        if suffix == ".csv" and (LAYOUTS[layout].has_lists or "implicit conv" in name):
            continue  # lists; and of a text, prompt and response must be told apart
        again = tmp_path / f"again{suffix}"
        write(data, again, layout)
        expected = said(data)
        assert said(read(again)) == expected, suffix


def test_every_layout_has_a_fixture():
    written = {name for name, layout in LAYOUTS.items() if layout.write is not None}
    assert written == {name.split()[0] for name in FIXTURES}


def test_all_pairs_of_a_ranking_and_a_tie_are_read():
    with pytest.warns(UserWarning, match="Up to 3 responses.*limits come out too narrow"):
        data = read(FIXTURES["ranking"])
    assert said(data)[:3] == [
        ("ann", "Drink?", "tea", "water", 1, 1),
        ("ann", "Drink?", "water", "milk", 1, 1),
        ("ann", "Drink?", "tea", "milk", 1, 1),
    ]
    assert said(data)[4][2:] in [("water", "milk", 0.5, 1), ("milk", "water", 0.5, 1)]
    assert data.responses == ("water", "tea", "milk")  # as shown, whoever won
    assert "caveat" in data.meta


class Frame:
    """What a `datasets.Dataset` can do that is needed of it; ``[:]`` honors its selection."""

    features = ()

    def __init__(self, table):
        self.table = table

    def with_format(self, kind):
        assert kind == "arrow"
        return self

    def __getitem__(self, rows):
        return self.table[rows] if not isinstance(rows, slice) else self.table


class Stream:
    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("name", ["trl", "trl conversational", "unpaired", "columns"])
def test_tables_of_other_libraries_are_read_without_importing_them(name, tmp_path):
    rows = FIXTURES[name]
    table = pa.Table.from_pylist(rows)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(table, tmp_path / "rows.parquet")
    expected = said(read(rows))
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    for source in (
        path,
        str(tmp_path / "rows.parquet"),
        table,
        Frame(table),
        Stream(table),
        columns,
        iter(rows),
    ):
        assert said(read(source)) == expected
    assert said(read(to_table(read(rows), name.split()[0]))) == expected


def test_a_pandas_frame_and_a_real_dataset_are_read():
    pandas = pytest.importorskip("pandas")
    rows = FIXTURES["trl conversational"]
    frame = pandas.DataFrame(rows)
    assert said(read(frame)) == said(read(rows))
    votes = pandas.DataFrame({"user": [7, 8], "prompt": "p", "response_a": "x", "label": [1, 0]})
    assert read(votes.iloc[::-1]).users == ("8", "7")


@pytest.mark.filterwarnings("ignore")  # datasets' own, of pickling what it caches by
def test_a_selection_of_a_dataset_of_hugging_face_is_honored():
    datasets = pytest.importorskip("datasets")
    # A fingerprint of our own: theirs pickles the table, which fails with some versions of pyarrow.
    rows = datasets.Dataset(pa.Table.from_pylist(FIXTURES["trl"]), fingerprint="a")
    assert said(read(rows.select([1]))) == said(read(FIXTURES["trl"]))[1:2]
    with pytest.raises(TypeError, match=r"'train'.*data\['train'\]"):
        read(datasets.DatasetDict({"train": rows}))
    assert said(read(datasets.Dataset(to_table(read(rows), "trl"), fingerprint="b"))) == said(
        read(rows)
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [(7, "int has no rows"), ([{"a": 1}, 3], "Row 1 is no dictionary"), ({"a": 1}, "columns of")],
)
def test_objects_without_rows_are_refused(data, words):
    with pytest.raises(TypeError, match=words):
        read(data)


def test_an_unknown_file_shows_the_three_nearest_layouts_and_what_misses(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("question,chosen,Rejected,who\na,b,c,d\n")
    with pytest.raises(ValueError, match=r"mine\.csv: no layout fits") as error:
        read(path)
    lines = str(error.value).splitlines()
    assert len(lines) == 5
    assert lines[1].startswith("  trl-implicit")
    assert "missing rejected ('Rejected' looks like it)" in lines[1]
    assert "missing prompt, rejected" in lines[2]
    assert 'columns={"prompt": "question"}' in lines[4]


def test_columns_can_be_named():
    rows = [{"q": "Tea?", "good": "yes", "bad": "no", "who": 7, "prompt": "not this"}]
    names = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    data = read(rows, user="who", columns=names)
    assert said(data) == [("7", "Tea?", "yes", "no", 1, 1)]
    assert "people from 'who'" in data.meta["detected"]
    with pytest.raises(ValueError, match="no column 'whom'; 'who' looks like it"):
        read(rows, user="whom", columns=names)
    with pytest.raises(ValueError, match=r"no column names the person.*user= "):
        read(rows, columns=names)
    assert read(rows, columns=names, one_user="me").users == ("me",)


def test_two_columns_that_may_name_people_are_not_guessed_at():
    row = {**FIXTURES["trl"][0], "annotator": "a", "judge": "b"}
    assert read([row]).users == ("ann",)
    del row["user"]
    with pytest.raises(ValueError, match="annotator, judge may all be the user; pass user="):
        read([row])


def test_a_column_that_names_another_person_in_every_row_is_told():
    rows = [
        {"prompt": "p", "chosen": f"a{place}", "rejected": f"b{place}", "judge": place}
        for place in range(30)
    ]
    with pytest.warns(UserWarning, match="'judge', which was taken to name people, names another"):
        read(rows)
    assert read(rows, user="judge").num_users == 30


def test_which_comes_first_is_drawn_from_the_seed():
    rows = [
        {"prompt": f"{place}", "chosen": "good", "rejected": "bad", "user": "u"}
        for place in range(400)
    ]
    one, other = read(rows, seed=0), read(rows, seed=1)
    assert 160 < one.comparisons.label.sum() < 240
    assert (one.comparisons.label != other.comparisons.label).any()
    np.testing.assert_array_equal(one.comparisons.label, read(rows).comparisons.label)
    smaller = one.comparisons.first < one.comparisons.second
    assert 160 < (smaller == (one.comparisons.label > 0.5)).sum() < 240
    assert said(one) == said(other)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"chosen": "yes", "rejected": [assistant("no")]}, "chosen is text and rejected a list"),
        ({"chosen": [assistant("yes")], "rejected": "no"}, "chosen is a list and rejected text"),
    ],
)
def test_chosen_and_rejected_of_two_types_are_a_leak(row, words):
    with pytest.raises(LeakError, match=rf"row 1: {words}.*Render both"):
        read([FIXTURES["trl"][0], {"prompt": "Tea?", "user": "a", **row}])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"chosen": ["yes"], "rejected": ["no"]}, "chosen must hold text or a list of messages"),
        ({"chosen": None, "rejected": "no"}, "column chosen has no value in row 0"),
        (
            {"chosen": [user("a"), assistant("b")], "rejected": [user("x"), assistant("b")]},
            "differ before their last message",
        ),
        (
            {"chosen": [user("a"), assistant("b")], "rejected": [assistant("b")]},
            r"chosen \(2 messages\) and rejected \(1\)",
        ),
        ({"chosen": [user("a")], "rejected": [user("b")]}, "end in one message of the assistant"),
        (
            {"chosen": [{"role": "assistant", "content": None}], "rejected": [assistant("b")]},
            "whose content is no text",
        ),
    ],
)
def test_rows_that_cannot_be_two_responses_are_refused(row, words):
    with pytest.raises(ValueError, match=words):
        read([{"prompt": None, "user": "a", **row}])


def test_turns_of_one_conversation_share_a_group():
    later = {"chosen": [*TURNS, assistant("a bit")], "rejected": [*TURNS, assistant("no")]}
    rows = [
        {**FIXTURES["trl-implicit conversational"][0]},
        {**later, **BOB},
        {"chosen": [user("Sun?"), assistant("yes")], "rejected": [user("Sun?"), assistant("no")]}
        | ANN,
    ]
    data = read(rows)
    tea, milk, sun = (data.group[data.comparisons.first[row]] for row in range(3))
    assert tea == milk != sun
    assert data.prompts[1] == "User: Tea?\n\nAssistant: Gladly.\n\nUser: Milk?"
    assert to_rows(data, "trl-implicit")[0][1]["chosen"] == later["chosen"]
    assert "in 2 groups of turns" in data.meta["detected"]
    named = [{**row, "conversation_id": talk} for row, talk in zip(rows, (5, 6, 6), strict=True)]
    data = read(named)
    tea, milk, sun = (data.group[data.comparisons.first[row]] for row in range(3))
    assert tea != milk == sun


def test_a_prompt_of_two_conversations_joins_them():
    rows = [
        {"prompt": prompt, "chosen": f"{talk}", "rejected": "no", "dialog_id": talk, **ANN}
        for talk, prompt in ((1, "a"), (1, "b"), (2, "b"), (3, "c"))
    ]
    assert len(np.unique(read(rows).group)) == 2


def test_later_files_have_the_ids_of_the_first():
    first = read(FIXTURES["trl"])
    later = read(
        [
            {"prompt": "Milk?", "chosen": "yes", "rejected": "a lot", "user": "carol"},
            {"prompt": "Tea?", "chosen": "no", "rejected": "yes", "user": "bob"},
        ],
        like=first,
    )
    assert later.users == (*first.users, "carol")
    assert later.prompts == first.prompts
    assert later.responses[: first.num_responses] == first.responses
    assert later.responses[first.num_responses :] == ("yes",)
    assert later.prompt_index[-1] == first.prompts.index("Milk?")
    assert said(later)[1] == ("bob", "Tea?", "no", "yes", 1, 1)
    tea = {first.response_id(text, "Tea?") for text in ("yes", "no")}
    assert {later.comparisons.first[1], later.comparisons.second[1]} == tea
    assert said(read(first, like=later)) == said(first)


def test_later_turns_join_the_group_of_the_first_file():
    first = read([FIXTURES["trl-implicit conversational"][0], *FIXTURES["trl"][2:]])
    later = read(
        [{"chosen": [*TURNS, assistant("a")], "rejected": [*TURNS, assistant("b")], **BOB}],
        like=first,
    )
    tea = later.response_id("yes", "Tea?")
    assert later.group[tea] == later.group[later.comparisons.first[0]]
    assert later.group[tea] != later.group[later.response_id("a lot", "Milk?")]
    assert to_rows(later, "trl")[0][0]["prompt"] == TURNS


SOFT = [
    {"user": "u", "prompt": "p", "response_a": "x", "response_b": "y", "label": label}
    for label in (1, 0.5, 0.75, 0.25)
]


@pytest.mark.parametrize(
    ("soft_labels", "chosen", "words"),
    [
        ("threshold", "xxy", "1 ties left out; 2 soft labels written as wins"),
        ("drop", "x", "1 ties left out; 2 soft labels left out"),
        ("weights", "xxyxyxy", "3 soft labels written both ways, with weights"),
    ],
)
def test_what_becomes_of_ties_and_soft_labels_is_said(soft_labels, chosen, words):
    rows, written = to_rows(read(SOFT), "trl", soft_labels=soft_labels)
    assert "".join(row["chosen"] for row in rows) == chosen
    assert all(word in written.line for word in words.split("; "))
    if soft_labels == "weights":
        assert [row.get("weight", 1) for row in rows] == [1, 0.5, 0.5, 0.75, 0.25, 0.25, 0.75]
        assert read(rows).comparisons.sample_weight.sum() == 4


@pytest.mark.parametrize(
    ("rows", "layout", "words"),
    [
        (FIXTURES["columns"], "alpaca_eval", "row 1 has weight 2"),
        (FIXTURES["unpaired"], "trl", "row 0 is a vote"),
        (FIXTURES["trl"], "unpaired", "row 0 is a pair"),
        (FIXTURES["trl"], "trl-implicit", "cannot be told apart once they are one text"),
        (FIXTURES["trl"], "nowhere", "no layout 'nowhere' to write; they are columns, best"),
    ],
)
def test_what_a_layout_cannot_say_is_refused(rows, layout, words):
    with pytest.raises(ValueError, match=words):
        to_rows(read(rows), layout)


def test_files_that_cannot_hold_a_layout_are_refused(tmp_path):
    data = read(FIXTURES["argilla"])
    with pytest.raises(ValueError, match=r"x\.parquet: layout 'potato' is nested"):
        write(data, tmp_path / "x.parquet", "potato")
    with pytest.raises(ValueError, match="suffix must be one of"):
        write(data, tmp_path / "x.txt")
    with pytest.raises(ValueError, match="column chosen holds lists"):
        write(data, tmp_path / "x.csv", "trl", conversational=True)
    assert list(tmp_path.iterdir()) == []


def test_dates_and_numbers_in_a_csv_file_stay_texts(tmp_path):
    path = tmp_path / "dates.csv"
    path.write_text("user,prompt,chosen,rejected\n1,2020-01-01,2020-01-02,1e5\n")
    assert said(read(path)) == [("1", "2020-01-01", "2020-01-02", "1e5", 1, 1)]


def test_label_studio_finds_fields_by_tag_by_name_or_as_told():
    task = json.loads(json.dumps(FIXTURES["label_studio"][0]))
    task["data"] = {"q": "Tea?", "one": "yes", "two": "no"}
    with pytest.raises(ValueError, match="data, which has q, one, two; name them with"):
        read([task])
    data = read([task], columns={"prompt": "q", "response_a": "one", "response_b": "two"})
    assert said(data) == SAID["label_studio"]
    task["annotations"][0]["result"][0]["to_name"] = ["two", "one"]
    task["annotations"][1]["was_cancelled"] = True
    data = read([task])
    assert said(data) == [("ann@x.org", "", "no", "yes", 1, 1)]
    assert data.meta["num_without_judgment"] == 1
    short = {"prompt": "Tea?", "answer1": "yes", "answer2": "no", "annotation_id": 3}
    short |= {"annotator": 7, "which": [{"selected": "right"}]}
    assert said(read([short])) == [("7", "Tea?", "no", "yes", 1, 1)]


def test_potato_takes_texts_from_the_file_of_items():
    rows = [
        {"instance_id": "i", "user_id": "ann", "preference": {"selection": "B"}},
        {"instance_id": "i", "user_id": "bob", "preference": {"scale": "-2"}},
    ]
    with pytest.raises(ValueError, match=r"item 'i' are not in the row; pass .* items="):
        read(rows)
    items = [{"id": "i", "prompt": "Tea?", "text": ["yes", "no"]}]
    assert said(read(rows, items=items)) == [
        ("ann", "Tea?", "no", "yes", 1, 1),
        ("bob", "Tea?", "yes", "no", 1, 1),
    ]


def test_argilla_of_version_2_and_rankings_are_read():
    texts = {"instruction": "Tea?", "response-1": "yes", "response-2": "no"}
    flat = {
        **texts,
        "best.responses": ["2", "1"],
        "best.responses.users": ["ann", "bob"],
        "best.responses.status": ["submitted", "draft"],
    }
    data = read([flat])
    assert said(data) == [("ann", "Tea?", "no", "yes", 1, 1)]
    assert data.meta["num_without_judgment"] == 1
    rank = [{"rank": 2, "value": "response-1"}, {"rank": 1, "value": "response-2"}]
    answer = {"user_id": "ann", "value": rank, "status": "submitted"}
    assert said(read([{**texts, "best": [answer]}])) == said(data)
    with pytest.raises(ValueError, match="an answer to best must name response-1"):
        read([{**texts, "best": [{**answer, "value": "great"}]}])


def test_outputs_of_alpaca_eval_hold_no_preference():
    with pytest.raises(ValueError, match="hold no preference; read the annotations"):
        read([{"instruction": "a", "output": "b", "generator": "c", "dataset": "d"}])


def test_a_folder_and_a_data_set_are_read_too(tmp_path):
    from prefjax.data.io import write_folder

    data = read(FIXTURES["trl conversational"])
    write_folder(data, tmp_path / "folder")
    assert said(read(tmp_path / "folder")) == said(data)
    assert read(data) is data


VALUES = (None, True, 3, 0.5, "a", "", "\0", [], ["a"], [[]], {}, {"a": 1}, [{"role": 1}])


def changed(value, rng):
    """The same value with one part of it, at any depth, replaced or taken away."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.85:
        value = value.copy()
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[rng.integers(len(keys))]
        if rng.random() < 0.1:
            del value[key]
        else:
            value[key] = changed(value[key], rng)
        return value
    return VALUES[rng.integers(len(VALUES))]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", FIXTURES)
def test_changed_values_are_read_or_refused_by_name(name):
    rng = np.random.default_rng(0)
    for _ in range(150):
        rows = [changed(row, rng) for row in FIXTURES[name]]
        message = "the table: "
        try:
            data = read([row for row in rows if isinstance(row, dict)])
        except ValueError as error:
            message = str(error)
        else:
            assert (data.comparisons.first != data.comparisons.second).all()
        assert message.startswith("the table: ")
