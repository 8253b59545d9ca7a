"""The two sets of PersonalRewardBench: one schema, a published split, people by id.

The prompt is the conversation before the answers, ``context``; ``chosen`` and ``rejected`` are one
message each. ``flip`` says whether the rejected one stood first. The split that came with the data
is kept (`prefjax.data.published`).

References:
    M. J. Ryan et al., "SynthesizeMe! Inducing persona-guided prompts for personalized reward
    models in LLMs", arXiv 2506.05598.
"""

from pathlib import Path

from prefjax.data.assembly import assemble
from prefjax.data.dataset import Dataset
from prefjax.data.files import naming
from prefjax.data.layouts import Builder, Request
from prefjax.data.messages import read_prompt, read_response
from prefjax.data.raw_columns import as_text
from prefjax.data.sets._record import describe
from prefjax.data.sets._rows import open_rows

COLUMNS = ("conversation_id", "user_id", "context", "chosen", "rejected", "split")
LABEL = (
    '1: the person chose the first answer. Who chose "good" over "bad" has label 1 in the row '
    '("good", "bad").'
)


def load_personal(
    name: str,
    repository: str,
    license: str,
    folder: Path | None,
    revision: str | None,
    seed: int,
) -> Dataset:
    """Load one of the two sets.

    Args:
        name: Its name.
        repository: Its ``owner/name`` on the hub.
        license: Its license.
        folder: Holds its files; under ``PREFJAX_DATA`` if None.
        revision: Commit of the hub to fetch them from instead.
        seed: Seed of which answer comes first, for rows without ``flip``.

    Returns:
        The data set with ``meta["split"]``.
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
