"""Annotations of Potato: a line for each person and item, ``{"preference": {"selection": "A"}}``.

The annotation stands in ``label_annotations`` or in a column of its scheme's name. Texts are in
the row or, as Potato keeps them, in a file of items that ``items=`` names: ``id``, ``text`` with
the two responses, perhaps ``prompt``. On a scale, below 0 means A and above 0 means B, however far.

References:
    davidjurgens/potato, server_utils/schemas/pairwise.py.
"""

from collections.abc import Mapping
from typing import Any

from prefjax.data.layouts._record import Builder, Judgment, Layout, Request
from prefjax.data.messages import read_prompt, read_response
from prefjax.data.raw_columns import WORDS, RawColumns, as_text
from prefjax.data.sources import Source

_PEOPLE = ("user", "user_id", "annotator")


def _annotation(row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The first value of the row that is a choice between two."""
    labels = row.get("label_annotations")
    labels = labels.values() if isinstance(labels, Mapping) else ()
    for value in (*labels, *row.values()):
        if isinstance(value, Mapping) and value.keys() & {"selection", "scale"}:
            return value
    return None


def _fits(source: Source) -> bool:
    return source.num_rows > 0 and any(_annotation(row) for row in source.rows[:20])


def _items(items: Source | None) -> dict[str, Mapping[str, Any]]:
    if items is None:
        return {}
    found = {}
    for row, item in enumerate(items.rows):
        name = item["id"] if "id" in item else item.get("instance_id")
        if name is None:
            raise ValueError(f"{items.where}: {items.place(row)} has no id.")
        found[str(name)] = item
    return found


def _read(source: Source, request: Request) -> RawColumns:
    builder, items = Builder(source, request), _items(request.items)
    for row, entry in enumerate(source.rows):
        place, value = source.place(row), _annotation(entry)
        if value is None:
            builder.count("num_without_judgment")
            continue
        item = {**items.get(str(entry.get("instance_id")), {}), **entry}
        shown = item.get("responses", item.get("text"))
        if not isinstance(shown, (list, tuple)) or len(shown) != 2:
            raise ValueError(
                f"{place}: the two responses of item {entry.get('instance_id')!r} are not in the "
                "row; pass the file of the items, items=…, with id and text (a list of two)."
            )
        user = next((item[name] for name in _PEOPLE if item.get(name) is not None), None)
        builder.add(
            row,
            user=as_text(user, "user_id", place, is_name=True),
            prompt=read_prompt(item.get("prompt"), "prompt", place),
            first=read_response(shown[0], "text", place),
            second=read_response(shown[1], "text", place),
            label=_label(value, place),
        )
    return builder.build()


def _label(value: Mapping[str, Any], place: str) -> float:
    selection = value.get("selection")
    if isinstance(selection, str) and selection.casefold() in WORDS:
        return WORDS[selection.casefold()]
    try:
        scale = float(value["scale"])
        return 0.5 if scale == 0 else float(scale < 0)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{place}: selection must be A, B or tie, or scale a number, got {dict(value)!r:.60}."
        ) from error


def _write(judgments: list[Judgment], conversational: bool) -> list[dict[str, Any]]:
    names = {1.0: "A", 0.0: "B", 0.5: "tie"}
    items: dict[tuple[str, str, str | None], str] = {}
    rows = []
    for judgment in judgments:
        key = (judgment.prompt, judgment.first, judgment.second)
        rows.append(
            {
                "instance_id": items.setdefault(key, str(len(items))),
                "user_id": judgment.user,
                "prompt": judgment.prompt,
                "text": [judgment.first, judgment.second],
                "label_annotations": {"preference": {"selection": names[judgment.label]}},
            }
        )
    return rows


LAYOUT = Layout(
    name="potato",
    about="Potato, one annotation of a pair a line",
    columns=("instance_id",),
    read=_read,
    write=_write,
    fits=_fits,
    names_people=False,
    has_ties=True,
    needs_json=True,
)
