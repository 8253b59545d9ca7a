"""Several responses in one row: the best of k, and rankings.

A choice of one among k becomes the pairs of the chosen and every other,

    log L = Σ_{j ≠ w} log σ(r_w − r_j),

and a ranking all pairs of its responses. If people choose with probability softmax(r), each of
these pairs by itself follows σ(r_i − r_j), so the estimate is consistent; but the pairs of one row
are not independent, so limits computed from them are too narrow, unless they weigh together what
their row tells: splits weigh them so (`prefjax.data.weigh_choices`). (Pairs of neighbors in a
ranking would not do: that two responses are neighbors depends on all rewards.)
`prefjax.data.choices_of` gives the choices and rankings themselves, which fits read.

References:
    C. Varin, N. Reid, D. Firth, "An overview of composite likelihood methods", Statistica Sinica 21
    (2011).
"""

import warnings
from collections.abc import Sequence
from itertools import combinations, groupby
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
from prefjax.data.messages import Prompt, read_prompt, read_response
from prefjax.data.raw_columns import RawColumns, as_text
from prefjax.data.sources import Source

CAVEAT = (
    "pairs of one row share a winner and are not independent: limits come out too narrow, but "
    "in fits, which read what was chosen among all"
)
"""Stands in ``meta["caveat"]`` of data that came as choices among more than two."""


def add_choice(
    builder: Builder,
    row: int,
    *,
    user: str | None,
    prompt: Prompt,
    responses: Sequence[str],
    choice: int,
    weight: float = 1.0,
    conversation: str | None = None,
) -> None:
    """Adds the pairs of what was chosen and everything else that was shown.

    Args:
        builder: Takes the pairs.
        row: Row of the source.
        user: Name of the person.
        prompt: The prompt.
        responses: All that was shown, in that order.
        choice: Place of the chosen one.
        weight: Sample weight of each pair.
        conversation: Name of the conversation.
    """
    builder.show(prompt, responses)
    for place, other in enumerate(responses):
        if place != choice:
            builder.add(
                row,
                user=user,
                prompt=prompt,
                first=responses[choice],
                second=other,
                label=1.0,
                weight=weight,
                conversation=conversation,
            )


def add_ranking(
    builder: Builder,
    row: int,
    *,
    user: str | None,
    prompt: Prompt,
    responses: Sequence[str],
    rank: Sequence[float],
    weight: float = 1.0,
    ties: bool = True,
    conversation: str | None = None,
) -> None:
    """Adds all pairs of a ranking, the better one first; equal ranks are ties.

    Args:
        builder: Takes the pairs.
        row: Row of the source.
        user: Name of the person.
        prompt: The prompt.
        responses: All that was shown, in that order.
        rank: Rank of each; 1 is best.
        weight: Sample weight of each pair.
        ties: Whether ties are added.
        conversation: Name of the conversation.
    """
    builder.show(prompt, responses)
    for one, other in combinations(range(len(responses)), 2):
        if rank[one] == rank[other] and not ties:
            continue
        best, worst = (one, other) if rank[one] <= rank[other] else (other, one)
        builder.add(
            row,
            user=user,
            prompt=prompt,
            first=responses[best],
            second=responses[worst],
            label=0.5 if rank[one] == rank[other] else 1.0,
            weight=weight,
            conversation=conversation,
        )


def note_caveat(builder: Builder, most_shown: int) -> str:
    """Warns where more than two were shown, and notes it for ``meta``.

    Args:
        builder: What holds the pairs.
        most_shown: Largest number shown in one row.

    Returns:
        Words for the line that tells how a file was read.
    """
    if most_shown <= 2:
        return ""
    builder.meta["caveat"] = CAVEAT
    warnings.warn(f"Up to {most_shown} responses stand in one row; {CAVEAT}.", stacklevel=4)
    return f"up to {most_shown} responses a row, read as pairs ({CAVEAT})"


def _read(source: Source, request: Request) -> RawColumns:
    builder = Builder(source, request)
    most_shown = 0
    for row, entry in enumerate(source.rows):
        place = source.place(row)
        shown = entry.get("responses")
        if not isinstance(shown, (list, tuple)) or len(shown) < 2:
            raise ValueError(f"{place}: column responses must hold a list of two or more texts.")
        responses = [str(read_response(value, "responses", place)) for value in shown]
        most_shown = max(most_shown, len(responses))
        about: dict[str, Any] = {
            "user": as_text(entry.get("user"), "user", place, is_name=True),
            "prompt": read_prompt(entry.get("prompt"), "prompt", place),
            "responses": responses,
            "conversation": as_text(entry.get("conversation"), "conversation", place, is_name=True),
        }
        if "choice" in source.names:
            add_choice(builder, row, choice=_choice(entry.get("choice"), responses, place), **about)
        else:
            add_ranking(builder, row, rank=_ranks(entry.get("rank"), responses, place), **about)
    return builder.build(is_ordered=False, note=note_caveat(builder, most_shown))


