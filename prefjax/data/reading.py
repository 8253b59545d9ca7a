"""Preference rows of any known layout, from any file or table, as a data set.

data = read("choices.jsonl", user="annotator")
later = read("more.parquet", like=data)      # the ids of the first, new ones behind them
"""

import difflib
import logging
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from prefjax.data.align_ids import with_ids_of
from prefjax.data.assembly import assemble
from prefjax.data.dataset import Dataset
from prefjax.data.files import naming
from prefjax.data.io import read_folder
from prefjax.data.layouts import Layout, Request, find_layout
from prefjax.data.names import plain_name, report_near_equal
from prefjax.data.raw_columns import MISSING, RawColumns, Texts
from prefjax.data.sources import Source, open_source

PEOPLE = (
    "user",
    "user_id",
    "annotator",
    "annotator_id",
    "annotator_index",
    "worker",
    "worker_id",
    "evaluator",
    "judge",
    "judge_id",
    "rater",
    "rater_id",
    "person",
    "participant",
)
"""Columns that are taken to name people, if the caller names none."""
CONVERSATIONS = ("conversation", "conversation_id", "dialog_id", "dialogue_id", "session_id")
"""Columns that are taken to name conversations, likewise."""

_FEW = 20
"""Rows up to which each may well be of another person."""

_log = logging.getLogger("prefjax.data")


def read(
    data: Any,
    *,
    user: str | None = None,
    one_user: str | None = None,
    group: str | None = None,
    columns: Mapping[str, str] | None = None,
    layout: str | None = None,
    votes: bool | None = None,
    items: Any = None,
    like: Dataset | None = None,
    seed: int = 0,
    name: str | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Dataset:
    """Read preferences, whatever tool they come from.

    What is recognized: TRL (explicit and implicit prompts, texts or lists of messages, unpaired
    votes), our own columns, the best of k and rankings, annotations of alpaca_eval, Label Studio,
    Potato, Argilla, AnnotatedPairs (`prefjax.data.layouts.LAYOUTS`); and folders that
    `prefjax.data.io.write_folder` wrote. How a file was read stands in ``meta["detected"]``, one
    line, and goes to the log ``prefjax.data``.

    Args:
        data: A ``.jsonl``, ``.json``, ``.csv`` or ``.parquet`` file, or a folder; or an Arrow
            table, a pandas or polars frame, a `datasets.Dataset`, a list of dictionaries, a
            dictionary of columns, a `Dataset`.
        user: Column that names people; one of ``PEOPLE`` if None. Whole numbers and texts are
            names.
        one_user: Name of the person of all rows, where no column names people.
        group: Column that names conversations, whose turns no split may tear apart; one of
            ``CONVERSATIONS`` if None. Without one, turns with the same opening are one
            conversation.
        columns: Column in the file, by the name under which the layout knows it, such as
            ``{"prompt": "question", "chosen": "better"}``.
        layout: Name of the layout; told from the columns if None.
        votes: Whether a row of our own columns without ``response_b`` is a vote on ``response_a``
            alone. None takes it for one only where no row has a ``response_b``.
        items: File or table of texts by id, where the judgments do not have them (Potato).
        like: A data set whose ids shall be kept: its users, prompts and responses come first, new
            ones behind them.
        seed: Seed of which response comes first, where the source has the preferred one first.
        name: Name of the data set; the stem of the file if None.
        meta: License, source and the like.

    Returns:
        The data set, ids in order of first appearance. ``meta["conversation"]`` has the
        conversation of each response, where there are conversations (see `Dataset.group`);
        ``meta["messages"]`` the messages of each prompt, where prompts are such. Rows whose two
        texts are the same are left out, with a warning; what else was left out is counted in
        ``meta``.

    Warns:
        UserWarning: Rows are left out, names of people look alike, pairs of one row are not
            independent, or the column that was found names another person in every row.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If an object has no rows.
        ValueError: If no layout fits (the message shows the three nearest), no column names people,
            or a row is not legal; the message names the file and the row. `LeakError` where chosen
            and rejected differ in type.

    >>> rows = [{"prompt": "Tea?", "chosen": "yes", "rejected": "no", "annotator": "ann"}]
    >>> read(rows).meta["detected"]
    "the table: trl (TRL with an explicit prompt), people from 'annotator': 1 row as 1 comparison \
of 1 person on 1 prompt, order drawn with seed 0"
    """
    if isinstance(data, Dataset):
        return data if like is None else with_ids_of(like, data)
    if isinstance(data, (str, Path)) and Path(data).is_dir():
        dataset = read_folder(Path(data))
        return dataset if like is None else with_ids_of(like, dataset)
    source = open_source(data)
    with naming(source.where):
        if source.num_rows == 0:
            raise ValueError("There are no comparisons: at least one row is needed.")
        source, found, names = _named(source, user, group, columns or {}, layout)
        people = names.get("user")
        if found.names_people and people is None and one_user is None:
            raise ValueError(_nobody(source.names))
        request = Request(one_user, votes, None if items is None else open_source(items))
        raw = _with_people(_read_rows(found, source, request), one_user)
        report_near_equal(raw.texts["user"].values)
        dataset = assemble(
            raw, name=source.stem if name is None else name, meta=dict(meta or {}), seed=seed
        )
    if user is None and dataset.num_users == len(dataset.comparisons.user) > _FEW:
        warnings.warn(
            f"{source.where}: column {people!r}, which was taken to name people, names another one "
            "in every row; pass user= if another column does.",
            stacklevel=2,
        )
    line = _tell(source, found, people, raw, dataset, seed)
    _log.info("%s", line)
    dataset = _with_meta(dataset, detected=line, layout=found.name)
    return dataset if like is None else with_ids_of(like, dataset)


def _read_rows(layout: Layout, source: Source, request: Request) -> RawColumns:
    try:
        return layout.read(source, request)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        # Annotations nest many levels of dictionaries and lists, and any of them may be another.
        what = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"a value is not what {layout.about} has in its place ({what})."
        ) from error


