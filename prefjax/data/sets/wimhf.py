"""What's In My Human Feedback: seven public sets of preferences in one schema.

``prompt, response_A, response_B, label`` and, in the sets that know their people, an id. Each of
the seven keeps its own license.

References:
    R. Movva et al., "What's In My Human Feedback?", arXiv 2510.26202; GitHub rmovva/wimhf.
"""

from pathlib import Path

from prefjax.data.assembly import assemble
from prefjax.data.dataset import Dataset
from prefjax.data.files import naming
from prefjax.data.layouts import Builder, Request
from prefjax.data.messages import read_prompt, read_response
from prefjax.data.raw_columns import as_number, as_text
from prefjax.data.reading import CONVERSATIONS, PEOPLE
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.sets._rows import open_rows
from prefjax.data.split import NewPromptsConfig

NAME = "wimhf"
REPOSITORY = "rmovva/wimhf-data"
LICENSE = "that of each set (PRISM: CC BY 4.0 and CC BY-NC 4.0)"
SOURCE = f"Hugging Face hub {REPOSITORY}, data/*.json"
LABEL = (
    "1: response_A, the first, is preferred, 0: response_B. A row with label 1 has label 1 in the "
    "row (response_A, response_B)."
)
COLUMNS = ("prompt", "response_A", "response_B", "label")


def load(
    folder: Path | None = None,
    *,
    revision: str | None = None,
    part: str = "prism",
    user: str | None = None,
) -> Dataset:
    """Load one of the seven.

    Args:
        folder: Holds ``data/prism.json`` and the like, or ``prism.json``;
            ``PREFJAX_DATA/wimhf`` if None.
        revision: Commit of the hub to fetch the files from instead.
        part: Which, the stem of its file: ``prism``, ``community_alignment``, ``chatbot_arena``, …
        user: Column that names people; one of the usual names if None.

    Raises:
        FileNotFoundError: If the file is not there.
        OSError: If the hub cannot be reached.
        ValueError: If the file is damaged or of another schema, or names no people.
    """
    source = open_rows(NAME, REPOSITORY, folder, revision, COLUMNS, pattern=f"**/{part}")
    with naming(source.where):
        people = user or next((name for name in PEOPLE if name in source.names), None)
        if people is None or people not in source.names:
            raise ValueError(
                f"{part} names no people ({', '.join(source.names)}); pass user= with a column."
            )
        talk = next((name for name in CONVERSATIONS if name in source.names), "")
        builder = Builder(source, Request())
        for row, entry in enumerate(source.rows):
            place = source.place(row)
            label = as_number(entry["label"], "label", place)
            if label is None:
                raise ValueError(f"column label has no value in {place}.")
            builder.add(
                row,
                user=as_text(entry.get(people), people, place, is_name=True),
                prompt=read_prompt(entry["prompt"], "prompt", place),
                first=read_response(entry["response_A"], "response_A", place),
                second=read_response(entry["response_B"], "response_B", place),
                label=label,
                conversation=as_text(entry.get(talk), talk, place, is_name=True),
            )
        return assemble(
            builder.build(),
            name=NAME,
            meta=describe(LICENSE, SOURCE, LABEL, revision=revision, part=part),
        )


SET = NamedSet(NAME, load, NewPromptsConfig(), LABEL, LICENSE, SOURCE, on_hub=True)
