"""Flat files as people have them: read right, or refused with the row and the column."""

import decimal
import json
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefjax.data import read
from prefjax.types import BASELINE

HEADER = "user,prompt,response_a,response_b,label\n"
ROW = {"user": "ann", "prompt": "Tea?", "response_a": "yes", "response_b": "no", "label": 1}


def lines(path, *rows):
    path.write_text("".join(json.dumps({**ROW, **row}) + "\n" for row in rows))
    return path


def parquet(path, **columns):
    usual = {name: [value, value] for name, value in ROW.items()}
    columns = {name: column for name, column in (usual | columns).items() if column is not None}
    pq.write_table(pa.table(columns), path)
    return path


def without(name):
    return {key: value for key, value in ROW.items() if key != name}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_file_without_second_responses_is_one_of_votes(tmp_path, suffix):
    path = tmp_path / f"votes{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(without("response_b")) + "\n" for _ in range(2)))
    elif suffix == ".csv":
        path.write_text("user,prompt,response_a,label\nann,Tea?,yes,1\nann,Tea?,maybe,0\n")
    else:
        parquet(path, response_b=pa.nulls(2))
    data = read(path)
    np.testing.assert_array_equal(data.comparisons.second, [BASELINE] * 2)
    with pytest.raises(ValueError, match=r"votes.*response_b has no value in (row 0|line 1)"):
        read(path, votes=False)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "a.csv",
            HEADER + "ann,p,x,y,1\nbob,p,x,,0\n",
            r"response_b has no value in row 1 \(1 of 2",
        ),
        ("a.jsonl", [{}, {"response_b": None}], "response_b has no value in line 2.*votes=True"),
        (
            "b.csv",
            "user,prompt,response_a,reponse_b,label\nann,p,x,y,1\n",
            "'reponse_b' looks like",
        ),
        ("c.csv", "user,prompt,response_a,Response B,label\nann,p,x,y,1\n", "'Response B' looks"),
        ("d.csv", HEADER.replace("label", "label,weights") + "a,p,x,y,1,2\n", "looks like weight"),
    ],
)
def test_a_missing_or_misspelled_column_is_no_vote(tmp_path, name, text, words):
    path = tmp_path / name
    if isinstance(text, str):
        path.write_text(text)
    else:
        lines(path, *text)
    with pytest.raises(ValueError, match=words):
        read(path)


def test_the_caller_may_say_that_rows_without_a_second_response_are_votes(tmp_path):
    path = tmp_path / "mixed.csv"
    path.write_text(HEADER + 'ann,p,x,y,1\nbob,p,x,,0\nbob,p,x,"",0\n')
    data = read(path, votes=True)
    seconds = [None if i == BASELINE else data.responses[i] for i in data.comparisons.second]
    assert seconds == ["y", None, ""]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user": False}, "line 2: column user must hold text or a whole number"),
        ({"user": 2.5}, "line 2: column user must hold text or a whole number, got 2.5"),
        ({"user": None}, "column user has no value in line 2"),
        ({"prompt": None}, "column prompt has no value in line 2"),
        ({"response_a": ["yes"]}, r"line 2: column response_a must hold text, got \[.yes.\]"),
        ({"response_b": 7}, "line 2: column response_b must hold text, got 7"),
        ({"label": "1"}, 'line 2: column label must hold a number, got "1"'),
        ({"label": None}, "column label has no value in line 2"),
        ({"label": 10**400}, "line 2: column label must hold a number"),
        (
            {"prompt": "half \udc00"},
            r"column prompt in line 2 holds half a character, '\\udc00' at 5",
        ),
        ({"user": "\ud83d"}, "column user in line 2 holds half a character"),
        ({"response_a": "a\0b"}, "column response_a in line 2 holds NUL at character 1"),
        ({"user": "ann\0"}, "column user in line 2 holds NUL"),
        ({"label": float("nan")}, r"label must lie in \[0, 1\].*rows \[1\]"),
        ({"label": 7}, r"label must lie in \[0, 1\].*rows \[1\] with values \[7"),
        ({"weight": -1}, "column weight has no value in line 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path, change, words):
    with pytest.raises(ValueError, match=rf"bad\.jsonl.*{words}"):
        read(lines(tmp_path / "bad.jsonl", {}, change))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"user": [1.0, 2.0]}, "column user must hold text or whole numbers, got double, row 0"),
        ({"user": ["ann", None]}, "column user has no value in row 1"),
        (
            {"label": ["model_a", "good"]},
            r"label .text. must hold numbers, but row 1 has .good",
        ),
        ({"label": [1, None]}, "column label has no value in row 1"),
        ({"prompt": ["a", "b\0"]}, "column prompt in row 1 holds NUL at character 1"),
        ({"response_a": [b"\xff", b"a"]}, "column response_a must hold text, got binary"),
        ({"response_b": [["a"], ["b"]]}, "column response_b must hold text, got list"),
        ({"prompt": None}, "fits the columns user, response_a, response_b, label"),
    ],
)
def test_a_bad_column_of_parquet_is_named(tmp_path, columns, words):
    with pytest.raises(ValueError, match=rf"bad\.parquet.*{words}"):
        read(parquet(tmp_path / "bad.parquet", **columns))


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    arrays = [pa.array([value, value]) for value in (*ROW.values(), "ann")]
    pq.write_table(pa.Table.from_arrays(arrays, [*ROW, "user"]), tmp_path / "twice.parquet")
    with pytest.raises(ValueError, match="user"):
        read(tmp_path / "twice.parquet")
    (tmp_path / "twice.jsonl").write_text('{"user": "ann", "user": "bob"}\n')
    with pytest.raises(ValueError, match=r"line 1 is not JSON .'user' is there twice"):
        read(tmp_path / "twice.jsonl")


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["ann", "bob"]).dictionary_encode(),
        pa.array(["ann", "bob"], pa.string_view()),
        pa.array(["ann", "bob"], pa.large_string()),
        pa.chunked_array([["ann"], ["bob"]]),
        pa.chunked_array(
            [pa.array(["ann"]).dictionary_encode(), pa.array(["bob"]).dictionary_encode()]
        ),
    ],
    ids=["category", "view", "large", "chunks", "categories in chunks"],
)
def test_names_and_texts_in_any_type_of_arrow_are_read(tmp_path, column):
    path = parquet(tmp_path / "names.parquet", user=column, response_a=column)
    data = read(path)
    assert data.users == ("ann", "bob")
    assert [data.responses[i] for i in data.comparisons.first] == ["ann", "bob"]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (pa.array([decimal.Decimal("0.25"), decimal.Decimal("1.00")]), [0.25, 1]),
        (pa.array([True, False]), [1, 0]),
        (pa.array(["0.5", "true"]), [0.5, 1]),
        (pa.array([1, 0]).dictionary_encode(), [1, 0]),
        (pa.array(np.array([0.5, 1], np.float16)), [0.5, 1]),
    ],
    ids=["decimal", "boolean", "text", "category", "half"],
)
def test_labels_in_any_type_of_number_are_read(tmp_path, label, expected):
    data = read(parquet(tmp_path / "labels.parquet", label=label))
    np.testing.assert_allclose(data.comparisons.label, expected)


