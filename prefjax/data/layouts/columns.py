"""Our own columns: a row for each judgment, the texts beside it."""

import difflib
from typing import Any

import numpy as np

from prefjax.data.layouts._record import (
    Builder,
    Judgment,
    Layout,
    Request,
    prompt_value,
    response_value,
)
from prefjax.data.messages import is_messages, read_prompt, read_response
from prefjax.data.names import plain_name
from prefjax.data.raw_columns import MISSING, RawColumns, as_number, as_text, read_columns
from prefjax.data.sources import Source


def _read(source: Source, request: Request) -> RawColumns:
    _check_names(source.names, request.votes)
    raw = _read_messages(source, request) if _has_messages(source) else read_columns(source)
    second = raw.texts.get("response_b")
    missing = np.arange(raw.num_rows) if second is None else np.flatnonzero(second.index == MISSING)
    if len(missing) and (
        request.votes is False or (request.votes is None and len(missing) < raw.num_rows)
    ):
        raise ValueError(
            f"column response_b has no value in {raw.place(int(missing[0]))} ({len(missing)} of "
            f"{raw.num_rows} rows). If these are votes on response_a alone, pass votes=True."
        )
    return raw


def _check_names(names: tuple[str, ...], votes: bool | None) -> None:
    """Refuses a misspelled column that would silently not be there."""
    if {"weight", "sample_weight"} <= set(names):
        raise ValueError("columns weight and sample_weight mean the same; keep one.")
    known = {"user", "prompt", "response_a", "response_b", "label", "weight", "sample_weight"}
    plain = {plain_name(name): name for name in names if name not in known}
    for wanted, cutoff in (("response_b", 0.8), ("weight", 0.9), ("sample_weight", 0.9)):
        if wanted in names or (wanted == "response_b" and votes):
            continue
        near = difflib.get_close_matches(wanted, plain, 1, cutoff)
        if near:
            remedy = ", or pass votes=True" if wanted == "response_b" else ""
            raise ValueError(
                f"column {plain[near[0]]!r} looks like {wanted}, which is not there; rename it"
                f"{remedy}."
            )


def _read_messages(source: Source, request: Request) -> RawColumns:
    builder = Builder(source, request)
    for row, entry in enumerate(source.rows):
        place = source.place(row)
        label = as_number(entry.get("label"), "label", place, is_csv=source.is_csv)
        if label is None:
            raise ValueError(f"column label has no value in {place}.")
        weight = as_number(entry.get("weight", entry.get("sample_weight")), "weight", place)
        builder.add(
            row,
            user=as_text(entry.get("user"), "user", place, is_name=True),
            prompt=read_prompt(entry["prompt"], "prompt", place),
            first=read_response(entry.get("response_a"), "response_a", place),
            second=read_response(entry.get("response_b"), "response_b", place),
            label=label,
            weight=1.0 if weight is None else weight,
            conversation=as_text(entry.get("conversation"), "conversation", place, is_name=True),
        )
    return builder.build()


def _has_messages(source: Source) -> bool:
    """Whether a first prompt or response is a list; what later rows are is checked when read."""
    return source.num_rows > 0 and any(
        is_messages(source.first(name)) for name in ("prompt", "response_a", "response_b")
    )


def _write(judgments: list[Judgment], conversational: bool) -> list[dict[str, Any]]:
    rows = []
    for judgment in judgments:
        row: dict[str, Any] = {
            "user": judgment.user,
            "prompt": prompt_value(judgment, conversational),
            "response_a": response_value(judgment.first, conversational),
            "response_b": response_value(judgment.second, conversational),
            "label": judgment.label,
            "weight": judgment.weight,
        }
        if judgment.conversation is not None:
            row["conversation"] = judgment.conversation
        rows.append(row)
    return rows


LAYOUT = Layout(
    name="columns",
    about="one judgment a row; without response_b a vote on response_a alone",
    columns=("prompt", "response_a", "label"),
    optional=("response_b", "weight"),
    read=_read,
    write=_write,
    has_ties=True,
    has_soft_labels=True,
    has_weights=True,
    has_messages=True,
    has_votes=True,
)
