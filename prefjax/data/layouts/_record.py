"""The record of a layout: how it is known, read and written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from prefjax.data.messages import Prompt
from prefjax.data.raw_columns import RawColumns, index_texts
from prefjax.data.sources import Source


class Request(NamedTuple):
    """What a caller says about the rows.

    Attributes:
        one_user: Name of the person of all rows, where no column names people.
        votes: Whether a row without a second response is a vote; None if that is to be seen.
        items: Texts by id, where the judgments do not have them.
    """

    one_user: str | None = None
    votes: bool | None = None
    items: Source | None = None


class Judgment(NamedTuple):
    """One row to be written.

    Attributes:
        user: Name of the person.
        prompt: Text of the prompt.
        first: Text of the first response.
        second: Text of the second, or None for a vote.
        label: Probability that the first is preferred.
        weight: Sample weight.
        first_id: Id of the first response; ids stand in the order in which texts were shown.
        second_id: Id of the second, −1 for a vote.
        messages: The prompt as messages, or None.
        conversation: Name of its conversation, or None.
    """

    user: str
    prompt: str
    first: str
    second: str | None
    label: float
    weight: float
    first_id: int
    second_id: int
    messages: Sequence[dict[str, str]] | None = None
    conversation: str | None = None


@dataclass(frozen=True)
class Layout:
    """One way in which the field's tools lay out preferences.

    Attributes:
        name: Short name, for ``layout=``.
        about: What it is, in a few words.
        columns: Columns that a table in this layout must have.
        optional: Columns that it may have besides.
        read: Takes the rows and the request, gives judgments.
        write: Takes judgments, gives rows; None where it is only read.
        fits: Whether rows that have the columns are in this layout, by their values.
        names_people: Whether people stand in a column, and not within an annotation.
        has_ties: Whether it can say ½.
        has_soft_labels: Whether it can say any label between 0 and 1.
        has_weights: Whether it can say the weight of a row.
        has_votes: Whether it can say a vote on one response.
        has_pairs: Whether it can say a pair.
        has_messages: Whether prompts and responses can be messages.
        has_lists: Whether its rows hold lists, which CSV cannot.
        needs_json: Whether its rows are nested too deeply for Parquet and CSV.
        is_document: Whether all of it is one object.
        inner: Column in which the fields that a caller may name stand; "" for the rows.
    """

    name: str
    about: str
    columns: tuple[str, ...]
    read: Callable[[Source, Request], RawColumns]
    write: Callable[..., list[dict[str, Any]]] | None = None
    fits: Callable[[Source], bool] = lambda source: True
    names_people: bool = True
    has_ties: bool = False
    has_soft_labels: bool = False
    has_weights: bool = False
    has_votes: bool = False
    has_pairs: bool = True
    has_messages: bool = False
    has_lists: bool = False
    needs_json: bool = False
    is_document: bool = False
    inner: str = ""
    optional: tuple[str, ...] = ()


def prompt_value(judgment: Judgment, conversational: bool) -> str | list[dict[str, str]]:
    """A prompt as it is written.

    Args:
        judgment: Whose prompt.
        conversational: As messages; else as a text.

    Returns:
        The prompt; no message where it is empty.
    """
    if not conversational:
        return judgment.prompt
    if judgment.messages is not None:
        return list(judgment.messages)
    return [{"role": "user", "content": judgment.prompt}] if judgment.prompt else []


def response_value(text: str | None, conversational: bool) -> str | list[dict[str, str]] | None:
    """A response as it is written.

    Args:
        text: Its text, or None.
        conversational: As a message; else as a text.

    Returns:
        The response, or None.
    """
    if text is None or not conversational:
        return text
    return [{"role": "assistant", "content": text}]


class Builder:
    """Collects judgments row by row, for layouts whose values are lists and dictionaries.

    Args:
        source: The rows, for the names of places.
        request: What the caller says.
    """

    def __init__(self, source: Source, request: Request):
        self._source, self._request = source, request
        self._columns: dict[str, list[str | None]] = {
            name: []
            for name in ("user", "prompt", "response_a", "response_b", "conversation", "split")
        }
        self._label: list[float] = []
        self._weight: list[float] = []
        self._rows: list[int] = []
        self._observation: list[int] = []
        self._num_lists = 0
        self._messages: dict[str, Sequence[dict[str, str]]] = {}
        self._shown: list[tuple[str, str]] = []
        self.meta: dict[str, Any] = {}
        self._has_messages = self._has_turns = False

    @property
    def num_rows(self) -> int:
        """Judgments so far."""
        return len(self._rows)

    def count(self, reason: str) -> None:
        """Notes that an entry is left out.

        Args:
            reason: Key in ``meta``.
        """
        self.meta[reason] = self.meta.get(reason, 0) + 1

    def show(self, prompt: Prompt, responses: Sequence[str]) -> None:
        """Notes what was shown at once, whose pairs follow, and in which order.

        Args:
            prompt: Their prompt.
            responses: The responses as they were shown.
        """
        self._shown += [(prompt.text, response) for response in responses]
        self._num_lists += 1

    def add(
        self,
        row: int,
        *,
        user: str | None,
        prompt: Prompt,
        first: str | None,
        second: str | None,
        label: float,
        weight: float = 1.0,
        conversation: str | None = None,
        split: str | None = None,
    ) -> None:
        """Adds one judgment.

        Args:
            row: Row of the source.
            user: Name of the person; the request's one if None.
            prompt: The prompt.
            first: Text of the first response.
            second: Text of the second, None for a vote.
            label: Probability that the first is preferred.
            weight: Sample weight.
            conversation: Name of the conversation; told from the prompt's opening if None.
            split: Part of a published split; of all rows or of none.
        """
        self._has_turns |= prompt.has_turns or conversation is not None
        if conversation is None:
            conversation = f"opening: {prompt.opening}"
        if prompt.messages is not None:
            self._messages.setdefault(prompt.text, prompt.messages)
            self._has_messages = True
        values = (user, prompt.text, first, second, conversation, split)
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)
        self._label.append(label)
        self._weight.append(weight)
        self._rows.append(row)
        self._observation.append(self._num_lists)

    def build(self, *, is_ordered: bool = True, note: str = "") -> RawColumns:
        """The judgments.

        Args:
            is_ordered: See `RawColumns`.
            note: See `RawColumns`.

        Returns:
            The columns.
        """
        rows, place = self._rows, self._source.place
        if not self._has_turns:
            del self._columns["conversation"]
        if None in self._columns["split"]:
            del self._columns["split"]
        if len(rows) > self._num_lists > 0:
            self.meta["observation"] = self._observation
        conversational = "conversational" if self._has_messages else ""
        return RawColumns(
            num_rows=len(rows),
            texts={name: index_texts(values) for name, values in self._columns.items()},
            numbers={
                "label": np.array(self._label, float),
                "weight": np.array(self._weight, float),
            },
            place=lambda row: place(rows[row]),
            is_ordered=is_ordered,
            messages=self._messages,
            note=", ".join(filter(None, (conversational, note))),
            meta=self.meta,
            shown=self._shown,
        )
