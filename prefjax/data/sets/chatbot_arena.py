"""Chatbot Arena: judges talk with two anonymous models at once and say which was better.

The response is all that a model said: where there are several turns, its answers with the judge's
words between them, since each model was answered by itself and only the first words are shared.
Prompts CC BY 4.0, answers CC BY-NC 4.0; the files are gated on the hub.

References:
    L. Zheng et al., "Judging LLM-as-a-judge with MT-Bench and Chatbot Arena", arXiv 2306.05685.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Literal

from prefjax.data.assembly import assemble
from prefjax.data.dataset import Dataset
from prefjax.data.files import naming
from prefjax.data.layouts import Builder, Request
from prefjax.data.messages import Message, is_messages, read_messages, read_prompt, render
from prefjax.data.raw_columns import WORDS, as_text
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.sets._rows import open_rows
from prefjax.data.split import NewPromptsConfig

NAME = "chatbot_arena"
REPOSITORY = "lmsys/chatbot_arena_conversations"
LICENSE = "CC BY 4.0 (prompts), CC BY-NC 4.0 (answers)"
SOURCE = f"Hugging Face hub {REPOSITORY} (gated: accept its terms there first)"
LABEL = (
    '1: the judge finds model A, the first, better. A row with winner "model_a" has label 1, with '
    '"model_b" label 0.'
)
COLUMNS = ("question_id", "winner", "judge", "conversation_a", "conversation_b")


def load(
    folder: Path | None = None,
    *,
    revision: str | None = None,
    min_rows: int = 4,
    ties: Literal["drop", "half"] = "drop",
    turns: Literal["first", "all"] = "all",
    language: str | None = None,
) -> Dataset:
    """Load the votes of judges who voted often enough, in the order in which models were shown.

    Args:
        folder: Holds Parquet or JSONL files with the columns question_id, winner (model_a,
            model_b, tie, tie (bothbad)), judge, conversation_a and conversation_b (messages);
            ``PREFJAX_DATA/chatbot_arena`` if None.
        revision: Commit of the hub to fetch the files from instead.
        min_rows: Judges with fewer votes, ties among them, are left out.
        ties: Whether ties are dropped or have label ½.
        turns: Votes after one turn only, or all.
        language: Only rows of this ``language``; all if None.

    Returns:
        A row for each vote; ``meta`` counts ``num_ties`` that were dropped, and ``num_unequal``
        votes on conversations that begin with different words.

    Raises:
        FileNotFoundError: If the files are not there.
        OSError: If the hub cannot be reached.
        ValueError: If a file is damaged or of another schema, or nobody voted so often.
    """
    source = open_rows(NAME, REPOSITORY, folder, revision, COLUMNS)
    with naming(source.where):
        count = Counter(row["judge"] for row in source.rows)
        builder = Builder(source, Request())
        for row, entry in enumerate(source.rows):
            if count[entry["judge"]] < min_rows:
                continue
            if language is not None and entry.get("language") != language:
                continue
            place = source.place(row)
            winner = str(entry["winner"]).casefold()
            if winner not in WORDS:
                raise ValueError(f"{place}: winner is {entry['winner']!r:.60}.")
            if WORDS[winner] == 0.5 and ties == "drop":
                builder.count("num_ties")
                continue
            one = _conversation(entry["conversation_a"], "conversation_a", place)
            other = _conversation(entry["conversation_b"], "conversation_b", place)
            if one[0] != other[0]:
                builder.count("num_unequal")
                continue
            num_messages = len(one)
            if turns == "first" and num_messages > 2:
                continue
            builder.add(
                row,
                user=as_text(entry["judge"], "judge", place, is_name=True),
                prompt=read_prompt([one[0]], "conversation_a", place),
                first=_said(one),
                second=_said(other),
                label=WORDS[winner],
            )
        raw = builder.build()
        if raw.num_rows == 0:
            raise ValueError(f"no judge has {min_rows} votes.")
        return assemble(raw, name=NAME, meta=describe(LICENSE, SOURCE, LABEL, revision=revision))


def _conversation(value: Any, side: str, place: str) -> tuple[Message, ...]:
    if not is_messages(value) or len(value) < 2:
        raise ValueError(f"{place}: {side} must hold messages of the judge and the model.")
    return read_messages(value, side, place)


def _said(messages: tuple[Message, ...]) -> str:
    answer = messages[1:]
    return answer[0]["content"] if len(answer) == 1 else render(answer)


SET = NamedSet(NAME, load, NewPromptsConfig(), LABEL, LICENSE, SOURCE, on_hub=True)