@pytest.mark.parametrize("user", [[1_000_000_007, 1_956_267_254], [2**64 - 1, 2**63]])
def test_user_ids_of_many_digits_are_two_names(tmp_path, user):
    data = read(parquet(tmp_path / "ids.parquet", user=pa.array(user, pa.uint64())))
    assert data.users == tuple(map(str, user))
    np.testing.assert_array_equal(data.comparisons.user, [0, 1])
    again = read(lines(tmp_path / "ids.jsonl", {"user": user[0]}, {"user": user[1]}))
    assert again.users == data.users


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", (HEADER + "ann,Tea?,naïve,y,1\n").encode("cp1252"), "line 2 is not UTF-8"),
        ("b.csv", HEADER.encode("utf-16"), "b.csv"),
        ("a.jsonl", b'{"user": "\xe9"}\n', "line 1 is not UTF-8"),
        ("b.jsonl", b"\xff\xfe{\0}\0", "line 1 is not UTF-8"),
        ("c.csv", HEADER.replace(",", "\t").encode() + b"a\tp\tx\ty\t1\n", "separated by commas"),
        ("d.csv", HEADER.replace(",", "|").encode() + b"a|p|x|y|1\n", "separated by commas"),
        ("c.jsonl", b"\n \n\n", "There are no comparisons"),
        ("d.jsonl", b"[" * 100_000, "line 1 is not JSON"),
        ("e.csv", b"", "cannot be read as CSV"),
    ],
)
def test_files_in_another_encoding_or_of_no_rows_are_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read(tmp_path / name)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_byte_order_mark_and_blank_lines_change_nothing(tmp_path, suffix):
    path = tmp_path / f"marked{suffix}"
    content = HEADER + "ann,Tea?,yes,no,1\n" if suffix == ".csv" else json.dumps(ROW)
    path.write_text(content.replace("\n", "\r\n") + "\n\n\n", encoding="utf-8-sig")
    data = read(path)
    assert (data.users, data.prompts, data.responses) == (("ann",), ("Tea?",), ("yes", "no"))


def test_rows_that_compare_a_text_with_itself_are_counted_and_left_out(tmp_path):
    path = lines(tmp_path / "same.jsonl", {}, {"response_a": "no"}, {"prompt": "Milk?"})
    with pytest.warns(UserWarning, match="1 of 3 rows compare a text with itself.*line 2"):
        data = read(path)
    assert data.meta["num_same_text"] == 1
    assert len(data.comparisons.user) == 2
    with pytest.raises(ValueError, match="2 of 2 rows compare a text with itself: no row is left"):
        read(parquet(tmp_path / "same.parquet", response_a=["no", "no"]))


@pytest.mark.parametrize(
    ("one", "other"),
    [("bob", "bob "), ("Jos\u00e9", "Jose\u0301"), ("Bob", "bob"), ("7", "007"), ("\uff41", "a")],
)
def test_names_that_are_nearly_equal_are_reported_and_kept_apart(tmp_path, one, other):
    path = lines(tmp_path / "names.jsonl", {"user": one}, {"user": other}, {"user": "carol"})
    with pytest.warns(UserWarning, match="2 names of people differ from another only in case"):
        data = read(path)
    assert data.users == (one, other, "carol")


def test_names_that_differ_are_not_reported(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(lines(tmp_path / "a.jsonl", {"user": "ann b"}, {"user": "annb"}, {"user": 70}))