def _choice(value: Any, responses: Sequence[str], place: str) -> int:
    if isinstance(value, str) and responses.count(value) == 1:
        return responses.index(value)
    if type(value) is int and 0 <= value < len(responses):
        return value
    raise ValueError(
        f"{place}: column choice must be a place from 0 to {len(responses) - 1} in responses, or "
        f"one of them, got {value!r:.60}."
    )


def _ranks(value: Any, responses: Sequence[str], place: str) -> Sequence[float]:
    legal = (
        isinstance(value, (list, tuple))
        and len(value) == len(responses)
        and all(isinstance(rank, (int, float)) and np.isfinite(rank) for rank in value)
    )
    if not legal:
        raise ValueError(
            f"{place}: column rank must hold the rank of each of {len(responses)} responses, 1 for "
            f"the best, got {value!r:.60}."
        )
    return [float(rank) for rank in value]


def _write_choices(judgments: list[Judgment], conversational: bool) -> list[dict[str, Any]]:
    def winner(judgment: Judgment) -> tuple[int, int]:
        first, second = judgment.first_id, judgment.second_id
        return (first, second) if judgment.label > 0.5 else (second, first)

    rows = []
    runs = groupby(judgments, lambda row: (row.user, winner(row)[0]))
    for (user, best), run in runs:
        shown, pairs = {}, list(run)
        for judgment in pairs:
            shown[judgment.first_id] = judgment.first
            shown[judgment.second_id] = judgment.second
        order = sorted(shown)
        row: dict[str, Any] = {
            "user": user,
            "prompt": prompt_value(pairs[0], conversational),
            "responses": [response_value(shown[index], conversational) for index in order],
            "choice": order.index(best),
        }
        if pairs[0].conversation is not None:
            row["conversation"] = pairs[0].conversation
        rows.append(row)
    return rows


def _write_rankings(judgments: list[Judgment], conversational: bool) -> list[dict[str, Any]]:
    rows = []
    for (user, prompt), run in groupby(judgments, lambda row: (row.user, row.prompt)):
        pairs = list(run)
        texts, wins = {}, {}
        for judgment in pairs:
            for index, text, won in (
                (judgment.first_id, judgment.first, judgment.label),
                (judgment.second_id, judgment.second, 1.0 - judgment.label),
            ):
                texts[index] = text
                wins[index] = wins.get(index, 0.0) + won
        order = sorted(texts)
        rank = [1 + sum(wins[other] > wins[index] for other in order) for index in order]
        implied = {
            (one, other): (rank[place] < rank[place + 1 + more])
            + 0.5 * (rank[place] == rank[place + 1 + more])
            for place, one in enumerate(order)
            for more, other in enumerate(order[place + 1 :])
        }
        said = {
            (judgment.first_id, judgment.second_id)
            if judgment.first_id < judgment.second_id
            else (judgment.second_id, judgment.first_id): judgment.label
            if judgment.first_id < judgment.second_id
            else 1.0 - judgment.label
            for judgment in pairs
        }
        if said != implied:
            raise ValueError(
                f"what {user!r} says on prompt {prompt[:60]!r} is no ranking of all responses; "
                "write it as pairs, in the layout 'columns'."
            )
        row: dict[str, Any] = {
            "user": user,
            "prompt": prompt_value(pairs[0], conversational),
            "responses": [response_value(texts[index], conversational) for index in order],
            "rank": rank,
        }
        if pairs[0].conversation is not None:
            row["conversation"] = pairs[0].conversation
        rows.append(row)
    return rows


CHOICES = Layout(
    name="best-of-k",
    about="one chosen among the responses of a row",
    columns=("prompt", "responses", "choice"),
    read=_read,
    write=_write_choices,
    has_messages=True,
    has_lists=True,
)
RANKINGS = Layout(
    name="ranking",
    about="the rank of each response of a row, 1 for the best",
    columns=("prompt", "responses", "rank"),
    read=_read,
    write=_write_rankings,
    has_ties=True,
    has_messages=True,
    has_lists=True,
)
