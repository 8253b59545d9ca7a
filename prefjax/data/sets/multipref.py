"""MultiPref: about ten thousand pairs, each judged by two crowd workers and two experts.

Five levels become soft labels by `STRENGTHS`, the probability that the person would choose A again:
an assumption, not a measurement. ODC-BY, Ai2.

References:
    L. J. V. Miranda et al., "Hybrid preferences", arXiv 2410.19133.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from prefjax.data.assembly import assemble
from prefjax.data.dataset import Dataset
from prefjax.data.files import naming
from prefjax.data.layouts import Builder, Request
from prefjax.data.messages import read_prompt, read_response
from prefjax.data.raw_columns import as_text
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.sets._rows import open_rows
from prefjax.data.split import NewPromptsConfig

NAME = "multipref"
REPOSITORY = "allenai/multipref"
LICENSE = "ODC-BY (Ai2)"
SOURCE = f"Hugging Face hub {REPOSITORY}"
LABEL = (
    "1: the annotator finds completion A, the first, clearly better; ¾ slightly better, ½ a tie, "
    '¼ and 0 the same of B. "A-is-clearly-better" has label 1 in the row (A, B).'
)
STRENGTHS: Mapping[str, float] = MappingProxyType(
    {
        "a-is-clearly-better": 1.0,
        "a-is-slightly-better": 0.75,
        "tie": 0.5,
        "b-is-slightly-better": 0.25,
        "b-is-clearly-better": 0.0,
    }
)
"""Label of each level, in lower case."""
COLUMNS = (
    "comparison_id",
    "prompt_id",
    "text",
    "completion_a",
    "completion_b",
    "normal_worker_annotations",
    "expert_worker_annotations",
)


def load(
    folder: Path | None = None,
    *,
    revision: str | None = None,
    annotators: Literal["all", "normal", "expert"] = "all",
    strengths: Mapping[str, float] = STRENGTHS,
    ties: Literal["drop", "half"] = "drop",
) -> Dataset:
    """Load the judgments in the order in which the completions stand.

    Args:
        folder: Holds Parquet or JSONL files with the columns comparison_id, prompt_id, text,
            completion_a, completion_b and the lists normal_worker_annotations and
            expert_worker_annotations of evaluator and overall_pref; ``PREFJAX_DATA/multipref`` if
            None.
        revision: Commit of the hub to fetch the files from instead.
        annotators: Whose judgments.
        strengths: Label of each level.
        ties: Whether ties are dropped or have label ½.

    Returns:
        A row for each judgment; ``meta["num_ties"]`` counts ties that were dropped.

    Raises:
        FileNotFoundError: If the files are not there.
        OSError: If the hub cannot be reached.
        ValueError: If a file is damaged or of another schema, or a level is unknown.
    """
    source = open_rows(NAME, REPOSITORY, folder, revision, COLUMNS)
    kinds = ("normal", "expert") if annotators == "all" else (annotators,)
    with naming(source.where):
        builder = Builder(source, Request())
        for row, entry in enumerate(source.rows):
            place = source.place(row)
            for annotation in (
                one for kind in kinds for one in entry[f"{kind}_worker_annotations"] or ()
            ):
                level = str(annotation.get("overall_pref")).casefold()
                if level not in strengths:
                    raise ValueError(
                        f"{place}: overall_pref must be one of {', '.join(strengths)}, got "
                        f"{annotation.get('overall_pref')!r}."
                    )
                if strengths[level] == 0.5 and ties == "drop":
                    builder.count("num_ties")
                    continue
                builder.add(
                    row,
                    user=as_text(annotation.get("evaluator"), "evaluator", place, is_name=True),
                    prompt=read_prompt(entry["text"], "text", place),
                    first=read_response(entry["completion_a"], "completion_a", place),
                    second=read_response(entry["completion_b"], "completion_b", place),
                    label=strengths[level],
                    conversation=as_text(entry["prompt_id"], "prompt_id", place, is_name=True),
                )
        return assemble(
            builder.build(),
            name=NAME,
            meta=describe(LICENSE, SOURCE, LABEL, revision=revision),
        )


SET = NamedSet(NAME, load, NewPromptsConfig(), LABEL, LICENSE, SOURCE, on_hub=True)