def _named(
    source: Source,
    user: str | None,
    group: str | None,
    columns: Mapping[str, str],
    layout: str | None,
) -> tuple[Source, Layout, dict[str, str]]:
    """The rows with columns under our names, their layout, and which column is which."""
    names = dict(columns)
    for role, column, usual in (("user", user, PEOPLE), ("conversation", group, CONVERSATIONS)):
        if column is not None:
            names[role] = column
        elif role not in names:
            candidates = [name for name in source.names if plain_name(name) in usual]
            exact = [name for name in candidates if name == role]
            if len(candidates) > 1 and not exact:
                keyword = "user" if role == "user" else "group"
                raise ValueError(
                    f"columns {', '.join(candidates)} may all be the {role}; pass "
                    f"{keyword}={candidates[0]!r} or another."
                )
            if candidates:
                names[role] = (exact or candidates)[0]
    renamed = source.renamed(names)
    absent = [
        column for role, column in names.items() if column not in source.names and role != column
    ]
    try:
        found = find_layout(renamed, layout)
    except ValueError:
        if absent:
            raise ValueError(_absent(absent[0], source.names)) from None
        raise
    if found.inner:
        renamed = _rename_inner(renamed, found.inner, names)
    elif absent:
        raise ValueError(_absent(absent[0], source.names))
    return renamed, found, {role: name for role, name in names.items() if name in source.names}


def _rename_inner(source: Source, inner: str, names: Mapping[str, str]) -> Source:
    rows = []
    for row in source.rows:
        fields = dict(row.get(inner) or {})
        rows.append({**row, inner: {**fields, **_picked(fields, names)}})
    return Source(rows, where=source.where, stem=source.stem, place=source.place)


def _picked(fields: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {role: fields[name] for role, name in names.items() if name in fields}


def _absent(column: str, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(column, names, 1, 0.6)
    hint = f"; {near[0]!r} looks like it" if near else ""
    return f"there is no column {column!r}{hint}. The columns are {', '.join(names)}."


def _nobody(names: tuple[str, ...]) -> str:
    return (
        f"no column names the person of a row; the columns are {', '.join(names)}. Pass user= with "
        "the name of the column, or one_user= with a name if all rows are of one person."
    )


def _with_people(raw: RawColumns, one_user: str | None) -> RawColumns:
    """The judgments with the one person where none is named."""
    nobody = Texts((), np.full(raw.num_rows, MISSING, np.int32))
    people = raw.texts.get("user", nobody)
    if one_user is not None and (people.index == MISSING).any():
        values = people.values if one_user in people.values else (*people.values, one_user)
        index = np.where(people.index == MISSING, values.index(one_user), people.index)
        people = Texts(values, index.astype(np.int32))
    texts = {**raw.texts, "user": people}
    return RawColumns(**{**vars(raw), "texts": texts})


def _tell(
    source: Source,
    layout: Layout,
    people: str | None,
    raw: RawColumns,
    dataset: Dataset,
    seed: int,
) -> str:
    def count(number: int, noun: str, plural: str) -> str:
        return f"{number:,} {noun if number == 1 else plural}"

    rows = len(dataset.comparisons.user)
    parts = [
        f"{layout.name} ({layout.about})",
        raw.note,
        "" if people is None else f"people from {people!r}",
    ]
    what = (
        ("vote", "votes")
        if (dataset.comparisons.second < 0).all()
        else (
            "comparison",
            "comparisons",
        )
    )
    order = "" if raw.is_ordered else f", order drawn with seed {seed}"
    turns = dataset.meta.get("conversation")
    talks = "" if turns is None else f" in {count(len(set(turns)), 'group', 'groups')} of turns"
    return (
        f"{source.where}: {', '.join(filter(None, parts))}: "
        f"{count(source.num_rows, 'row', 'rows')} as {count(rows, *what)} of "
        f"{count(dataset.num_users, 'person', 'people')} on "
        f"{count(dataset.num_prompts, 'prompt', 'prompts')}{talks}{order}"
    )


def _with_meta(dataset: Dataset, **more: Any) -> Dataset:
    return replace(dataset, meta={**dataset.meta, **more})
