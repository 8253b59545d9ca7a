"""The rows of TRL: chosen and rejected with the prompt beside or inside them, and unpaired votes.

References:
    huggingface/trl, docs/source/dataset_formats.md.
"""

from typing import Any

from prefjax.data.audit import LeakError
from prefjax.data.layouts._record import (
    Builder,
    Judgment,
    Layout,
    Request,
    prompt_value,
    response_value,
)
from prefjax.data.messages import (
    Prompt,
    cut_shared,
    is_messages,
    read_messages,
    read_prompt,
    read_response,
)
from prefjax.data.raw_columns import RawColumns, as_number, as_text
from prefjax.data.sources import Source


def _read_pairs(source: Source, request: Request) -> RawColumns:
    builder = Builder(source, request)
    for row, entry in enumerate(source.rows):
        place = source.place(row)
        chosen, rejected = entry.get("chosen"), entry.get("rejected")
        _check_form(chosen, rejected, place)
        prompt, first, second = _cut(entry, chosen, rejected, place)
        weight = as_number(entry.get("weight"), "weight", place, is_csv=source.is_csv)
        builder.add(
            row,
            user=as_text(entry.get("user"), "user", place, is_name=True),
            prompt=prompt,
            first=first,
            second=second,
            label=1.0,
            weight=1.0 if weight is None else weight,
            conversation=as_text(entry.get("conversation"), "conversation", place, is_name=True),
        )
    return builder.build(is_ordered=False)


def _check_form(chosen: object, rejected: object, place: str) -> None:
    for name, value in (("chosen", chosen), ("rejected", rejected)):
        if value is None:
            raise ValueError(f"column {name} has no value in {place}.")
    if isinstance(chosen, str) != isinstance(rejected, str):
        kinds = ["text" if isinstance(value, str) else "a list" for value in (chosen, rejected)]
        raise LeakError(
            f"{place}: chosen is {kinds[0]} and rejected {kinds[1]}, so their form tells which was "
            "preferred. Render both sides the same way, from their source."
        )


def _cut(entry: Any, chosen: Any, rejected: Any, place: str) -> tuple[Prompt, Any, Any]:
    """The prompt and the two responses of a row."""
    prompt = entry.get("prompt")
    if isinstance(chosen, str):
        if "prompt" in entry:
            return read_prompt(prompt, "prompt", place), chosen, rejected
        end = cut_shared(chosen, rejected)
        return read_prompt(chosen[:end], "chosen", place), chosen[end:], rejected[end:]
    if len(chosen) == len(rejected) == 1:
        return (
            read_prompt(prompt, "prompt", place),
            read_response(chosen, "chosen", place),
            read_response(rejected, "rejected", place),
        )
    for name, value in (("chosen", chosen), ("rejected", rejected)):
        if not is_messages(value):
            read_response(value, name, place)  # says what is wrong
    one, other = (
        read_messages(value, name, place)
        for name, value in (("chosen", chosen), ("rejected", rejected))
    )
    if one[:-1] != other[:-1]:
        raise ValueError(
            f"{place}: chosen ({len(one)} messages) and rejected ({len(other)}) differ before "
            "their last message: these are two conversations, not two responses to one prompt. "
            "Leave such rows out."
        )
    asked = read_prompt(list(one[:-1]), "chosen", place)
    if isinstance(prompt, str) and prompt not in [message["content"] for message in one[:-1]]:
        raise ValueError(
            f"{place}: chosen holds a conversation, and column prompt a text that is not in it; "
            "remove the column if the conversation is whole."
        )
    if isinstance(prompt, list) and prompt:
        before = read_prompt(prompt, "prompt", place)
        joined = [*(before.messages or ()), *one[:-1]]
        asked = read_prompt(joined, "prompt", place)
    return (
        asked,
        read_response([one[-1]], "chosen", place),
        read_response([other[-1]], "rejected", place),
    )


def _sides(judgment: Judgment) -> tuple[str, str]:
    """What was chosen and what was rejected."""
    assert judgment.second is not None
    if judgment.label > 0.5:
        return judgment.first, judgment.second
    return judgment.second, judgment.first


def _more(judgment: Judgment) -> dict[str, Any]:
    row: dict[str, Any] = {"user": judgment.user}
    if judgment.weight != 1.0:
        row["weight"] = judgment.weight
    if judgment.conversation is not None:
        row["conversation"] = judgment.conversation
    return row


def _write_explicit(judgments: list[Judgment], conversational: bool) -> list[dict[str, Any]]:
    rows = []
    for judgment in judgments:
        chosen, rejected = _sides(judgment)
        rows.append(
            {
                "prompt": prompt_value(judgment, conversational),
                "chosen": response_value(chosen, conversational),
                "rejected": response_value(rejected, conversational),
                **_more(judgment),
            }
        )
    return rows


def _write_implicit(judgments: list[Judgment], conversational: bool) -> list[dict[str, Any]]:
    rows = []
    for judgment in judgments:
        before: Any = prompt_value(judgment, conversational)
        sides = _sides(judgment)
        chosen, rejected = (response_value(text, conversational) for text in sides)
        if not conversational and cut_shared(before + sides[0], before + sides[1]) != len(before):
            raise ValueError(
                f"prompt {before[:60]!r} and its responses cannot be told apart once they are one "
                "text: write with conversational=True, or in the layout 'trl'."
            )
        rows.append({"chosen": before + chosen, "rejected": before + rejected, **_more(judgment)})
    return rows


def _read_votes(source: Source, request: Request) -> RawColumns:
    builder = Builder(source, request)
    for row, entry in enumerate(source.rows):
        place = source.place(row)
        label = as_number(entry.get("label"), "label", place, is_csv=source.is_csv)
        if label is None:
            raise ValueError(f"column label has no value in {place}.")
        weight = as_number(entry.get("weight"), "weight", place, is_csv=source.is_csv)
        builder.add(
            row,
            user=as_text(entry.get("user"), "user", place, is_name=True),
            prompt=read_prompt(entry.get("prompt"), "prompt", place),
            first=read_response(entry.get("completion"), "completion", place),
            second=None,
            label=label,
            weight=1.0 if weight is None else weight,
            conversation=as_text(entry.get("conversation"), "conversation", place, is_name=True),
        )
    return builder.build(note="votes")


def _write_votes(judgments: list[Judgment], conversational: bool) -> list[dict[str, Any]]:
    return [
        {
            "prompt": prompt_value(judgment, conversational),
            "completion": response_value(judgment.first, conversational),
            "label": judgment.label > 0.5,
            **_more(judgment),
        }
        for judgment in judgments
    ]


EXPLICIT = Layout(
    name="trl",
    about="TRL with an explicit prompt",
    columns=("prompt", "chosen", "rejected"),
    read=_read_pairs,
    write=_write_explicit,
    has_weights=True,
    has_messages=True,
)
IMPLICIT = Layout(
    name="trl-implicit",
    about="TRL with the prompt inside chosen and rejected",
    columns=("chosen", "rejected"),
    read=_read_pairs,
    write=_write_implicit,
    has_weights=True,
    has_messages=True,
    fits=lambda source: "prompt" not in source.names,
)
UNPAIRED = Layout(
    name="unpaired",
    about="TRL unpaired: one completion and whether it is good",
    columns=("prompt", "completion", "label"),
    read=_read_votes,
    write=_write_votes,
    has_weights=True,
    has_messages=True,
    has_votes=True,
    has_pairs=False,
)
