"""The two sets of PersonalRewardBench: one schema, a published split, people by id.

720 people of PRISM and 131 of Chatbot Arena who made enough choices.

The prompt is the conversation before the answers, ``context``; ``chosen`` and ``rejected`` are one
message each. ``flip`` says whether the rejected one stood first. The split that came with the data
is kept (`prefjax.data.published`).

References:
    M. J. Ryan et al., "SynthesizeMe! Inducing persona-guided prompts for personalized reward
    models in LLMs", arXiv 2506.05598.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from prefjax.data.assembly import assemble
from prefjax.data.dataset import Dataset
from prefjax.data.files import naming
from prefjax.data.layouts import Builder, Request
from prefjax.data.messages import read_prompt, read_response
from prefjax.data.published import PublishedConfig
from prefjax.data.raw_columns import as_text
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.sets._rows import open_rows

COLUMNS = ("conversation_id", "user_id", "context", "chosen", "rejected", "split")
LABEL = (
    '1: the person chose the first answer. Who chose "good" over "bad" has label 1 in the row '
    '("good", "bad").'
)


PUBLISHED: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "prism_personalized": {
            "Bradley–Terry": 63.3,
            "VPL": 58.3,
            "PAL": 56.7,
            "GPO": 57.3,
            "SynthesizeMe": 54.7,
            "P-GenRM": 65.3,
        },
        "arena_personalized": {
            "Bradley–Terry": 67.2,
            "VPL": 58.1,
            "PAL": 57.3,
            "GPO": 57.9,
            "SynthesizeMe": 61.1,
            "P-GenRM": 72.7,
        },
    }
)
"""Accuracy in percent with models of 8 billion parameters, as published for the test part."""


def _load(
    folder: Path | None = None,
    *,
    name: str,
    repository: str,
    license: str,
    revision: str | None = None,
    seed: int = 0,
) -> Dataset:
    """Load the choices of one of the two sets, with the published split in ``meta["split"]``.

    Args:
        folder: Holds Parquet, JSONL or JSON files with the columns conversation_id, user_id,
            context (messages), chosen and rejected (a message each), split (train, val, test) and
            perhaps flip; the folder of the set's name below ``PREFJAX_DATA`` if None.
        name: Name of the set.
        repository: Its ``owner/name`` on the hub.
        license: Its license.
        revision: Commit of the hub to fetch the files from instead.
        seed: Seed of which answer comes first, where a row has no ``flip``.

    Raises:
        FileNotFoundError: If the files are not there.
        OSError: If the hub cannot be reached.
        ValueError: If a file is damaged or of another schema.
    """
    columns = [column for column in COLUMNS if column != "split"]
    source = open_rows(name, repository, folder, revision, columns)
    with naming(source.where):
        if any(row.get("split") is None for row in source.rows):
            raise ValueError("a row has no split: column split, or files named after the parts.")
        has_flip = all(isinstance(row.get("flip"), bool) for row in source.rows)
        builder = Builder(source, Request())
        for row, entry in enumerate(source.rows):
            place = source.place(row)
            sides = []
            for column in ("chosen", "rejected"):
                value = entry[column]
                sides.append(
                    read_response([value] if isinstance(value, dict) else value, column, place)
                )
            if has_flip and entry["flip"]:
                sides.reverse()
            builder.add(
                row,
                user=as_text(entry["user_id"], "user_id", place, is_name=True),
                prompt=read_prompt(entry["context"], "context", place),
                first=sides[0],
                second=sides[1],
                label=0.0 if has_flip and entry["flip"] else 1.0,
                conversation=as_text(
                    entry["conversation_id"], "conversation_id", place, is_name=True
                ),
                split=as_text(entry["split"], "split", place),
            )
        return assemble(
            builder.build(is_ordered=has_flip),
            name=name,
            meta=describe(license, f"Hugging Face hub {repository}", LABEL, revision=revision),
            seed=seed,
        )


def _record(name: str, repository: str, license: str) -> NamedSet:
    load = partial(_load, name=name, repository=repository, license=license)
    source = f"Hugging Face hub {repository}"
    return NamedSet(name, load, PublishedConfig(), LABEL, license, source, on_hub=True)


SETS = (
    _record(
        "prism_personalized",
        "MichaelR207/prism_personalized_0125",
        "CC BY 4.0 (people), CC BY-NC 4.0 (models), as PRISM",
    ),
    _record(
        "arena_personalized",
        "MichaelR207/chatbot_arena_personalized_0125",
        "CC BY 4.0 (prompts), CC BY-NC 4.0 (answers), as Chatbot Arena conversations",
    ),
)
