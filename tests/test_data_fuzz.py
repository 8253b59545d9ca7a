"""Damaged flat files: whatever is done to one, it is read or refused by name.

`make test` tries 1,000 inputs; PREFJAX_FUZZ multiplies that.
"""

import datetime
import decimal
import json
import os
import string
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefjax.data import read as read_data
from prefjax.data import write
from prefjax.data.dataset import Dataset
from prefjax.types import BASELINE, Comparisons

TIMES = int(os.environ.get("PREFJAX_FUZZ", "1"))
NAMES = ("user", "prompt", "response_a", "response_b", "label", "weight")
WRONG_NAMES = ("User", "response_B", "respons_b", "lable", "weights", "sample_weight", "", "x")


def tries(number):
    return settings(
        max_examples=number * TIMES,
        deadline=None,
        database=None,
        derandomize=TIMES == 1,
        suppress_health_check=list(HealthCheck),
    )


def read(path):
    """Fails unless there comes a legal data set, or a ValueError that names the file."""
    refused = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            data = read_data(path)
        except ValueError as error:
            refused = error
    if refused is not None:
        assert type(refused) is ValueError
        assert str(path) in str(refused)
        return
    assert len(data.comparisons.user) > 0
    assert (data.comparisons.first != data.comparisons.second).all()


def valid(folder, suffix, votes):
    second = np.array([BASELINE] * 3 if votes else [1, 2, 0])
    rows = Comparisons(
        np.array([0, 1, 0]), np.array([0, 1, 2]), second, np.array([1, 0.5, 0]), np.ones(3)
    )
    texts = ('He said "no",\nthen ü', "", "plain")
    data = Dataset("toy", rows, texts, np.zeros(3, int), ("p,q",), ("7", "ann"), {})
    path = folder / f"valid{suffix}"
    write(data, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("valid")
    return {
        (suffix, votes): valid(folder, suffix, votes)
        for suffix in (".jsonl", ".csv", ".parquet")
        for votes in (False, True)
    }


SPLINTERS = (b"\0", b"\xff\xfe", b"\r\n", b'"', b",", b"null", b"1e999", b"\\ud83c")
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "repeat", "end"]),
        st.floats(0, 1, exclude_max=True),
        st.one_of(
            st.binary(min_size=1, max_size=4),
            st.sampled_from(SPLINTERS),
        ),
    ),
    min_size=1,
    max_size=4,
)


def damage(content, changes):
    for how, where, more in changes:
        at = int(where * len(content))
        before, after = content[:at], content[at:]
        content = {
            "flip": before
            + bytes(x ^ y for x, y in zip(after[: len(more)], more, strict=False))
            + after[len(more) :],
            "cut": before + after[len(more) :],
            "insert": before + more + after,
            "repeat": before + after[:20] * 2 + after[20:],
            "end": before,
        }[how]
    return content


@tries(600)
@given(suffix=st.sampled_from([".jsonl", ".csv", ".parquet"]), votes=st.booleans(), changes=CHANGES)
def test_changed_bytes_are_read_or_refused_by_name(files, tmp_path_factory, suffix, votes, changes):
    path = tmp_path_factory.mktemp("damaged") / f"damaged{suffix}"
    path.write_bytes(damage(files[suffix, votes], changes))
    read(path)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["\ud83c", "\0", "1", "model_a", 10**400, -1, 0.5, 1]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)
ROW = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.sampled_from(["a", "b", "c"]) | VALUES for name in NAMES[:4]},
        **{name: st.sampled_from([0, 1, 0.5]) | VALUES for name in NAMES[4:]},
        **dict.fromkeys(WRONG_NAMES, VALUES),
    },
)


@tries(200)
@given(rows=st.lists(ROW, max_size=4), blank=st.booleans())
def test_lines_of_any_json_are_read_or_refused_by_name(tmp_path_factory, rows, blank):
    path = tmp_path_factory.mktemp("json") / "any.jsonl"
    path.write_text(("\n\n" if blank else "\n").join(map(json.dumps, rows)))
    read(path)


COLUMNS = {
    "text": pa.array(["a", "b"]),
    "other text": pa.array(["c", "d"]),
    "view": pa.array(["a", "b"], pa.string_view()),
    "large": pa.array(["a", "c"], pa.large_string()),
    "category": pa.array(["a", "b"]).dictionary_encode(),
    "number category": pa.array([1, 2]).dictionary_encode(),
    "hole": pa.array(["a", None]),
    "nothing": pa.nulls(2),
    "whole": pa.array([0, 1]),
    "large whole": pa.array([2**63, 2**64 - 1], pa.uint64()),
    "float": pa.array([0.5, 1.0]),
    "nan": pa.array([0.5, float("nan")]),
    "half": pa.array(np.array([0.5, 1.0], np.float16)),
    "truth": pa.array([True, False]),
    "decimal": pa.array([decimal.Decimal("0.5"), decimal.Decimal("1.0")]),
    "bytes": pa.array([b"\xff", b"a"]),
    "list": pa.array([["a"], ["b"]]),
    "struct": pa.array([{"role": "user"}, {"role": "user"}]),
    "day": pa.array([datetime.date(2026, 1, 1)] * 2),
    "not UTF-8": pa.StringArray.from_buffers(
        2, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe")
    ),
}


@tries(150)
@given(
    columns=st.lists(
        st.tuples(
            st.sampled_from(NAMES) | st.sampled_from(WRONG_NAMES), st.sampled_from(sorted(COLUMNS))
        ),
        max_size=8,
    ),
    usual=st.booleans(),
)
def test_columns_of_any_type_are_read_or_refused_by_name(tmp_path_factory, columns, usual):
    path = tmp_path_factory.mktemp("types") / "any.parquet"
    right = dict.fromkeys(NAMES[:3], "text") | {"response_b": "other text", "label": "whole"}
    pairs = list((right | dict(columns)).items()) if usual else columns
    names = [name for name, _ in pairs]
    table = pa.Table.from_arrays([COLUMNS[kind] for _, kind in pairs], names=names)
    pq.write_table(table, path)
    read(path)


@tries(50)
@given(text=st.text(st.sampled_from(string.printable + "é\ufeff\0,;\"'\n\r"), max_size=80))
def test_any_text_as_csv_is_read_or_refused_by_name(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("csv") / "any.csv"
    header = "user,prompt,response_a,response_b,label\n" if len(text) % 2 else ""
    path.write_text(header + text, encoding="utf-8")
    read(path)
