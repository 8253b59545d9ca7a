"""Records of Argilla: an instruction, two responses, and what each person answered to a question.

    version 1   <question>: [{"user_id", "value", "status"}, …]
    version 2   <question>.responses, <question>.responses.users, <question>.responses.status

A value is the name of a field (``response-1``), its number (``1``, ``2``), a letter, a word for a
tie, or a ranking ``[{"rank": 1, "value": "response-1"}, …]``. Drafts and discarded answers are left
out and counted.

References:
    argilla-io/argilla, records/_io/_generic.py.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from prefjax.data.layouts._record import Builder, Judgment, Layout, Request
from prefjax.data.messages import read_prompt, read_response
from prefjax.data.raw_columns import WORDS, RawColumns, as_text
from prefjax.data.sources import Source

_ONE, _OTHER = "response-1", "response-2"
_LABELS = {
    **WORDS,
    **dict.fromkeys((_ONE, "response_1", "response1", "1"), 1.0),
    **dict.fromkeys((_OTHER, "response_2", "response2", "2"), 0.0),
}


def _question(source: Source) -> tuple[str, bool] | None:
    """The column of the question that is answered, and whether it is of version 2."""
    for name in source.names:
        value = source.first(name)
        entry = value[0] if isinstance(value, list) and value else None
        if isinstance(entry, Mapping) and {"user_id", "value"} <= set(entry):
            return name, False
        if name.endswith(".responses") and f"{name}.users" in source.names:
            return name, True
    return None


def _answers(entry: Mapping[str, Any], name: str, is_flat: bool) -> Iterator[tuple[Any, Any, Any]]:
    """Person, value and status of each answer."""
    if not is_flat:
        for answer in entry.get(name) or ():
            yield answer.get("user_id"), answer.get("value"), answer.get("status")
        return
    values = entry.get(name) or ()
    users = entry.get(f"{name}.users") or ()
    statuses = entry.get(f"{name}.status") or ["submitted"] * len(values)
    yield from zip(users, values, statuses, strict=True)


def _read(source: Source, request: Request) -> RawColumns:
    question = _question(source)
    assert question is not None
    builder = Builder(source, request)
    for row, entry in enumerate(source.rows):
        place = source.place(row)
        for user, value, status in _answers(entry, *question):
            if status not in ("submitted", None) or value is None:
                builder.count("num_without_judgment")
                continue
            builder.add(
                row,
                user=as_text(user, f"{question[0]}.user_id", place, is_name=True),
                prompt=read_prompt(entry.get("instruction"), "instruction", place),
                first=read_response(entry.get(_ONE), _ONE, place),
                second=read_response(entry.get(_OTHER), _OTHER, place),
                label=_label(value, question[0], place),
            )
    return builder.build(note=f"question {question[0]!r}")


def _label(value: Any, name: str, place: str) -> float:
    word = str(value).strip().casefold() if isinstance(value, (str, int)) else None
    if word in _LABELS:
        return _LABELS[word]
    if isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value):
        rank = {entry.get("value"): entry.get("rank") for entry in value}
        one, other = rank.get(_ONE), rank.get(_OTHER)
        if isinstance(one, (int, float)) and isinstance(other, (int, float)):
            return 0.5 if one == other else float(one < other)
    raise ValueError(
        f"{place}: an answer to {name} must name response-1 or response-2, be 1 or 2, a tie or a "
        f"ranking of both, got {value!r:.60}."
    )


def _write(judgments: list[Judgment], conversational: bool) -> list[dict[str, Any]]:
    names = {1.0: _ONE, 0.0: _OTHER, 0.5: "tie"}
    records: dict[tuple[str, str, str | None], dict[str, Any]] = {}
    for judgment in judgments:
        key = (judgment.prompt, judgment.first, judgment.second)
        record = records.setdefault(
            key,
            {
                "instruction": judgment.prompt,
                _ONE: judgment.first,
                _OTHER: judgment.second,
                "preference": [],
            },
        )
        record["preference"].append(
            {"user_id": judgment.user, "value": names[judgment.label], "status": "submitted"}
        )
    return list(records.values())


LAYOUT = Layout(
    name="argilla",
    about="Argilla, records with the answers of people to one question",
    columns=("instruction", _ONE, _OTHER),
    read=_read,
    write=_write,
    fits=lambda source: _question(source) is not None,
    names_people=False,
    has_ties=True,
    has_lists=True,
)
