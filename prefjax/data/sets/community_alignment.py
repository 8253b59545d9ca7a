"""Community Alignment: people of five countries choose one of four answers, up to four times.

A row of the source is a conversation; each turn shows four answers, of which the preferred one is
what the model said when the next turn begins. A choice becomes the pairs of the chosen answer with
every other one (`prefjax.data.layouts.lists`); `prefjax.data.choices_of` gives the choices
themselves. First prompts that many people were given join their conversations to one group. CC BY
4.0, Meta.

References:
    arXiv 2507.09650.
"""

from pathlib import Path
from typing import Any, Literal

from prefjax.data.assembly import assemble
from prefjax.data.dataset import Dataset
from prefjax.data.files import naming
from prefjax.data.layouts import Builder, Request
from prefjax.data.layouts.lists import add_choice, note_caveat
from prefjax.data.messages import read_prompt
from prefjax.data.raw_columns import as_text
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.sets._rows import open_rows
from prefjax.data.split import NewPromptsConfig

NAME = "community_alignment"
REPOSITORY = "facebook/community-alignment-dataset"
LICENSE = "CC BY 4.0 (Meta)"
SOURCE = f"Hugging Face hub {REPOSITORY}, community_alignment.csv"
LABEL = (
    "1: the person chose the first answer, out of four, of which the second was another. Who "
    'preferred "response_b" of a turn has label 1 in the rows (b, a), (b, c) and (b, d).'
)
TURNS = ("first", "second", "third", "fourth")
_LETTERS = "abcd"
_END = "<|end_of_text|>"
COLUMNS = (
    "conversation_id",
    "annotator_id",
    *(f"first_turn_response_{letter}" for letter in _LETTERS),
    "first_turn_prompt",
    "first_turn_preferred_response",
)


def load(
    folder: Path | None = None,
    *,
    revision: str | None = None,
    turns: Literal["first", "all"] = "all",
    language: str | None = None,
    seed: int = 0,
) -> Dataset:
    """Load the choices as pairs.

    Args:
        folder: Holds ``community_alignment.csv`` (or Parquet, JSONL) with the columns
            conversation_id, annotator_id and, for each turn, ``{first}_turn_prompt``,
            ``_turn_response_a`` to ``_d`` and ``_turn_preferred_response``;
            ``PREFJAX_DATA/community_alignment`` if None.
        revision: Commit of the hub to fetch the file from instead.
        turns: First turns, or all.
        language: Only conversations with this ``assigned_lang``; all if None.
        seed: Seed of which answer comes first.

    Returns:
        Pairs; ``meta["profiles"]`` has what is known of each person (columns that begin with
        ``annotator_``), ``meta["num_without_judgment"]`` turns without a preferred answer.

    Raises:
        FileNotFoundError: If the files are not there.
        OSError: If the hub cannot be reached.
        ValueError: If a file is damaged or of another schema.
    """
    source = open_rows(NAME, REPOSITORY, folder, revision, COLUMNS)
    with naming(source.where):
        builder = Builder(source, Request())
        profiles: dict[str, dict[str, Any]] = {}
        for row, entry in enumerate(source.rows):
            if language is not None and entry.get("assigned_lang") != language:
                continue
            place = source.place(row)
            user = as_text(entry["annotator_id"], "annotator_id", place, is_name=True)
            if user is None:
                raise ValueError(f"column annotator_id has no value in {place}.")
            profiles.setdefault(
                user,
                {
                    column.removeprefix("annotator_"): value
                    for column, value in entry.items()
                    if column.startswith("annotator_") and column != "annotator_id"
                },
            )
            _add_turns(builder, row, user, entry, place, 1 if turns == "first" else len(TURNS))
        meta = describe(LICENSE, SOURCE, LABEL, revision=revision, profiles=profiles)
        raw = builder.build(is_ordered=False, note=note_caveat(builder, len(_LETTERS)))
        return assemble(raw, name=NAME, meta=meta, seed=seed)


def _add_turns(
    builder: Builder, row: int, user: str, entry: Any, place: str, num_turns: int
) -> None:
    said: list[dict[str, str]] = []
    talk = as_text(entry["conversation_id"], "conversation_id", place, is_name=True)
    for turn in TURNS[:num_turns]:
        asked = _text(entry, f"{turn}_turn_prompt", place)
        if asked is None:
            return
        said.append({"role": "user", "content": asked})
        shown = {
            f"response_{letter}": _text(entry, f"{turn}_turn_response_{letter}", place)
            for letter in _LETTERS
        }
        shown = {letter: text for letter, text in shown.items() if text is not None}
        preferred = _text(entry, f"{turn}_turn_preferred_response", place)
        if preferred not in shown:
            builder.count("num_without_judgment")
            return  # what the model said next is not known
        add_choice(
            builder,
            row,
            user=user,
            prompt=read_prompt(list(said), f"{turn}_turn_prompt", place),
            responses=list(shown.values()),
            choice=list(shown).index(preferred),
            conversation=talk,
        )
        said.append({"role": "assistant", "content": shown[preferred]})


def _text(entry: Any, column: str, place: str) -> str | None:
    text = as_text(entry.get(column), column, place)
    return None if text is None else text.replace(_END, "").strip() or None


SET = NamedSet(NAME, load, NewPromptsConfig(), LABEL, LICENSE, SOURCE, on_hub=True)
