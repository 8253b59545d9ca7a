"""Label Studio's export of pairwise tasks: JSON and JSON-MIN.

A task has ``data`` and, for each annotator, results of type ``pairwise`` whose ``value.selected``
is ``left`` or ``right`` among the two tags of ``to_name``. The export does not say which field of
the data a tag shows; it is the field of the tag's name, else one of the usual names, else what the
caller names: ``columns={"response_a": …, "response_b": …, "prompt": …}``.

References:
    HumanSignal/label-studio-sdk, converter.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from prefjax.data.layouts._record import Builder, Judgment, Layout, Request
from prefjax.data.messages import read_prompt, read_response
from prefjax.data.raw_columns import WORDS, RawColumns, as_text
from prefjax.data.sources import Source

_SIDES = (
    ("response_a", "response_b"),
    ("answer1", "answer2"),
    ("response1", "response2"),
    ("text1", "text2"),
    ("left", "right"),
)
_PROMPTS = ("prompt", "question", "instruction")


def _is_export(source: Source) -> bool:
    annotations = source.first("annotations")
    return isinstance(source.first("data"), Mapping) and isinstance(annotations, list)


def _read(source: Source, request: Request) -> RawColumns:
    builder = Builder(source, request)
    for row, task in enumerate(source.rows):
        place, data = source.place(row), task.get("data") or {}
        for annotation in task.get("annotations") or ():
            if annotation.get("was_cancelled"):
                builder.count("num_without_judgment")
                continue
            by = annotation.get("completed_by")
            if isinstance(by, Mapping):
                by = by.get("email") or by.get("id")
            judged = [
                result
                for result in annotation.get("result") or ()
                if result.get("type") == "pairwise"
            ]
            if not judged:
                builder.count("num_without_judgment")
            for result in judged:
                tags = result.get("to_name") or ()
                tags = tags.split(",") if isinstance(tags, str) else tags
                _add(builder, row, by, data, tags, result.get("value"), place)
    return builder.build()


def _selection_column(source: Source) -> str | None:
    """The column of JSON-MIN that holds ``[{"selected": …}]``."""
    for name in source.names:
        value = source.first(name)
        entry = value[0] if isinstance(value, list) and value else None
        if isinstance(entry, Mapping) and "selected" in entry:
            return name
    return None


def _read_min(source: Source, request: Request) -> RawColumns:
    column = _selection_column(source)
    builder = Builder(source, request)
    for row, task in enumerate(source.rows):
        by = task["user"] if "user" in task else task.get("annotator")
        values = task.get(column or "") or ()
        if not values:
            builder.count("num_without_judgment")
        for value in values:
            _add(builder, row, by, task, (), value, source.place(row))
    return builder.build()


def _add(builder: Builder, row: int, by: Any, data: Any, tags: Any, value: Any, place: str) -> None:
    selected = value.get("selected") if isinstance(value, Mapping) else None
    if not isinstance(selected, str) or selected.casefold() not in WORDS:
        raise ValueError(f"{place}: value.selected must be left or right, got {selected!r:.60}.")
    one, other = _sides(data, [tag.strip() for tag in tags], place)
    prompt = next((name for name in _PROMPTS if name in data), None)
    builder.add(
        row,
        user=as_text(by, "completed_by", place, is_name=True),
        prompt=read_prompt(None if prompt is None else data[prompt], f"data.{prompt}", place),
        first=read_response(data[one], f"data.{one}", place),
        second=read_response(data[other], f"data.{other}", place),
        label=WORDS[selected.casefold()],
    )


def _sides(data: Mapping[str, Any], tags: list[str], place: str) -> tuple[str, str]:
    candidates: Iterator[tuple[str, ...]] = iter((_SIDES[0], tuple(tags), *_SIDES[1:]))
    for pair in candidates:
        if len(pair) == 2 and all(name in data for name in pair):
            return pair  # type: ignore[return-value]
    raise ValueError(
        f"{place}: the two responses are not where they are looked for in data, which has "
        f"{', '.join(data) or 'nothing'}; name them with "
        'columns={"response_a": …, "response_b": …}.'
    )


def _write(judgments: list[Judgment], conversational: bool) -> list[dict[str, Any]]:
    tasks: dict[tuple[str, str, str], dict[str, Any]] = {}
    for judgment in judgments:
        key = (judgment.prompt, judgment.first, judgment.second or "")
        task = tasks.setdefault(
            key,
            {
                "id": len(tasks) + 1,
                "data": {
                    "prompt": judgment.prompt,
                    "answer1": judgment.first,
                    "answer2": judgment.second,
                },
                "annotations": [],
            },
        )
        task["annotations"].append(
            {
                "completed_by": {"email": judgment.user},
                "was_cancelled": False,
                "result": [
                    {
                        "from_name": "comparison",
                        "to_name": "answer1,answer2",
                        "type": "pairwise",
                        "value": {"selected": "left" if judgment.label > 0.5 else "right"},
                    }
                ],
            }
        )
    return list(tasks.values())


EXPORT = Layout(
    name="label_studio",
    about="Label Studio, JSON export of pairwise tasks",
    columns=("data", "annotations"),
    read=_read,
    write=_write,
    fits=_is_export,
    names_people=False,
    needs_json=True,
    inner="data",
)
EXPORT_MIN = Layout(
    name="label_studio-min",
    about="Label Studio, JSON-MIN export of pairwise tasks",
    columns=("annotation_id",),
    read=_read_min,
    fits=lambda source: _selection_column(source) is not None,
    names_people=False,
)
