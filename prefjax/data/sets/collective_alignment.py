"""Collective Alignment: people of many countries rank four answers to contentious prompts.

Each ranked by what they want themselves (``personal``) and by what is best for the world
(``world``), with reasons, and named answers that are unacceptable. A ranking ``A>B=C>D`` becomes
all its pairs (`prefjax.data.layouts.lists`).

References:
    OpenAI, "Collective alignment: public input on our Model Spec", 2025.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from prefjax.data.assembly import assemble
from prefjax.data.dataset import Dataset
from prefjax.data.files import naming
from prefjax.data.layouts import Builder, Request
from prefjax.data.layouts.lists import add_ranking, note_caveat
from prefjax.data.messages import Prompt, is_messages, read_messages, read_prompt
from prefjax.data.raw_columns import as_text
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.sets._rows import open_rows
from prefjax.data.sources import Source
from prefjax.data.split import NewPromptsConfig

NAME = "collective_alignment"
REPOSITORY = "openai/collective-alignment-1"
LICENSE = "see the card of the data set (OpenAI)"
SOURCE = f"Hugging Face hub {REPOSITORY}"
LABEL = (
    '1: the person ranks the first answer above the second, ½: equally. The ranking "A>B=C" has '
    "label 1 in the rows (A, B) and (A, C), ½ in (B, C)."
)


def load(
    folder: Path | None = None,
    *,
    revision: str | None = None,
    block: Literal["personal", "world"] = "personal",
    ties: Literal["drop", "half"] = "drop",
    seed: int = 0,
) -> Dataset:
    """Load the rankings as pairs.

    Args:
        folder: Holds ``comparisons.jsonl`` (prompt_id, prompt, responses) and
            ``annotators.jsonl`` (annotator_id, assessments of prompt_id and ranking_blocks), or
            files in which each prompt has its assessments; ``PREFJAX_DATA/collective_alignment``
            if None.
        revision: Commit of the hub to fetch the files from instead.
        block: Which of the two rankings.
        ties: Whether equal ranks are dropped or have label ½.
        seed: Seed of which answer comes first.

    Returns:
        Pairs; ``meta`` counts ``num_without_judgment`` assessments without that ranking and
        ``num_ties`` that were dropped.

    Raises:
        FileNotFoundError: If the files are not there.
        OSError: If the hub cannot be reached.
        ValueError: If a file is damaged or of another schema, or a ranking names an answer that
            is not there.
    """
    source = open_rows(NAME, REPOSITORY, folder, revision, ())
    with naming(source.where):
        shown = _shown(source)
        builder = Builder(source, Request())
        for row, who, asked, assessment in _assessments(source):
            place = source.place(row)
            if asked not in shown:
                raise ValueError(f"{place}: there is no prompt {asked!r}.")
            prompt, answers = shown[asked]
            blocks = (assessment.get("ranking_blocks") or {}).get(block) or ()
            rank = next((_rank(b.get("ranking"), answers, place) for b in blocks), None)
            if rank is None:
                builder.count("num_without_judgment")
                continue
            names = [name for name in answers if name in rank]
            before = builder.num_rows
            add_ranking(
                builder,
                row,
                user=as_text(who, "annotator_id", place, is_name=True),
                prompt=prompt,
                responses=[answers[name] for name in names],
                rank=[rank[name] for name in names],
                ties=ties == "half",
                conversation=asked,
            )
            missing = len(names) * (len(names) - 1) // 2 - (builder.num_rows - before)
            if missing:
                builder.meta["num_ties"] = builder.meta.get("num_ties", 0) + missing
        note = note_caveat(builder, max(len(answers) for _, answers in shown.values()))
        return assemble(
            builder.build(is_ordered=False, note=note),
            name=NAME,
            meta=describe(LICENSE, SOURCE, LABEL, revision=revision, block=block),
            seed=seed,
        )


def _shown(source: Source) -> dict[str, tuple[Prompt, dict[str, str]]]:
    """Prompt and answers by letter, for each prompt_id."""
    shown = {}
    for row, entry in enumerate(source.rows):
        if entry.get("responses") is None:
            continue
        place = source.place(row)
        prompt = entry.get("prompt")
        if isinstance(prompt, Mapping):
            prompt = prompt.get("messages")
        answers = {}
        for number, response in enumerate(entry["responses"]):
            said = response.get("messages", response.get("text"))
            if is_messages(said):
                said = read_messages(said, "responses", place)[-1]["content"]
            if not isinstance(said, str):
                raise ValueError(f"{place}: a response holds neither messages nor text.")
            answers[str(response.get("response_index", chr(65 + number)))] = said
        shown[str(entry.get("prompt_id"))] = (read_prompt(prompt, "prompt", place), answers)
    if not shown:
        raise ValueError("no file has prompt_id, prompt and responses.")
    return shown


def _assessments(source: Source) -> Iterator[tuple[int, Any, str, Mapping[str, Any]]]:
    """Row, person, prompt_id and assessment, from the people's rows or from the prompts'."""
    by_person = any("annotator_id" in row and "assessments" in row for row in source.rows)
    for row, entry in enumerate(source.rows):
        if by_person != ("annotator_id" in entry and "assessments" in entry):
            continue
        listed = entry.get("assessments") or (entry.get("metadata") or {}).get("assessments")
        for assessment in listed or ():
            if by_person:
                asked = assessment.get("prompt_id", assessment.get("conversation_id"))
                yield row, entry["annotator_id"], str(asked), assessment
            else:
                yield row, assessment.get("annotator_id"), str(entry.get("prompt_id")), assessment


def _rank(ranking: Any, answers: Mapping[str, str], place: str) -> dict[str, float] | None:
    """Rank of each answer in ``A>B=C>D``."""
    if not ranking:
        return None
    groups = [re.split(r"[=~]", group) for group in re.sub(r"\s", "", str(ranking)).split(">")]
    rank = {name: float(level) for level, group in enumerate(groups) for name in group}
    unknown = [name for name in rank if name not in answers]
    if unknown:
        raise ValueError(f"{place}: the ranking {ranking!r:.60} names {unknown[0]!r}, no answer.")
    return rank


SET = NamedSet(NAME, load, NewPromptsConfig(), LABEL, LICENSE, SOURCE, on_hub=True)
